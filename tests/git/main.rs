//! Git for real: plans compared with `git revert`, and the client against `git http-backend` on loopback.
#![expect(clippy::disallowed_methods, reason = "a slow server sleeps, a deadline is measured, a child process needs PATH")]

// `cfg(test)` on each, so that clippy takes their helpers for the tests that they are.
#[cfg(test)]
mod client;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod mirror;
#[cfg(test)]
mod revert;
#[cfg(test)]
#[path = "../support/git_server.rs"]
mod server;
