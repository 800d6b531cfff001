//! Files by HTTP, whole or from an offset on, from servers that stall, drip, break off and lie about ranges.
//!
//! The builder gets packages and assets by it, and a host its updates. What comes is bytes of nobody in particular: whoever asked compares a digest
//! or a signature.

mod http;
mod pace;

pub use http::{Body, Http, HttpError, PATIENCE, Small, Validators, Way, WayError};
