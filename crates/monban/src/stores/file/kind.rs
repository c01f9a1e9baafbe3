//! Which file systems are refused: those whose locks do not reach, or do not keep, everybody.

use std::path::Path;

use rustix::fd::OwnedFd;

use super::fault::failed;
use crate::data::Result;

/// File systems whose locks may be local to one mount, emulated, or missing. Source: statfs(2), the
/// kernel's `linux/magic.h`.
#[cfg(target_os = "linux")]
const REFUSED: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x564c, "NCP"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x786f_4256, "a VirtualBox shared folder"),
    (0xaad7_aaea, "PanFS"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x4d44, "FAT"),
    (0x2011_bab0, "exFAT"),
    (0x9fa0, "procfs"),
    (0x6265_6572, "sysfs"),
];

/// Their inodes have another device in the kernel's list of locks than in `stat`: btrfs and overlayfs.
#[cfg(target_os = "linux")]
const OTHER_DEVICE: &[u64] = &[0x9123_683e, 0x794c_7630];

/// Refuses file systems that cannot keep the promise; says whether `stat` names devices as the kernel's
/// list of locks does.
#[cfg(target_os = "linux")]
pub(super) fn check(path: &Path, fd: &OwnedFd) -> Result<bool> {
    let stat = rustix::fs::fstatfs(fd).map_err(|e| failed("look at", path, e))?;
    // The type of the field differs between machines; the number has 32 bits.
    let number = i128::from(stat.f_type) & 0xffff_ffff;
    let magic = u64::try_from(number).unwrap_or_default();
    judge(path, magic)?;
    Ok(!OTHER_DEVICE.contains(&magic))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn check(_: &Path, _: &OwnedFd) -> Result<bool> {
    Ok(true)
}

#[cfg(target_os = "linux")]
fn judge(path: &Path, magic: u64) -> Result<()> {
    let Some((_, name)) = REFUSED.iter().find(|(number, _)| *number == magic) else {
        return Ok(());
    };
    Err(super::fault::refused(
        path,
        &format!(
            "is on {name}: locks there may not reach the other machines, or not outlive a reconnect, so two \
             could hold one key; choose a directory on a local disk (--store file:DIR), or a store that \
             is a server"
        ),
    ))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_refused_by_name_and_local_ones_are_not() {
        let path = Path::new("/x");
        for (magic, name) in [
            (0x6969, "NFS"),
            (0x6573_5546, "FUSE"),
            (0xff53_4d42, "CIFS"),
        ] {
            let text = judge(path, magic).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains("local disk"), "{text}");
        }
        for local in [0xef53, 0x0102_1994, 0x9123_683e, 0x5846_5342, 0x794c_7630] {
            assert!(judge(path, local).is_ok());
        }
    }

    #[test]
    fn a_real_odd_file_system_is_refused() {
        let proc = rustix::fs::open(
            "/proc",
            rustix::fs::OFlags::RDONLY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        assert!(check(Path::new("/proc"), &proc).is_err());
    }
}
