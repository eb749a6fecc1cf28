//! The kubectl plugin from outside: what it prints, what it sends, how it ends; and the files generated from the types.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod commands;
mod exit_codes;
mod fixtures;
mod generated;
mod render;
mod script;
mod simulate;
