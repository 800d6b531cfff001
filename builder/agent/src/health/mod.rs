//! The health gate: asks every service of the image whether it works.

pub mod gate;
pub mod http;
pub mod pinned;
pub mod probe;
