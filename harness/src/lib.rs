//! The `whitewater` program: breaks clusters on purpose and judges whether they held.

pub mod doctor;
pub mod guardian;
