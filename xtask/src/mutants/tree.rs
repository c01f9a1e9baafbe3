//! A copy of the work tree to plant bugs in. The user's own tree is only read.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::patch::Mutant;
use crate::shell::{self, Outcome};

/// The copy. It stays from run to run, so that what did not change is not built again.
pub(super) struct Tree {
    pub(super) root: PathBuf,
    pub(super) target: PathBuf,
}

/// A tree with a bug in it.
pub(super) struct Planted {
    before: Vec<(PathBuf, Vec<u8>)>,
}

impl Tree {
    /// Brings the copy to what the work tree is now. Files that are equal are left alone: cargo goes by their dates.
    pub(super) fn copy() -> Outcome<Self> {
        let metadata = shell::metadata(&["--no-deps"])?;
        let target = metadata["target_directory"]
            .as_str()
            .ok_or("cargo metadata names no target directory")?;
        let base = Path::new(target).join("mutants");
        let (root, target) = (base.join("tree"), base.join("target"));
        fs::create_dir_all(&root)?;
        let root = root.canonicalize()?;
        let listed = listed()?;
        for path in &listed {
            copy_file(&shell::root().join(path), &root.join(path))?;
        }
        remove_others(&root, &root, &listed)?;
        Ok(Self { root, target })
    }

    /// Applies a patch.
    pub(super) fn plant(&self, mutant: &Mutant) -> Outcome<Planted> {
        applies(&self.root, mutant)?;
        let mut before = Vec::new();
        for file in mutant.files() {
            let path = self.root.join(file);
            let bytes = fs::read(&path)?;
            before.push((path, bytes));
        }
        let planted = Planted { before };
        git_apply(&self.root, mutant, &[])?;
        for (path, bytes) in &planted.before {
            if fs::read(path)? == *bytes {
                return Err(format!("{} changes nothing", mutant.path()).into());
            }
        }
        Ok(planted)
    }
}

impl Planted {
    /// Restores what was there before.
    pub(super) fn take_out(self) -> Outcome {
        for (path, bytes) in self.before {
            fs::write(path, bytes)?;
        }
        Ok(())
    }
}

/// Whether a patch applies to a tree.
pub(super) fn applies(root: &Path, mutant: &Mutant) -> Outcome {
    git_apply(root, mutant, &["--check"])
}

fn git_apply(root: &Path, mutant: &Mutant, words: &[&str]) -> Outcome {
    let patch = shell::root().join(mutant.path());
    let mut git = Command::new("git");
    git.arg("apply").args(words).arg(patch).current_dir(root);
    // The copy stands inside the ignored part of a repository, where git would pass its files over.
    if let Some(above) = root.parent() {
        git.env("GIT_CEILING_DIRECTORIES", above);
    }
    let output = git.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    let name = mutant.path();
    Err(format!(
        "{name} does not apply any more; make it anew, on what the code is now:\n{}",
        why.trim()
    )
    .into())
}

/// The files that git knows or would add, and that are there.
fn listed() -> Outcome<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let listed = shell::output(git.current_dir(shell::root()))?;
    let paths = listed.split_terminator('\0').map(PathBuf::from);
    Ok(paths
        .filter(|path| shell::root().join(path).is_file())
        .collect())
}

fn copy_file(from: &Path, to: &Path) -> Outcome {
    let bytes = fs::read(from)?;
    match fs::read(to) {
        Ok(there) if there == bytes => return Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    // Not `copy`, which keeps the date of the original in some places.
    fs::write(to, bytes)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    Ok(())
}

/// Removes from the copy what the work tree does not have (any more).
fn remove_others(root: &Path, folder: &Path, listed: &[PathBuf]) -> Outcome {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let inside = path.strip_prefix(root)?;
        if path.is_dir() {
            if listed.iter().any(|known| known.starts_with(inside)) {
                remove_others(root, &path, listed)?;
            } else {
                fs::remove_dir_all(&path)?;
            }
        } else if !listed.iter().any(|known| known == inside) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_follows_its_original_and_leaves_alone_what_is_equal() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("a"), place.path().join("b/c"));
        fs::write(&from, "one").unwrap();
        copy_file(&from, &to).unwrap();
        let date = fs::metadata(&to).unwrap().modified().unwrap();
        copy_file(&from, &to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), date);
        fs::write(&from, "two").unwrap();
        copy_file(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"two");
        let root = place.path().join("b");
        fs::write(root.join("old"), "").unwrap();
        remove_others(&root, &root, &[PathBuf::from("c")]).unwrap();
        assert!(to.exists() && !root.join("old").exists());
    }
}
