//! The controller, and `tidegate crds`.
fn main() {}
