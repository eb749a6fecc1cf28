//! The life cycle of an AnalysisRun: what to measure now, and what the measurements add up to.
//!
//! Semantics are Argo Rollouts' (limits are strict `>`, failure wins, errors do not use up `count`), with one
//! difference: a measurement without a usable value counts toward no verdict. When there is none for too long the run is
//! in phase Error, which is not an end: measuring goes on, and the first usable value leads back to Running.

mod judge;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::api::analysis::{
    AnalysisRunSpec, AnalysisRunStatus, KEPT_MEASUREMENTS, MeasuredPhase, Measurement, Metric, MetricResult, RunPhase,
};
use crate::api::{Duration, Time};

use super::measured::{Look, Measured, Taken};
use super::text::{clean, counted};
use super::{slo, verdict};

use judge::judge;

/// Shortest interval between measurements of one metric.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// A measurement without a usable value is repeated after this, or after the interval if that is shorter.
pub const ERROR_RETRY: Duration = Duration::from_secs(10);
/// `noDataDeadline` of a metric that sets neither it nor `consecutiveErrorLimit`.
pub const NO_DATA_DEADLINE: Duration = Duration::from_secs(300);

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Indexes of the metrics to measure now, ascending.
    pub metrics: Vec<usize>,
    /// When the next of the others is due; none when there is no other.
    pub next: Option<Timestamp>,
}

/// Which metrics to measure at `now`. Nothing when the run has ended or is to be ended.
///
/// A metric is due `initialDelay` after the run began when it was never measured, `interval` after the last measurement
/// was sent, and min(10 s, interval) after one without a usable value. A last measurement in the future (the clock was
/// set back) makes it due at once.
#[must_use]
pub fn due(spec: &AnalysisRunSpec, status: &AnalysisRunStatus, now: Timestamp) -> Due {
    let mut due = Due::default();
    if status.completed_at.is_some() || spec.terminate.is_some() {
        return due;
    }
    let began = status.started_at.as_ref().map_or(now, |at| at.0);
    for (index, metric) in spec.metrics.iter().enumerate() {
        let last = match status.result(&metric.name) {
            Some(result) if is_final(result.phase) => continue,
            Some(result) => result.measurements.last(),
            None => None,
        };
        let (since, at) = match last {
            Some(last) => (last.started_at.0, due_after(metric, last)),
            None => (began, after(began, metric.initial_delay.unwrap_or_default())),
        };
        if at > now && since <= now {
            due.next = Some(due.next.map_or(at, |next| next.min(at)));
        } else {
            due.metrics.push(index);
        }
    }
    due
}

fn due_after(metric: &Metric, last: &Measurement) -> Timestamp {
    let interval = metric.interval.map(|interval| interval.max(MIN_INTERVAL));
    let wait = match last.phase {
        MeasuredPhase::Error => interval.map_or(ERROR_RETRY, |interval| interval.min(ERROR_RETRY)),
        _ => interval.unwrap_or(MIN_INTERVAL),
    };
    after(last.started_at.0, wait)
}

/// `at` plus `wait`; the last moment there is when that overflows.
fn after(at: Timestamp, wait: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(wait.std()).ok().and_then(|wait| at.checked_add(wait).ok()).unwrap_or(Timestamp::MAX)
}

/// Kubernetes stores microseconds: what is compared with a stored time must be cut like it.
pub(super) fn stored(at: Timestamp) -> Time {
    MicroTime(Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at))
}

/// Has this metric, or run, come to its end?
pub(super) const fn is_final(phase: RunPhase) -> bool {
    match phase {
        RunPhase::Successful | RunPhase::Failed | RunPhase::Inconclusive | RunPhase::Cancelled => true,
        RunPhase::Pending | RunPhase::Running | RunPhase::Error => false,
    }
}

/// The status after `taken`, in the order in which they were taken. Pure: the same input gives the same status.
///
/// - A run that has ended is returned as it is. One with `spec.terminate` ends as Cancelled, and late measurements of
///   it are dropped.
/// - Measurements of unknown metrics, of metrics that have ended, and ones already recorded (same start) are dropped:
///   an answer that was recorded twice would count twice toward a limit.
/// - Verdicts: one metric Failed ends the run as Failed, else one Inconclusive as Inconclusive, else all Successful as
///   Successful. Otherwise Error while a metric has had no usable value for too long, else Running. A metric without
///   `count` (but with an interval) never becomes Successful, so its run ends by Failed, Inconclusive or termination.
/// - `now` is used for `startedAt`, `completedAt` and the deadline for missing data; `observedGeneration` and
///   `conditions` are the caller's.
#[must_use]
pub fn record(spec: &AnalysisRunSpec, status: &AnalysisRunStatus, taken: &[Taken], now: Timestamp) -> AnalysisRunStatus {
    let mut status = status.clone();
    if status.completed_at.is_some() {
        return status;
    }
    let begun = taken.iter().map(|taken| taken.started_at).fold(now, Timestamp::min);
    let started_at = status.started_at.get_or_insert_with(|| stored(begun)).0;
    status.metric_results = spec.metrics.iter().map(|metric| result_of(metric, &status)).collect();
    if let Some(reason) = &spec.terminate {
        status.phase = RunPhase::Cancelled;
        status.message = Some(clean(reason, 256));
        status.completed_at = Some(stored(now));
        return status;
    }
    for taken in taken {
        if let (Some(metric), Some(result)) = (spec.metrics.get(taken.metric), status.metric_results.get_mut(taken.metric)) {
            take(spec, metric, result, taken);
        }
    }
    for (metric, result) in spec.metrics.iter().zip(&mut status.metric_results) {
        assess(spec, metric, result, started_at, now);
    }
    slo::verdict(spec, &mut status);
    conclude(&mut status, &spec.dry_run, now);
    status
}

/// What is known of a metric: found by name, so that no result is ever counted for another metric.
#[must_use]
pub fn result_of(metric: &Metric, status: &AnalysisRunStatus) -> MetricResult {
    status.result(&metric.name).cloned().unwrap_or_else(|| unmeasured(metric))
}

/// The result of a metric before its first measurement.
#[must_use]
pub fn unmeasured(metric: &Metric) -> MetricResult {
    MetricResult {
        name: metric.name.clone(),
        phase: RunPhase::Running,
        message: None,
        successful: 0,
        failed: 0,
        inconclusive: 0,
        error: 0,
        consecutive_error: 0,
        consecutive_success: 0,
        last_usable_at: None,
        measurements: Vec::new(),
        slo: None,
    }
}

/// Counts one measurement.
fn take(spec: &AnalysisRunSpec, metric: &Metric, result: &mut MetricResult, taken: &Taken) {
    let started_at = stored(taken.started_at);
    if settled(metric, result).is_some() || result.measurements.iter().any(|known| known.started_at == started_at) {
        return;
    }
    let judged = match (&taken.outcome, &spec.evidence) {
        (Measured::Samples(gathered), Some(evidence)) => {
            if slo::take(metric, evidence, result, gathered, taken.started_at) {
                result.successful = result.successful.saturating_add(1);
                result.consecutive_error = 0;
            }
            return looked(result, taken, MeasuredPhase::Successful, None);
        }
        (Measured::Look(look), _) if metric.slo.is_some() => return take_look(result, taken, look),
        (outcome, _) => judge(metric, outcome),
    };
    let counter = match judged.phase {
        MeasuredPhase::Successful => &mut result.successful,
        MeasuredPhase::Failed => &mut result.failed,
        MeasuredPhase::Inconclusive => &mut result.inconclusive,
        MeasuredPhase::Error => &mut result.error,
    };
    *counter = counter.saturating_add(1);
    let in_a_row = result.consecutive_success.saturating_add(1);
    result.consecutive_success = if judged.phase == MeasuredPhase::Successful { in_a_row } else { 0 };
    if judged.phase == MeasuredPhase::Error {
        result.consecutive_error = result.consecutive_error.saturating_add(1);
    } else {
        result.consecutive_error = 0;
        result.last_usable_at = Some(started_at.clone());
    }
    result.measurements.push(Measurement {
        phase: judged.phase,
        value: judged.value,
        message: judged.message,
        started_at,
        finished_at: stored(taken.finished_at),
    });
    let surplus = result.measurements.len().saturating_sub(KEPT_MEASUREMENTS);
    result.measurements.drain(..surplus);
}

/// Of an SLO only the last look is kept: what was counted is in its evidence.
fn looked(result: &mut MetricResult, taken: &Taken, phase: MeasuredPhase, message: Option<String>) {
    let (started_at, finished_at) = (stored(taken.started_at), stored(taken.finished_at));
    result.measurements = vec![Measurement { phase, value: None, message, started_at, finished_at }];
}

/// What the run of a step sees of an SLO.
fn take_look(result: &mut MetricResult, taken: &Taken, look: &Look) {
    let (phase, counter) = match look.error {
        Some(_) => (MeasuredPhase::Error, &mut result.error),
        None => (MeasuredPhase::Successful, &mut result.successful),
    };
    *counter = counter.saturating_add(1);
    looked(result, taken, phase, look.error.clone());
    result.message = Some(look.message.clone());
    if look.error.is_some() {
        result.consecutive_error = result.consecutive_error.saturating_add(1);
        return;
    }
    result.consecutive_error = 0;
    result.last_usable_at = Some(stored(taken.started_at));
    if look.accepted {
        result.phase = RunPhase::Successful;
    }
}

/// How many usable measurements there were.
pub(super) const fn usable(result: &MetricResult) -> i32 {
    result.successful.saturating_add(result.failed).saturating_add(result.inconclusive)
}

/// How many usable measurements end the metric; none for one that goes on until its run is ended.
const fn wanted(metric: &Metric) -> Option<i32> {
    match (metric.count, metric.interval) {
        (Some(count), _) => Some(count),
        (None, Some(_)) => None,
        (None, None) => Some(1),
    }
}

/// The verdict on a metric, if its counts allow one.
fn settled(metric: &Metric, result: &MetricResult) -> Option<RunPhase> {
    let failures = metric.failure_limit.unwrap_or(0);
    if is_final(result.phase) {
        Some(result.phase)
    } else if failures >= 0 && result.failed > failures {
        Some(RunPhase::Failed)
    } else if result.inconclusive > metric.inconclusive_limit.unwrap_or(0) {
        Some(RunPhase::Inconclusive)
    } else if let Some(limit) = metric.consecutive_success_limit {
        let used_up = metric.count.is_some_and(|count| usable(result) >= count);
        if result.consecutive_success >= limit { Some(RunPhase::Successful) } else { used_up.then_some(RunPhase::Inconclusive) }
    } else if wanted(metric).is_some_and(|wanted| usable(result) >= wanted) {
        Some(RunPhase::Successful)
    } else {
        None
    }
}

/// Phase and message of a metric from its counts.
fn assess(spec: &AnalysisRunSpec, metric: &Metric, result: &mut MetricResult, started_at: Timestamp, now: Timestamp) {
    if is_final(result.phase) {
        return;
    }
    if let Some(at_most) = spec.at_most.filter(|at_most| metric.slo.is_some() && now >= after(started_at, *at_most)) {
        let known = result.message.take().unwrap_or_else(|| "nothing is known".to_owned());
        result.phase = RunPhase::Inconclusive;
        result.message = Some(format!("the evidence does not suffice after {at_most}: {known}"));
        return;
    }
    if let Some(phase) = settled(metric, result) {
        result.phase = phase;
        result.message = Some(verdict::sentence(metric, result));
        return;
    }
    let why = missing_too_long(metric, result, started_at, now);
    result.phase = if why.is_some() { RunPhase::Error } else { RunPhase::Running };
    let last = result.measurements.last().and_then(|last| last.message.as_deref()).unwrap_or("nothing was measured");
    result.message = match why {
        Some(why) => Some(format!("{why}; last: {last}")),
        None if result.consecutive_error > 0 => {
            Some(format!("no usable value in the last {}: {last}", counted(result.consecutive_error, "measurement")))
        }
        None if metric.slo.is_some() => return,
        None => None,
    };
}

/// Is the metric in Error, and by which limit? `noDataDeadline` runs from when the next value was due, so that an
/// interval longer than the deadline does not make an Error of one failed query.
fn missing_too_long(metric: &Metric, result: &MetricResult, started_at: Timestamp, now: Timestamp) -> Option<String> {
    if result.consecutive_error == 0 {
        return None;
    }
    if let Some(limit) = metric.consecutive_error_limit {
        let over = result.consecutive_error > limit;
        let count = counted(result.consecutive_error, "measurement");
        return over.then(|| format!("no usable value in the last {count}, more than consecutiveErrorLimit {limit}"));
    }
    let deadline = metric.no_data_deadline.unwrap_or(NO_DATA_DEADLINE);
    let expected = match &result.last_usable_at {
        Some(at) => after(at.0, metric.interval.unwrap_or_default()),
        None => after(started_at, metric.initial_delay.unwrap_or_default()),
    };
    let over = now > after(expected, deadline);
    over.then(|| format!("no usable value for more than {deadline}"))
}

/// Phase and message of the run from its metrics.
///
/// Metrics that decide nothing are waited for only where there are no others.
fn conclude(status: &mut AnalysisRunStatus, dry_run: &[String], now: Timestamp) {
    let (idle, results): (Vec<&MetricResult>, Vec<&MetricResult>) =
        status.metric_results.iter().partition(|result| dry_run.contains(&result.name));
    let any = |phase: RunPhase| results.iter().any(|result| result.phase == phase);
    let idle_done = idle.iter().all(|result| is_final(result.phase) || result.phase == RunPhase::Error);
    status.phase = if any(RunPhase::Failed) {
        RunPhase::Failed
    } else if any(RunPhase::Inconclusive) {
        RunPhase::Inconclusive
    } else if any(RunPhase::Error) {
        RunPhase::Error
    } else if !results.is_empty() && results.iter().all(|result| result.phase == RunPhase::Successful)
        || results.is_empty() && !idle.is_empty() && idle_done
    {
        RunPhase::Successful
    } else {
        RunPhase::Running
    };
    let mut deciding = status.clone();
    deciding.metric_results.retain(|result| !dry_run.contains(&result.name));
    status.message = verdict::summary(if deciding.metric_results.is_empty() { status } else { &deciding });
    if is_final(status.phase) {
        status.completed_at = Some(stored(now));
    }
}

#[cfg(test)]
mod tests;
