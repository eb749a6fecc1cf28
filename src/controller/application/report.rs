//! What a pass over an Application comes to, in conditions.

use jiff::Timestamp;

use super::{Work, source};
use crate::api::application::{Application, HealthStatus, WriteBackPhase};
use crate::api::condition::{self, application as reasons};

/// When the branch is to be looked at next.
#[must_use]
pub fn next_poll(app: &Application, now: Timestamp) -> Timestamp {
    let interval = jiff::SignedDuration::try_from(source::interval(app)).unwrap_or(jiff::SignedDuration::from_secs(60));
    now.checked_add(interval).unwrap_or(now)
}

/// Ready, Reconciling, Stalled, Healthy and WrittenBack, from everything else.
pub fn finish(work: &mut Work, now: Timestamp) {
    let health = work.status.health.clone();
    let (healthy, reason, message) = match &health {
        Some(health) if health.status == HealthStatus::Healthy => (true, reasons::SUCCEEDED, "everything is healthy".to_owned()),
        Some(health) if health.status == HealthStatus::Degraded => (false, reasons::ROLLED_BACK, health.message.clone()),
        Some(health) => (false, reasons::PROGRESSING, health.message.clone()),
        None => (false, reasons::PROGRESSING, "nothing was applied yet".to_owned()),
    };
    work.condition(condition::HEALTHY, healthy, reason, &message, now);
    let broken = [condition::FETCHED, condition::RENDERED, condition::APPLIED]
        .into_iter()
        .find_map(|kind| work.status.conditions.iter().find(|c| c.type_ == kind && c.status == "False"))
        .map(|c| (c.reason.clone(), c.message.clone()));
    let degraded = health.is_some_and(|health| health.status == HealthStatus::Degraded);
    match broken {
        Some((reason, why)) => {
            work.condition(condition::READY, false, &reason, &why, now);
            work.condition(condition::STALLED, true, &reason, &why, now);
            work.condition(condition::RECONCILING, false, &reason, &why, now);
        }
        None => {
            work.condition(condition::READY, healthy, reason, &message, now);
            work.condition(condition::STALLED, degraded, reason, &message, now);
            work.condition(condition::RECONCILING, !healthy && !degraded, reason, &message, now);
        }
    }
    if let Some(newest) = work.status.write_backs.first().cloned() {
        let done = newest.phase == WriteBackPhase::Done;
        work.condition(condition::WRITTEN_BACK, done, &newest.reason, &newest.message, now);
    }
}
