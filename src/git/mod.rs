//! Commits, and the commit that takes a bad one back.
//!
//! ```text
//! client: fetch --> tip --> revert::plan (which commits failed, what takes them back) --> message::compose
//!   --> client: commit, push with compare-and-swap --> fetch --> ... (the loop closes)
//! ```
//! [`revision`] names commits, trees and paths; [`revert`] decides, over a narrow view of the object database;
//! [`message`] writes the commit message; [`policy`] holds the brakes. All four are pure. [`client`] talks to the server.

pub mod revision;
pub mod revert;
pub mod message;
pub mod policy;
pub mod client;
