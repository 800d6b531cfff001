//! The health gate: asks every service of the image whether it works, and whether network, room and time are there.

pub mod gate;
pub mod host;
pub mod http;
pub mod network;
pub mod pinned;
pub mod probe;
