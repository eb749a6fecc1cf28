//! A small model of a cluster, and scripts that run the real decision against it. Pure: time is a number in it.
//!
//! What the model knows: ReplicaSets whose pods come up after a while or never, a gateway that confirms weights after a
//! while or never, Services that follow their selectors, AnalysisRuns whose verdicts the script gives. After every single
//! effect, and every event, [`crate::rollout::invariant`] judges the state.

pub mod cluster;
pub mod script;
