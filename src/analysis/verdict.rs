//! Verdicts in words: for status, events, and the commit message of a revert. Never a host, never a query.

use crate::api::analysis::{AnalysisRunStatus, MeasuredPhase, Metric, MetricResult, RunPhase};

use super::run::usable;
use super::text::{clean, counted};

/// Longest condition shown, in characters; conditions may have 1024.
const SHOWN_CONDITION: usize = 120;
/// Longest name of a metric, in characters.
const SHOWN_NAME: usize = 63;
/// Longest sentence about one metric, in characters.
const SHOWN_SENTENCE: usize = 400;
/// Most metrics that are spoken of one by one.
const SHOWN_METRICS: usize = 10;

/// Why the metric's verdict is what it is. Called once, when the verdict falls.
pub(super) fn sentence(metric: &Metric, result: &MetricResult) -> String {
    let of = usable(result);
    match result.phase {
        RunPhase::Failed => format!(
            "{} of {} failed, more than failureLimit {}{}",
            result.failed,
            counted(of, "measurement"),
            metric.failure_limit.unwrap_or(0),
            last(metric, result, MeasuredPhase::Failed)
        ),
        RunPhase::Inconclusive if result.inconclusive <= metric.inconclusive_limit.unwrap_or(0) => format!(
            "count {} is used up, and the last {} in a row were successful, fewer than consecutiveSuccessLimit {}",
            metric.count.unwrap_or(0),
            result.consecutive_success,
            metric.consecutive_success_limit.unwrap_or(0)
        ),
        RunPhase::Inconclusive => format!(
            "{} of {} inconclusive, more than inconclusiveLimit {}{}",
            result.inconclusive,
            counted(of, "measurement"),
            metric.inconclusive_limit.unwrap_or(0),
            last(metric, result, MeasuredPhase::Inconclusive)
        ),
        _ => {
            let mut text = format!("{} of {} successful", result.successful, counted(of, "measurement"));
            if metric.consecutive_success_limit.is_some() {
                text.push_str(&format!(", the last {} in a row", result.consecutive_success));
            }
            if result.failed > 0 {
                text.push_str(&format!(", {} failed (failureLimit {})", result.failed, metric.failure_limit.unwrap_or(0)));
            }
            if result.inconclusive > 0 {
                let limit = metric.inconclusive_limit.unwrap_or(0);
                text.push_str(&format!(", {} inconclusive (inconclusiveLimit {limit})", result.inconclusive));
            }
            text
        }
    }
}

/// `; last value [0.95] does not meet result[0] >= 0.99`.
fn last(metric: &Metric, result: &MetricResult, phase: MeasuredPhase) -> String {
    let Some(measurement) = result.measurements.iter().rev().find(|measurement| measurement.phase == phase) else {
        return String::new();
    };
    let value = measurement.value.as_deref().unwrap_or("unknown");
    let show = |condition: &Option<String>| condition.as_deref().map(|text| clean(text.trim(), SHOWN_CONDITION));
    match (phase, show(&metric.success_condition), show(&metric.failure_condition)) {
        (MeasuredPhase::Failed, _, Some(failure)) => format!("; last value {value} meets failureCondition {failure}"),
        (MeasuredPhase::Failed, Some(success), None) => format!("; last value {value} does not meet {success}"),
        (_, Some(success), Some(failure)) => {
            format!("; last value {value} meets neither successCondition {success} nor failureCondition {failure}")
        }
        _ => format!("; last value {value}"),
    }
}

/// The run's message: one line per metric that made the run's phase what it is; none while it is simply running.
pub(super) fn summary(status: &AnalysisRunStatus) -> Option<String> {
    match status.phase {
        RunPhase::Failed | RunPhase::Inconclusive | RunPhase::Error => Some(lines(status, status.phase)),
        RunPhase::Successful => {
            let count = i32::try_from(status.metric_results.len()).unwrap_or(i32::MAX);
            Some(match status.metric_results.as_slice() {
                [only] => line(only),
                _ => format!("all {} successful", counted(count, "metric")),
            })
        }
        RunPhase::Pending | RunPhase::Running | RunPhase::Cancelled => None,
    }
}

/// What a Rollout's `status.failure.evidence` and the revert's commit message say: one line per failed metric, for
/// example `success-rate: 2 of 5 measurements failed, more than failureLimit 1; last value [0.9512] does not meet
/// result[0] >= 0.99`. Holds metric names, counts, numbers and conditions; no host and no query. Empty when no metric
/// failed. At most ten metrics are spoken of one by one.
#[must_use]
pub fn evidence(status: &AnalysisRunStatus) -> String {
    lines(status, RunPhase::Failed)
}

fn lines(status: &AnalysisRunStatus, phase: RunPhase) -> String {
    let all: Vec<&MetricResult> = status.metric_results.iter().filter(|result| result.phase == phase).collect();
    let mut lines: Vec<String> = all.iter().take(SHOWN_METRICS).map(|result| line(result)).collect();
    if all.len() > SHOWN_METRICS {
        lines.push(format!("and {} more", all.len() - SHOWN_METRICS));
    }
    lines.join("\n")
}

fn line(result: &MetricResult) -> String {
    let name = clean(&result.name, SHOWN_NAME);
    let why = result.message.as_deref().unwrap_or("no reason was recorded");
    format!("{name}: {}", clean(why, SHOWN_SENTENCE))
}
