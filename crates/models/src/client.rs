//! A client: what it believes, and what it sends.

use super::queue::UNIT;

/// The TTL, in units of the model's time.
pub(crate) const TTL: u8 = 2;

pub(crate) fn ttl() -> std::time::Duration {
    UNIT * u32::from(TTL)
}

/// One client, through its crashes: each life has a claim of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) life: u8,
    pub(crate) phase: Phase,
    /// Requests beyond the first that this life may still send: it bounds the model.
    pub(crate) spare: u8,
    /// It writes once.
    pub(crate) wrote: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Idle,
    /// Its request was sent then; an answer to an earlier one is not looked at.
    Asking {
        sent: u8,
    },
    /// It has this fence, and counts from before its last confirmed request was sent.
    Holding {
        fence: i64,
        since: u8,
    },
}

impl Client {
    pub(crate) fn new(spare: u8) -> Self {
        Self {
            life: 0,
            phase: Phase::Idle,
            spare,
            wrote: false,
        }
    }

    /// Whether it believes to hold, by its own clock.
    pub(crate) fn believes(&self, now: u8) -> bool {
        matches!(self.phase, Phase::Holding { since, .. } if now < since + TTL)
    }
}

/// What is on its way. A message that is never delivered is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Message {
    Attempt {
        who: usize,
        life: u8,
        sent: u8,
    },
    Renew {
        who: usize,
        life: u8,
        sent: u8,
        fence: i64,
    },
    Release {
        who: usize,
        life: u8,
    },
    Granted {
        who: usize,
        life: u8,
        sent: u8,
        fence: i64,
    },
    Kept {
        who: usize,
        life: u8,
        sent: u8,
    },
    /// A write that was sent when its client believed to hold; it lands when it lands.
    Write {
        fence: i64,
    },
}
