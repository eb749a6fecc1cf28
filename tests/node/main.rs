//! On a real node: pods, a gateway, load. Each story is a release as people do it, under load; a witness outside counts
//! what was answered, and no request may be lost by the machinery itself.
//!
//! Needs what `testbed/up` writes to `target/testbed/env`, in the environment. Elsewhere the stories say that they are
//! skipped, unless `TIDEGATE_REQUIRE_NODE=1`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a story stops at the first thing that is not as it should be")]

mod audit;
mod delivery;
mod forge;
mod load;
mod shop;
mod slo;
mod stories;
