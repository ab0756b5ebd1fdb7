//! What only the program with the feature `full` has: imagegen takes it for plans that ask for any of this.

pub mod ahead;
pub mod help;
pub mod holder;
pub mod service;
pub mod unit;
pub mod verity;
