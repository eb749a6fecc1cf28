//! A model of a cluster, and scripts that run the real decision against it. Pure: time is a number in it.
//!
//! ```text
//! commands ── a script's lines
//!    │
//! script ──── time passes, engines look, what happens is told
//!    │
//! engine ──── a controller: a snapshot, a decision, its effects one by one, through the faults of a plan
//!    │        (after every single effect crate::rollout::invariant judges the state)
//! cluster ─── what the API server holds, and what an observer sees of it
//!    ├ apply     one effect, as the API server carries it out or refuses it
//!    ├ pods      ReplicaSets and what their controller makes of them
//!    └ people    what others do to the objects
//! day ─────── scripts that fit any Rollout, for `kubectl tidegate simulate`
//! ```
//!
//! A new effect is one arm in `apply`; a new observation one field in `cluster`; a new event one method in `people` and one
//! line in `commands`.

mod apply;
pub mod cluster;
mod commands;
pub mod day;
pub mod engine;
pub mod fault;
mod people;
mod pods;
pub mod script;
