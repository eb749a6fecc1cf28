//! Git for real: plans compared with `git revert`, and the client against `git http-backend` on loopback.

mod client;
mod faults;
mod fixture;
mod generated;
mod mirror;
mod revert;
mod server;
