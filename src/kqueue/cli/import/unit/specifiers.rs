//! Specifiers such as `%i` in units. Pure.

/// Expands specifiers for a unit, `queue@.service`, and an instance of it.
///
/// # Errors
/// A specifier that is not supported.
pub(super) fn expand(text: &str, unit: &str, instance: &str) -> Result<String, String> {
    let stem = unit.trim_end_matches(".service");
    let prefix = stem.split_once('@').map_or(stem, |(prefix, _)| prefix);
    let whole = if instance.is_empty() { stem.to_owned() } else { format!("{prefix}@{instance}") };
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some('i') => out += instance,
            Some('I') => out += &instance.replace('-', "/"),
            Some('n') => out += &format!("{whole}.service"),
            Some('N') => out += &whole,
            Some('p' | 'P') => out += prefix,
            Some(c) => return Err(format!("the specifier %{c} is not supported; write its value instead")),
            None => out.push('%'),
        }
    }
    Ok(out)
}
