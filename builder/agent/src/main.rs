//! `casemate-agent`.
fn main() {}
