//! The torture test of monban.
pub mod checkers;
pub mod clock;
pub mod event;
pub mod story;
pub mod verdict;
