//! One lock over the store you already run.
pub mod keyed;
