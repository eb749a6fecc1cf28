//! Tidegate: progressive delivery for Kubernetes that closes the loop to Git.
//!
//! Data flows one way, and so do the imports (`tests/architecture.rs` holds both):
//!
//! ```text
//! Git --fetch--> git --render--> manifest --plan--> sync --apply--> cluster (Rollout, Service, HTTPRoute, ...)
//! cluster + metrics --observe--> rollout::Observed --decide--> effects --execute--> outcome --record--> status, events
//! verdict Failed --> traffic to stable first; then git::revert --push--> Git --fetch--> ... (the loop closes)
//! ```
//!
//! | room | does | may touch |
//! |---|---|---|
//! | [`api`] | the custom resources' types and names | nothing |
//! | [`git`] | what a commit changed, the revert and its message | its `client`: Git servers |
//! | [`manifest`] | files to objects, content digests | nothing |
//! | [`sync`] | what to apply, in which order, what to prune, health | its `client`: the API server |
//! | [`traffic`] | weights into routes, and whether a gateway has them | nothing |
//! | [`analysis`] | conditions, counts, verdicts | its `provider`: metric servers |
//! | [`rollout`] | the decision: observed state in, status and effects out | nothing |
//! | [`controller`] | the loops: observe, decide, execute, record | everything |
//! | [`cli`] | the kubectl plugin | the API server |

pub mod api;
pub mod git;
pub mod manifest;
pub mod sync;
pub mod traffic;
pub mod analysis;
pub mod rollout;
pub mod controller;
pub mod cli;
pub mod simulate;
