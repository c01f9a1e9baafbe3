//! Which store, and opening it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use monban::stores::file::FileStore;
use monban::{Error, Locks, Result, block_on};

/// Where an administrator names the store of a machine.
const SYSTEM_CHOICE: &str = "/etc/monban/store";
const VARIABLE: &str = "MONBAN_STORE";

/// An open store.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) locks: Locks,
    /// The file store, whose descriptors the command inherits.
    pub(crate) files: Option<Arc<FileStore>>,
    /// The store as people may see it: no password.
    pub(crate) name: String,
}

/// Opens the store that is chosen: by the option, the environment, the machine's file, or by default.
pub(crate) fn open(option: Option<&str>, label: &str) -> Result<Opened> {
    let url = url(option)?;
    let builder = Locks::builder().label(label);
    if let Some(store) = FileStore::from_url(&url)? {
        let store = Arc::new(store);
        let name = format!("files in {}, this host only", store.directory().display());
        let locks = builder.open_local(Arc::clone(&store) as _)?;
        return Ok(Opened {
            locks,
            files: Some(store),
            name,
        });
    }
    let name = without_password(&url);
    let locks = block_on(builder.connect(&url))?;
    Ok(Opened {
        locks,
        files: None,
        name,
    })
}

/// The URL of the store that is chosen.
pub(crate) fn url(option: Option<&str>) -> Result<String> {
    chosen(option, Path::new(SYSTEM_CHOICE))
}

fn chosen(option: Option<&str>, system: &Path) -> Result<String> {
    if let Some(url) = option {
        return Ok(url.to_owned());
    }
    match std::env::var(VARIABLE) {
        // An empty one is a secret that was not set, say: to use files instead would be another lock.
        Ok(url) if url.trim().is_empty() => {
            return Err(Error::invalid(
                "MONBAN_STORE is empty; set it to a URL, or unset it",
            ));
        }
        Ok(url) => return Ok(url),
        Err(std::env::VarError::NotUnicode(_)) => {
            return Err(Error::invalid(
                "MONBAN_STORE is not text; set it to a URL, or unset it",
            ));
        }
        Err(std::env::VarError::NotPresent) => {}
    }
    match fs::read_to_string(system) {
        Ok(text) => match text.lines().next().map(str::trim) {
            Some(line) if !line.is_empty() => Ok(line.to_owned()),
            _ => Err(Error::invalid(format!(
                "the first line of {} is empty; write a store's URL there, or remove the file",
                system.display()
            ))),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok("file:".to_owned()),
        // Never a silent fall-back to another store: that would be another lock.
        Err(error) => Err(Error::rejected(
            "chosen",
            format!(
                "{} names the store and cannot be read; mend its permissions",
                system.display()
            ),
        )
        .because(error)),
    }
}

/// The URL without what stands before the last `@` of its authority, and without its query.
pub(crate) fn without_password(url: &str) -> String {
    let shown = match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!(
                "{scheme}://{host}{}",
                path.split(['?', '#']).next().unwrap_or_default()
            )
        }
        None => url.split(['?', '@']).next().unwrap_or_default().to_owned(),
    };
    monban::data::printable(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_part_of_the_name() {
        for url in [
            "redis://user:s3cret@h:6400/0",
            "redis://:s3cret@h:6400/0?x=s3cret",
            "rediss://a:s3cret@s3cret@h:6400/0",
        ] {
            assert!(
                !without_password(url).contains("s3cret"),
                "{}",
                without_password(url)
            );
            assert!(without_password(url).contains("h:6400/0"));
        }
    }

    #[test]
    fn a_choice_of_the_machine_is_used_or_refused_but_never_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("store");
        assert_eq!(chosen(None, &file).unwrap(), "file:");
        assert_eq!(chosen(Some("memory:"), &file).unwrap(), "memory:");
        fs::write(&file, "redis://here\nanything\n").unwrap();
        assert_eq!(chosen(None, &file).unwrap(), "redis://here");
        fs::write(&file, "\n").unwrap();
        assert!(chosen(None, &file).is_err());
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(chosen(None, &file).is_err());
    }
}
