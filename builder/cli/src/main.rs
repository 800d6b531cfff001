//! `casemate`.
fn main() {}
