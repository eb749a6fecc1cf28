//! Against a real API server: what it refuses, what it lets people and the controller do.
//!
//! Needs `TIDEGATE_CONTROL_PLANE_KUBECONFIG`, an administrator's kubeconfig; `testbed/up control-plane` makes one.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first thing that is not as it should be")]

mod application;
mod analysis;
mod crash;
mod crds;
mod examples;
mod faults;
mod plans;
mod play;
mod pods;
#[path = "../support/git_server.rs"]
#[expect(dead_code, clippy::disallowed_methods, reason = "shared with the tests of the Git client, which ask for more")]
mod git;
mod git_server;
mod leader;
mod replicas;
mod policies;
mod rights;
mod rollout;
mod slo;
mod support;
mod tap;
mod unruly;
mod world;
mod write_back;
mod write_back_faults;
mod writes;
