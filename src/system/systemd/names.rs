//! Names: of units, of their objects on the bus, and of an app's slice.

use std::fmt::Write as _;

use kqueue_core::wire::coordinator::is_app_name;

/// Where the objects of units are.
const UNITS: &str = "/org/freedesktop/systemd1/unit/";

/// The path of a unit's object on the bus.
pub fn unit_path(name: &str) -> String {
    let mut path = String::with_capacity(UNITS.len() + name.len() * 3);
    path.push_str(UNITS);
    for (at, byte) in name.bytes().enumerate() {
        // As `sd_bus_path_encode`: a digit is escaped only at the start.
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && at > 0) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "_{byte:02x}");
        }
    }
    if name.is_empty() {
        path.push('_');
    }
    path
}

/// The name of the unit whose object has this path.
pub fn unit_name(path: &str) -> Option<String> {
    let mut rest = path.strip_prefix(UNITS)?.bytes();
    let mut name = Vec::new();
    while let Some(byte) = rest.next() {
        match byte {
            b'_' => {
                let hex = [rest.next()?, rest.next()?];
                name.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
            }
            byte if byte.is_ascii_alphanumeric() => name.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(name).ok()
}

/// The app whose runtime this unit is: `shop` for `kqueue@shop.service`.
pub fn runtime_of(unit: &str) -> Option<&str> {
    unit.strip_prefix("kqueue@")?.strip_suffix(".service").filter(|app| is_app_name(app))
}

/// The runtime of an app.
pub fn runtime(app: &str) -> String {
    format!("kqueue@{app}.service")
}

/// The slice of everything that belongs to an app.
pub fn slice(app: &str) -> String {
    format!("kqueue-{app}.slice")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_as_systemd_writes_them() {
        // The output of systemd's `sd_bus_path_encode`, read from a running manager.
        let pairs = [
            ("dbus.service", "dbus_2eservice"),
            ("kqueue@shop.service", "kqueue_40shop_2eservice"),
            ("kqueue-worker@my_app:12.service", "kqueue_2dworker_40my_5fapp_3a12_2eservice"),
            ("kqueue-shop-0f8f-1.scope", "kqueue_2dshop_2d0f8f_2d1_2escope"),
            ("10-a.mount", "_310_2da_2emount"),
        ];
        for (name, encoded) in pairs {
            assert_eq!(unit_path(name), format!("{UNITS}{encoded}"));
            assert_eq!(unit_name(&unit_path(name)).as_deref(), Some(name));
        }
        for path in ["", "/", "/org/freedesktop/systemd1/unit/a_4", "/org/freedesktop/systemd1/unit/a/b"] {
            assert_eq!(unit_name(path), None, "{path}");
        }
    }

    #[test]
    fn only_a_runtime_is_a_runtime() {
        assert_eq!(runtime_of(&runtime("my_app2")), Some("my_app2"));
        for unit in [
            "kqueue@.service",
            "kqueue@Shop.service",
            "kqueue@_x.service",
            "kqueue@a-b.service",
            "kqueue@shop.socket",
            "xkqueue@shop.service",
            "kqueue-worker@shop:1.service",
            "user@1000.service",
            "kqueue@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.service",
        ] {
            assert_eq!(runtime_of(unit), None, "{unit}");
        }
    }
}
