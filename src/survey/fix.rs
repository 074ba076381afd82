//! What to do about an app that does not boot, in kqueue's own words. Pure.

use std::path::Path;

use crate::wire::BootFault;

/// The fix for a boot that failed with `text`; `None` where only the app's own developers can know it.
pub fn of_boot(fault: Option<BootFault>, text: &str, path: &Path) -> Option<String> {
    let path = path.display();
    match fault {
        Some(BootFault::Vendor) => Some(format!("vendor/autoload.php is not there: run composer install in {path}")),
        Some(BootFault::Connection) => Some("name one that is there, or add it".to_owned()),
        Some(BootFault::DatabaseFile) => {
            Some(format!("make it, as the app's user: touch it, then php artisan migrate in {path}"))
        }
        // Laravel says so, and ends PHP.
        _ if text.contains("environment file is invalid") => Some(format!("mend {path}/.env")),
        Some(BootFault::Unknown) | None => None,
    }
}
