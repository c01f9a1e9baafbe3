//! The data of monban: keys, claims, modes, fences, entries, errors and options.
//!
//! Nothing here does input or output, and nothing here reads a clock.

mod barred;
mod claim;
mod claimant;
mod entry;
mod error;
mod fence;
mod id;
mod key;
mod mode;
mod options;
mod text;
mod token;

#[cfg(test)]
mod tests;

pub use barred::Barred;
pub use claim::{Claim, IfBusy, Keep, Leave};
pub use claimant::Claimant;
pub use entry::{Entry, EntryId, Standing};
pub use error::{Error, Loss, Result};
pub use fence::Fence;
pub use id::{ClaimId, ProcessId};
pub use key::Key;
pub use mode::Mode;
pub use options::{Options, Renewal as RenewalPolicy};
pub use text::{duration as duration_text, printable};
pub use token::Token;
