//! Keys hash alike in every execution, or a schedule could not be repeated.

pub(super) use std::hash::BuildHasherDefault;

pub(super) type SipState = BuildHasherDefault<std::hash::DefaultHasher>;
