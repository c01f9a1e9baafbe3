//! Who asks, for people to read.

use std::fmt;
use std::sync::Arc;

use super::text::{decode_part, encode_part, printable};

/// Says who asks for a key: host, process number and a label. For people; it decides nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Claimant(Arc<Parts>);

#[derive(PartialEq, Eq, Hash)]
struct Parts {
    host: String,
    pid: u32,
    label: String,
}

impl Claimant {
    /// A longer host name or label is cut to this many bytes.
    pub const MAX_PART: usize = 255;

    /// Describes this process on this host.
    #[must_use]
    pub fn this_process(label: &str) -> Self {
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Self::new(&host, std::process::id(), label)
    }

    /// Describes a process.
    #[must_use]
    pub fn new(host: &str, pid: u32, label: &str) -> Self {
        let parts = Parts {
            host: cut(host).to_owned(),
            pid,
            label: cut(label).to_owned(),
        };
        Self(Arc::new(parts))
    }

    /// Host name, as it came (escape it before you show it).
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// The process number on its host.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// The label that the process chose, empty if none, as it came (escape it before you show it).
    #[must_use]
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// One line of ASCII without white space, `:` or `=`, for stores: `host/pid/label`, each percent-encoded.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(self.0.host.len() + self.0.label.len() + 12);
        encode_part(&mut out, self.0.host.as_bytes());
        out.push('/');
        out.push_str(&self.0.pid.to_string());
        out.push('/');
        encode_part(&mut out, self.0.label.as_bytes());
        out
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` if it is not that.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (host, pid, label) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let text = |part| String::from_utf8(decode_part(part)?).ok();
        Some(Self::new(&text(host)?, pid.parse().ok()?, &text(label)?))
    }
}

fn cut(text: &str) -> &str {
    let end = text.floor_char_boundary(Claimant::MAX_PART);
    &text[..end]
}

/// `pid 4711 on web-3 (nightly report)`, with misleading characters escaped.
impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} on {}", self.pid(), printable(self.host()))?;
        if !self.label().is_empty() {
            write!(f, " ({})", printable(self.label()))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claimant({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoded_form_comes_back_as_it_was() {
        let who = Claimant::new("web:3", 4711, "a/b \u{1b}[1m=x");
        let text = who.encode();
        assert!(
            text.is_ascii() && !text.contains([' ', ':', '=', '\u{1b}']),
            "{text}"
        );
        assert_eq!(Claimant::parse(&text), Some(who));
        assert_eq!(Claimant::parse("a/b"), None);
        assert_eq!(Claimant::parse("a/1/b/c"), None);
    }

    #[test]
    fn a_long_label_is_cut_between_characters() {
        let who = Claimant::new("h", 1, &"\u{e9}".repeat(200));
        assert!(who.label().len() <= Claimant::MAX_PART);
        assert!(Claimant::parse(&who.encode()).is_some());
    }
}
