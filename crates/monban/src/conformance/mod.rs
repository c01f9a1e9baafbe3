//! The suite that holds any store to the contract.
