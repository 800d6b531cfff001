//! The health gate: asks every service of the image whether it works, and whether the network is there.

pub mod gate;
pub mod http;
pub mod network;
pub mod pinned;
pub mod probe;
