//! The reference.
#[must_use]
pub fn pages() -> Vec<(String, String)> {
    Vec::new()
}
