//! One line of text in a file that says who holds, waits or lingers.
//!
//! It is written by whoever has the lock of the file, whole and in one call. That somebody *holds* is only
//! ever what the kernel says; of a record only a linger decides anything, and only under the lock.
//!
//! ```text
//! monban1 STATE id pid boot since-boot(ns) wall(µs) linger(µs) fence claimant key
//! ```

use std::path::Path;
use std::time::Duration;

use rustix::fd::AsFd;
use rustix::io::Errno;

use super::fault::{failed, refused};
use super::moment::{Boot, Moment};
use super::name::{decode, encode};
use crate::data::{ClaimId, Claimant, Fence, Key, Result};

const MAGIC: &[u8] = b"monban1 ";
/// The longest record: a key of 1 KiB and a claimant of 510 bytes, percent-encoded, and the numbers.
const LONGEST: usize = 8192;

/// What the owner of a record is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Waiting,
    Held,
    /// It was released at the record's instant and keeps its place for this long.
    Lingering(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) state: State,
    pub(super) id: ClaimId,
    /// The process that took the lock, as the kernel numbers it.
    pub(super) pid: u32,
    pub(super) boot: Boot,
    /// Since when it has its state.
    pub(super) since: Moment,
    pub(super) fence: Option<Fence>,
    pub(super) claimant: Claimant,
    /// Only for a file whose name does not tell.
    pub(super) key: Option<Key>,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Empty,
    Record(Record),
    /// Begins as a record and is none: torn, or damaged.
    Damaged(u8),
    /// Not ours: it is never written to.
    Foreign,
}

impl Record {
    fn encode(&self) -> String {
        let (letter, linger) = match self.state {
            State::Free => ('-', Duration::ZERO),
            State::Waiting => ('W', Duration::ZERO),
            State::Held => ('H', Duration::ZERO),
            State::Lingering(rest) => ('L', rest),
        };
        let fence = self.fence.map_or(-1, Fence::as_i64);
        let key = self
            .key
            .as_ref()
            .map_or_else(|| "/".to_owned(), |key| encode(key.as_bytes()));
        format!(
            "monban1 {letter} {} {} {} {} {} {} {fence} {} {key}\n",
            self.id,
            self.pid,
            self.boot.as_str(),
            self.since.since_boot_ns,
            self.since.wall_us,
            linger.as_micros(),
            self.claimant.encode(),
        )
    }

    fn decode(line: &str) -> Option<Self> {
        let mut words = line.split(' ').skip(1);
        let mut word = || words.next();
        let letter = word()?;
        let id = ClaimId::parse(word()?)?;
        let pid = word()?.parse().ok()?;
        let boot = Boot::parse(word()?)?;
        let since = Moment {
            since_boot_ns: word()?.parse().ok()?,
            wall_us: word()?.parse().ok()?,
        };
        let linger = Duration::from_micros(word()?.parse().ok()?);
        let fence = Fence::new(word()?.parse().ok()?);
        let claimant = Claimant::parse(word()?)?;
        let key = match word()? {
            "/" => None,
            name => Some(Key::new(decode(name)?).ok()?),
        };
        let state = match letter {
            "-" => State::Free,
            "W" => State::Waiting,
            "H" => State::Held,
            "L" => State::Lingering(linger),
            _ => return None,
        };
        word().is_none().then_some(Self {
            state,
            id,
            pid,
            boot,
            since,
            fence,
            claimant,
            key,
        })
    }

    /// For how long it has had its state.
    pub(super) fn age(&self, here: &Boot) -> Duration {
        self.since.age(&self.boot, here, Moment::now())
    }

    /// How long it still lingers; `None` if it does not, or not any more.
    pub(super) fn lingers(&self, here: &Boot) -> Option<Duration> {
        let State::Lingering(length) = self.state else {
            return None;
        };
        length
            .checked_sub(self.age(here))
            .filter(|rest| !rest.is_zero())
    }

    /// Writes the record over whatever record is there.
    pub(super) fn write(&self, fd: impl AsFd, path: &Path) -> Result<()> {
        write_all(fd, path, self.encode().as_bytes())
    }
}

/// Marks the record of a file as nobody's, and keeps the rest of it.
pub(super) fn clear(fd: impl AsFd, path: &Path) -> Result<()> {
    write_all(fd, path, b"monban1 -")
}

fn write_all(fd: impl AsFd, path: &Path, bytes: &[u8]) -> Result<()> {
    let written = rustix::io::pwrite(fd, bytes, 0).map_err(|e| failed("write", path, e))?;
    if written == bytes.len() {
        return Ok(());
    }
    Err(failed("write", path, Errno::NOSPC))
}

/// Reads what a file holds, at most [`LONGEST`] bytes of it.
pub(super) fn read(fd: impl AsFd, path: &Path) -> Result<Content> {
    // Most records are short: the long buffer is for those that are not.
    let mut short = [0u8; 512];
    let got = rustix::io::pread(&fd, &mut short, 0).map_err(|e| failed("read", path, e))?;
    if got < short.len() || short.contains(&b'\n') {
        return Ok(parse(&short[..got]));
    }
    let mut long = vec![0u8; LONGEST];
    let got = rustix::io::pread(&fd, &mut long, 0).map_err(|e| failed("read", path, e))?;
    Ok(parse(&long[..got]))
}

fn parse(bytes: &[u8]) -> Content {
    if bytes.is_empty() {
        return Content::Empty;
    }
    let Some(letter) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.first()) else {
        return Content::Foreign;
    };
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let whole = bytes.contains(&b'\n');
    match std::str::from_utf8(line).ok().and_then(Record::decode) {
        Some(record) if whole => Content::Record(record),
        _ => Content::Damaged(*letter),
    }
}

impl Content {
    /// The record, if it is one that can be read.
    pub(super) fn record(self) -> Option<Record> {
        match self {
            Self::Record(record) => Some(record),
            _ => None,
        }
    }

    /// Refuses what may have been a linger and cannot be read: granting would break it.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        match self {
            Self::Damaged(b'L') => Err(refused(
                path,
                "is damaged: it should say how long the key is to stay taken; \
                 empty it (`: > FILE`) if the key may be taken now",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ProcessId;
    use crate::dice::fuzz;

    fn record(state: State, key: Option<Key>) -> Record {
        Record {
            state,
            id: ClaimId::random(ProcessId::random()),
            pid: 7,
            boot: Boot::read(),
            since: Moment::now(),
            fence: Fence::new(3),
            claimant: Claimant::new("ho st", 7, "la bel\n"),
            key,
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let key = Key::new(vec![0xff; Key::MAX_LEN]).unwrap();
        for record in [
            record(State::Held, None),
            record(State::Lingering(Duration::from_secs(9)), Some(key)),
            Record {
                fence: None,
                ..record(State::Waiting, None)
            },
        ] {
            let text = record.encode();
            assert!(text.len() <= LONGEST);
            assert_eq!(parse(text.as_bytes()), Content::Record(record));
        }
    }

    #[test]
    fn every_torn_record_is_known_for_one() {
        let text = record(State::Lingering(Duration::from_secs(9)), None).encode();
        for end in MAGIC.len() + 1..text.len() {
            assert_eq!(
                parse(&text.as_bytes()[..end]),
                Content::Damaged(b'L'),
                "{end}"
            );
        }
        assert_eq!(parse(b""), Content::Empty);
        assert_eq!(parse(b"4711\n"), Content::Foreign);
    }

    /// Fails closed: what may have been a linger is one, or is refused; it is never taken for a free key.
    #[test]
    fn no_accident_to_a_record_frees_a_key_that_lingers() {
        let here = Boot::read();
        fuzz(|dice| {
            let key = dice.bytes(40);
            let key = Key::new(key).ok().filter(|_| dice.percent(50));
            let linger = State::Lingering(dice.millis(1_000_000));
            let state = dice.one(&[State::Free, State::Waiting, State::Held, linger]);
            let good = record(state, key).encode();
            let bytes = match dice.below(8) {
                0 => dice.bytes(300),
                _ => dice.mangled(good.as_bytes()),
            };
            let content = parse(&bytes);
            if let Content::Record(record) = &content {
                let again = parse(record.encode().as_bytes());
                assert_eq!(again, content, "it comes back as it was");
                let _ = (record.age(&here), record.lingers(&here));
            }
            if bytes.starts_with(b"monban1 L") {
                let refused = content.check(Path::new("x")).is_err();
                let lingers = matches!(&content, Content::Record(r) if matches!(r.state, State::Lingering(_)));
                assert!(refused || lingers, "{content:?}");
            }
        });
    }

    #[test]
    fn a_shorter_record_over_a_longer_one_is_read_alone() {
        let long = record(State::Held, Some(Key::new("k".repeat(900)).unwrap()));
        let short = record(State::Held, None);
        let file = tempfile::tempfile().unwrap();
        let path = Path::new("x");
        long.write(&file, path).unwrap();
        assert_eq!(read(&file, path).unwrap(), Content::Record(long));
        short.write(&file, path).unwrap();
        assert_eq!(read(&file, path).unwrap(), Content::Record(short.clone()));
        clear(&file, path).unwrap();
        let there = read(&file, path).unwrap().record().unwrap();
        assert_eq!((there.state, there.id), (State::Free, short.id));
    }

    #[test]
    fn a_linger_is_never_longer_than_it_was_asked_for() {
        let here = Boot::read();
        let mut record = record(State::Lingering(Duration::from_secs(9)), None);
        assert!(record.lingers(&here).unwrap() <= Duration::from_secs(9));
        record.boot = Boot::parse("00000000000000ff").unwrap();
        record.since.wall_us += 3_600_000_000; // the wall clock was set back an hour over a restart
        assert_eq!(record.lingers(&here), Some(Duration::from_secs(9)));
        record.since.wall_us -= 2 * 3_600_000_000;
        assert_eq!(record.lingers(&here), None);
    }
}
