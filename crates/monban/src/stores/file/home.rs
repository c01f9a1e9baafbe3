//! Where the directory is if nobody names one.

use std::path::PathBuf;

use rustix::process::geteuid;

use super::STORE;
use crate::data::{Error, Result};

/// The directory of this user: `/var/lib/monban` for root, else `.local/state/monban` in the home that the
/// user database names. The environment is not asked, so that cron and a shell get the same locks.
///
/// # Errors
///
/// `Rejected` if `/etc/passwd` does not name the user (one who comes from LDAP or the like): name a
/// directory then.
pub fn default_directory() -> Result<PathBuf> {
    let user = geteuid();
    if user.is_root() {
        return Ok(PathBuf::from("/var/lib/monban"));
    }
    let table = std::fs::read("/etc/passwd")
        .map_err(|e| Error::rejected(STORE, "cannot read /etc/passwd").because(e))?;
    let home = home_of(&table, user.as_raw()).ok_or_else(|| {
        Error::rejected(
            STORE,
            format!(
                "user {} has no home directory in /etc/passwd (users of LDAP and the like are not there), so \
                 there is no default; name a directory with --store file:DIR",
                user.as_raw()
            ),
        )
    })?;
    Ok(home.join(".local/state/monban"))
}

fn home_of(table: &[u8], user: u32) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    table.split(|b| *b == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|b| *b == b':').collect();
        let id: u32 = std::str::from_utf8(fields.get(2)?).ok()?.parse().ok()?;
        let home = *fields.get(5)?;
        (id == user && home.starts_with(b"/"))
            .then(|| PathBuf::from(std::ffi::OsStr::from_bytes(home)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"root:x:0:0:root:/:/bin/sh\n# comment\n\
        ann:x:1001:1001:Ann:/srv/ann:/bin/sh\nbad:x:1002:1:none\nrel:x:1003:1::rel:/bin/sh";

    #[test]
    fn the_home_is_that_of_the_user_database() {
        assert_eq!(home_of(TABLE, 1001), Some(PathBuf::from("/srv/ann")));
        assert_eq!(home_of(TABLE, 1002), None);
        assert_eq!(home_of(TABLE, 1003), None);
        assert_eq!(home_of(TABLE, 7), None);
    }
}
