//! Scenarios that boot artifacts.
