//! How long a rollout may take, and what ends it.

use std::time::Duration;

use super::{SpecError, refuse};
use crate::api::names::OWNED_BY;
use crate::api::rollout::{OnFailure, Rollout};

/// `progressDeadlineSeconds` of Deployments and Argo Rollouts.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);

/// Argo Rollouts' default for both histories of runs.
const DEFAULT_KEPT_RUNS: usize = 5;

fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// What bounds a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// How long pods of a new revision may take until the next of them is ready.
    pub deadline: Duration,
    /// A canary whose pods are at fault is stopped then.
    pub deadline_aborts: bool,
    /// A failure pauses the canary in place of stopping it.
    pub pauses_on_failure: bool,
    /// Among how many promoted revisions before stable a content goes live again without steps.
    pub rollback_window: usize,
    /// How many completed runs of earlier attempts are kept: good ones, and bad ones.
    pub kept_runs: (usize, usize),
    /// `spec.paused`.
    pub paused: bool,
    /// `<namespace>/<name>` of the Application that the object says it comes from; none for one that people apply.
    pub application: Option<String>,
}

/// Reads the fields that bound a rollout.
pub(super) fn parse(rollout: &Rollout) -> Result<Life, SpecError> {
    let spec = &rollout.spec;
    let deadline = spec.progress_deadline_seconds.map_or(DEFAULT_DEADLINE, |length| length.std());
    let ready = Duration::from_secs(u64::try_from(spec.min_ready_seconds).unwrap_or(0));
    if deadline <= ready {
        let found = format!("{} s", deadline.as_secs());
        return refuse("spec.progressDeadlineSeconds", found, "must be longer than minReadySeconds, and than 0");
    }
    let history = spec.analysis.clone().unwrap_or_default();
    let labels = rollout.metadata.labels.as_ref();
    Ok(Life {
        deadline,
        deadline_aborts: spec.progress_deadline_abort,
        pauses_on_failure: spec.strategy.canary.on_failure == OnFailure::Pause,
        rollback_window: spec.rollback_window.as_ref().map_or(0, |window| count(window.revisions)),
        kept_runs: (
            history.successful_run_history_limit.map_or(DEFAULT_KEPT_RUNS, count),
            history.unsuccessful_run_history_limit.map_or(DEFAULT_KEPT_RUNS, count),
        ),
        paused: spec.paused,
        application: labels.and_then(|labels| labels.get(OWNED_BY)).map(|owner| owner.replacen('.', "/", 1)),
    })
}
