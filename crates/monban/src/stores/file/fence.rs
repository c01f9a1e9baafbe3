//! The counter of the directory that fences come from.
//!
//! A fence is `max(last + 1, wall clock in µs)`. The file keeps the last one given and a *ceiling* that has
//! reached the disk before any fence up to it was given. After a boot that is not the one that wrote the
//! file, whatever was not on the disk may be gone: counting goes on from the ceiling. So a crash of the machine does not
//! repeat a fence even if the clock goes back too. A block between two ceilings is a day of the clock:
//! one grant a day, and the first one after a boot, waits for the disk.
//!
//! A file that does not read as it was written is refused: counting anew could give a lower fence.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Stat};
use rustix::io::Errno;

use super::dir::{self, Dir, Place};
use super::fault::{failed, refused};
use super::moment::Boot;
use super::patience;
use crate::data::{Fence, Result};
use crate::rule::Clock;

const FILE: &str = "fence";
/// What a counter that is being made is called, before 16 digits.
const DRAFT: &str = "fence.";
const BLOCK_US: i64 = 86_400_000_000;
const MAGIC: &str = "monban-fence1";
/// Magic, two numbers of 19 digits, boot, check, and what separates them.
const LEN: usize = MAGIC.len() + 2 * 20 + 1 + Boot::LEN + 1 + 8 + 1;

#[derive(Debug)]
pub(super) struct Counter {
    path: PathBuf,
    /// The mutex orders the threads of this process, the file's lock the processes.
    file: Mutex<Option<OwnedFd>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Count {
    last: i64,
    ceiling: i64,
    boot: Boot,
}

impl Counter {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: Mutex::new(None),
        }
    }

    /// A fence greater than any before.
    pub(super) fn next(&self, dir: &Dir) -> Result<Fence> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..16 {
            let fd = match file.take() {
                Some(fd) => fd,
                None => self.open(dir)?,
            };
            patience::take(&fd, &self.path)?;
            let mut stat = rustix::fs::fstat(&fd).map_err(|e| failed("look at", &self.path, e))?;
            if stat.st_nlink > 1 {
                clear_drafts(dir, &stat);
                stat = rustix::fs::fstat(&fd).map_err(|e| failed("look at", &self.path, e))?;
            }
            if !dir.check(Place::Side, FILE, &stat)? {
                continue; // removed by hand: dropping the descriptor unlocks it
            }
            let fence = self.count(&fd, dir);
            let unlocked = rustix::fs::flock(&fd, FlockOperation::Unlock);
            unlocked.map_err(|e| failed("unlock", &self.path, e))?;
            *file = Some(fd);
            return fence;
        }
        Err(refused(&self.path, "is removed again and again"))
    }

    fn count(&self, fd: &OwnedFd, dir: &Dir) -> Result<Fence> {
        let mut buffer = [0u8; LEN + 1];
        let got =
            rustix::io::pread(fd, &mut buffer, 0).map_err(|e| failed("read", &self.path, e))?;
        let Some(count) = Count::decode(&buffer[..got]) else {
            return Err(refused(
                &self.path,
                "is damaged: it should say which fence was given last. If no resource remembers fences of \
                 this directory, or the clock is right, remove it: fences go on from the clock",
            ));
        };
        let (next, sync) = count
            .step(&dir.boot, Clock::system().wall_micros())
            .ok_or_else(|| refused(&self.path, "has no number left"))?;
        if sync {
            // Until the ceiling is on the disk the file names no boot: whoever follows us if we are killed
            // here must not trust it.
            let pending = Count {
                boot: Boot::none(),
                ..next.clone()
            };
            self.write(fd, &pending)?;
            rustix::fs::fdatasync(fd).map_err(|e| failed("write to disk", &self.path, e))?;
        }
        self.write(fd, &next)?;
        Fence::new(next.last).ok_or_else(|| refused(&self.path, "holds a negative number"))
    }

    fn write(&self, fd: &OwnedFd, count: &Count) -> Result<()> {
        let text = count.encode();
        match rustix::io::pwrite(fd, text.as_bytes(), 0) {
            Ok(n) if n == text.len() => Ok(()),
            Ok(_) => Err(failed("write", &self.path, Errno::NOSPC)),
            Err(e) => Err(failed("write", &self.path, e)),
        }
    }

    fn open(&self, dir: &Dir) -> Result<OwnedFd> {
        if dir.stat(Place::Side, FILE)?.is_none() {
            self.make(dir)?;
        }
        dir.file(Place::Side, FILE)
    }

    /// Makes the file whole under another name, on the disk, and only then names it: nobody sees half of one.
    fn make(&self, dir: &Dir) -> Result<()> {
        let draft = format!("{DRAFT}{:016x}", getrandom::u64().unwrap_or_default());
        let fd = dir::create(dir.side.as_fd(), &draft)
            .map_err(|e| failed("create", &dir.side_path(&draft), e))?;
        let count = Count {
            last: 0,
            ceiling: 0,
            boot: dir.boot.clone(),
        };
        let done = self.write(&fd, &count).and_then(|()| {
            rustix::fs::fsync(&fd).map_err(|e| failed("write to disk", &self.path, e))?;
            match publish(dir, &draft) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(e) => Err(failed("create", &self.path, e)),
            }
        });
        // Mostly it is gone by now: renamed, or removed by one who found it beside the counter.
        let removed = rustix::fs::unlinkat(&dir.side, &draft, AtFlags::empty());
        done?;
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(failed("remove", &dir.side_path(&draft), e)),
        }
    }
}

/// Gives a draft the name of the counter unless there is one, at best without a moment in which it has two.
fn publish(dir: &Dir, draft: &str) -> Result<(), Errno> {
    #[cfg(any(target_vendor = "apple", target_os = "linux", target_os = "android"))]
    {
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&dir.side, draft, &dir.side, FILE, flags) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {} // not on this file system
            other => return other,
        }
    }
    rustix::fs::linkat(&dir.side, draft, &dir.side, FILE, AtFlags::empty())
}

/// Removes other names of the counter that [`publish`] left: its process is between linking and unlinking, or
/// died there. What cannot be removed stays, and is refused as any other name is.
fn clear_drafts(dir: &Dir, counter: &Stat) {
    let entries = rustix::fs::Dir::read_from(&dir.side);
    for entry in entries.into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        let is_draft = name
            .strip_prefix(DRAFT)
            .is_some_and(|digits| digits.len() == 16 && u64::from_str_radix(digits, 16).is_ok());
        if !is_draft {
            continue;
        }
        let there = dir.stat(Place::Side, name).ok().flatten();
        if there.is_some_and(|it| it.st_ino == counter.st_ino && it.st_dev == counter.st_dev) {
            let _ = rustix::fs::unlinkat(&dir.side, name, AtFlags::empty());
        }
    }
}

impl Count {
    /// The count after one more grant, and whether it must reach the disk first.
    fn step(&self, here: &Boot, wall: i64) -> Option<(Self, bool)> {
        let same = self.boot == *here;
        let base = if same { self.last } else { self.ceiling };
        let last = Fence::after(Fence::new(base), wall)?.as_i64();
        let sync = !same || last > self.ceiling;
        let ceiling = if sync {
            last.checked_add(BLOCK_US)?
        } else {
            self.ceiling
        };
        let boot = here.clone();
        Some((
            Self {
                last,
                ceiling,
                boot,
            },
            sync,
        ))
    }

    fn encode(&self) -> String {
        let body = format!(
            "{MAGIC} {:019} {:019} {} ",
            self.last,
            self.ceiling,
            self.boot.as_str()
        );
        let check = checksum(body.as_bytes());
        format!("{body}{check:08x}\n")
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut words = text.split(' ').skip(1);
        let count = Self {
            last: words.next()?.parse().ok()?,
            ceiling: words.next()?.parse().ok()?,
            boot: Boot::parse(words.next()?)?,
        };
        // One spelling only: whatever differs in any byte is damage.
        let sound = count.last >= 0 && count.ceiling >= count.last && count.encode() == text;
        sound.then_some(count)
    }
}

/// FNV-1a: it finds damage, it keeps nobody out.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::fuzz;

    fn boot(digit: &str) -> Boot {
        Boot::parse(&digit.repeat(Boot::LEN)).unwrap()
    }

    fn count(last: i64, ceiling: i64) -> Count {
        Count {
            last,
            ceiling,
            boot: boot("a"),
        }
    }

    #[test]
    fn fences_grow_though_the_clock_stands_or_goes_back() {
        let (one, sync) = count(0, 0).step(&boot("a"), 1_000).unwrap();
        assert_eq!((one.last, sync), (1_000, true));
        let (two, sync) = one.step(&boot("a"), 1_000).unwrap();
        assert_eq!((two.last, sync), (1_001, false));
        let (three, _) = two.step(&boot("a"), 5).unwrap();
        assert_eq!(three.last, 1_002);
    }

    #[test]
    fn after_a_boot_no_fence_below_the_ceiling_is_given_whatever_the_clock_says() {
        let (before, _) = count(0, 0).step(&boot("a"), 1_000).unwrap();
        // The machine crashed after many more grants, none of which reached the disk.
        let (after, sync) = before.step(&boot("b"), 7).unwrap();
        assert!(after.last > before.ceiling && sync);
        assert!(after.ceiling > after.last);
    }

    #[test]
    fn a_ceiling_reaches_the_disk_before_a_fence_above_it() {
        let (next, sync) = count(10, 10).step(&boot("a"), 0).unwrap();
        assert!(sync && next.last == 11 && next.ceiling == 11 + BLOCK_US);
        let (_, sync) = count(9, 10).step(&boot("a"), 0).unwrap();
        assert!(!sync);
        assert_eq!(count(i64::MAX, i64::MAX).step(&boot("a"), 0), None);
    }

    #[test]
    fn no_accident_to_the_counter_is_taken_for_a_count() {
        fuzz(|dice| {
            let number = |dice: &mut crate::dice::Dice| {
                let digits = dice.below(63);
                i64::try_from(dice.next() >> 1 >> digits).unwrap()
            };
            let last = number(dice);
            let good = count(last, last.saturating_add(number(dice)));
            let text = good.encode();
            assert_eq!(Count::decode(text.as_bytes()), Some(good.clone()));
            let bytes = dice.mangled(text.as_bytes());
            if let Some(read) = Count::decode(&bytes) {
                assert_eq!(read.encode().as_bytes(), bytes, "one spelling only");
                assert_eq!(read, good, "nobody makes the check by accident");
            }
            let wall = number(dice);
            if let Some((next, _)) = good.step(&boot("a"), wall) {
                assert!(next.last > good.last && next.ceiling >= next.last);
                assert!(Count::decode(next.encode().as_bytes()) == Some(next));
            }
        });
    }

    #[test]
    fn any_changed_byte_is_damage() {
        let text = count(12, 99).encode().into_bytes();
        assert_eq!(text.len(), LEN);
        assert_eq!(Count::decode(&text), Some(count(12, 99)));
        for at in 0..text.len() {
            let mut bad = text.clone();
            bad[at] ^= 1;
            assert_eq!(Count::decode(&bad), None, "byte {at}");
            assert_eq!(Count::decode(&text[..at]), None, "cut at {at}");
        }
        assert_eq!(Count::decode(b""), None);
    }
}
