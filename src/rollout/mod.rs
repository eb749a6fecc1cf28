//! The decision: one snapshot in, one status and a list of effects out. Pure.
//!
//! ```text
//! Rollout object --spec::validate--> ValidatedRollout ─┐
//!                                                      ├─ decide ──> Decision { status, effects, requeue_at }
//! cluster snapshot (observed) ── Observed { now, .. } ─┘
//! ```
//!
//! `decide` has no handles and reads no clock. It is run again after every change, and what it wants follows
//! from what is seen and what is recorded, never from what an earlier run meant to do. Effects run in order:
//! those that lower risk, then the status record, then those that raise it. Every prefix is safe, which
//! [`invariant`] checks on states, sharing no code with the decision.

pub mod claim;
pub mod decide;
pub mod dress;
pub mod effect;
pub mod invariant;
pub mod managers;
pub mod notes;
pub mod objects;
pub mod observed;
pub mod patches;
pub mod replicas;
pub mod spec;
pub mod trouble;

pub use decide::{Decision, decide};
pub use effect::Effect;
pub use observed::Observed;
pub use spec::ValidatedRollout;
