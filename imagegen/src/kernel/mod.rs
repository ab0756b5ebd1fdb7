//! The kernel a board boots: what it must have for the board, what one has, what is missing, and the checklist of a board's first
//! boot.

pub mod bring_up;
pub mod config;
pub mod doctor;
pub mod load;
pub mod needs;
