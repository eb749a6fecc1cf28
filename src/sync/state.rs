//! Pieces of `Application.status`, as functions of what was seen.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::api::application::{
    CommitInfo, Health, HealthStatus, HistoryEntry, HistoryOutcome, KEPT_ENTRIES, KEPT_UNHEALTHY, ResourceHealth, Resources,
};
use crate::manifest::ObjectId;
use crate::manifest::object::clean;

/// An object of the Application as it is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What names it.
    pub id: ObjectId,
    /// Its health.
    pub health: Health,
    /// Is it as Git has it?
    pub synced: bool,
}

/// Counts, and the unhealthy ones: worst first, at most [`KEPT_UNHEALTHY`].
#[must_use]
pub fn resources(seen: &[Seen]) -> Resources {
    let count = |wanted: &dyn Fn(&Seen) -> bool| i32::try_from(seen.iter().filter(|s| wanted(s)).count()).unwrap_or(i32::MAX);
    let mut unhealthy: Vec<&Seen> = seen.iter().filter(|s| s.health.status != HealthStatus::Healthy).collect();
    unhealthy.sort_by(|a, b| b.health.status.cmp(&a.health.status).then_with(|| a.id.cmp(&b.id)));
    Resources {
        total: count(&|_| true),
        synced: count(&|s| s.synced),
        healthy: count(&|s| s.health.status == HealthStatus::Healthy),
        unhealthy: unhealthy.into_iter().take(KEPT_UNHEALTHY).map(resource_health).collect(),
    }
}

fn resource_health(seen: &Seen) -> ResourceHealth {
    let Seen { id, health, synced: _ } = seen;
    ResourceHealth {
        group: id.group.clone(),
        kind: id.kind.clone(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        health: health.status,
        message: clean(&health.message, 200),
    }
}

/// Health of the whole: that of its worst object, which the message names. An Application without objects is Healthy.
#[must_use]
pub fn summary(seen: &[Seen]) -> Health {
    let resources = resources(seen);
    let Some(worst) = resources.unhealthy.first() else {
        return Health { status: HealthStatus::Healthy, message: String::new() };
    };
    let more = resources.total - resources.healthy - 1;
    let others = if more > 0 { format!("; and {more} more") } else { String::new() };
    let place = if worst.namespace.is_empty() { worst.name.clone() } else { format!("{}/{}", worst.namespace, worst.name) };
    let message = if worst.message.is_empty() { String::new() } else { format!(": {}", worst.message) };
    Health { status: worst.health, message: format!("{} {place}{message}{others}", worst.kind) }
}

/// Notes that a commit was applied: newest first, at most [`KEPT_ENTRIES`]. One that was still under way is Superseded.
/// The commit that is at the top already is not noted twice.
pub fn deployed(history: &mut Vec<HistoryEntry>, commit: &CommitInfo, now: Timestamp) {
    if history.first().is_some_and(|newest| newest.commit == commit.commit) {
        return;
    }
    if let Some(newest) = history.first_mut().filter(|newest| newest.outcome.is_none()) {
        newest.outcome = Some(HistoryOutcome::Superseded);
    }
    let CommitInfo { commit, author, subject, committed_at: _ } = commit.clone();
    history.insert(0, HistoryEntry { commit, author, subject, deployed_at: MicroTime(now), outcome: None, evidence: None });
    history.truncate(KEPT_ENTRIES);
}

/// Notes how the deployment of `commit` ended. The first word stands, but for a rollback: an Application may have been
/// Healthy for a moment, or superseded, before one of its Rollouts failed.
pub fn ended(history: &mut [HistoryEntry], commit: &str, outcome: HistoryOutcome, evidence: Option<&str>) {
    let Some(entry) = history.iter_mut().find(|entry| entry.commit == commit) else { return };
    if entry.outcome.is_none() || (outcome == HistoryOutcome::RolledBack && entry.outcome != Some(outcome)) {
        entry.outcome = Some(outcome);
        entry.evidence = evidence.map(|text| clean(text, 500));
    }
}
