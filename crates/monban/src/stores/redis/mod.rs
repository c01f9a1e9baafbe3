//! The line on one Redis or Valkey primary.
