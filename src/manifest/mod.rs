//! Files from Git into objects, with limits, and the identity of their content. Pure.
//!
//! ```text
//! File{path, bytes} --parse--> Object{source, id, value}   or every error, each with file and line
//!                                  |
//!                                  +--rollout--> template digests (what a canary is started by)
//! ```

pub mod digest;
pub mod object;
pub mod parse;
pub mod rollout;
mod scalar;
mod yaml;

pub use object::{File, ManifestError, ManifestErrors, Object, ObjectId, Source};
pub use parse::parse;

#[cfg(test)]
mod tests;
