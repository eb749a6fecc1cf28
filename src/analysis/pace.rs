//! Which measurements have to be written down at once. A run that is in good order measures every few seconds for hours;
//! each of its measurements is one more of the same, and can wait for a few others.

use jiff::Timestamp;

use crate::api::analysis::{AnalysisRunStatus, MetricResult};

/// Must `now` be recorded at once? True for whatever a verdict or a reader depends on: a phase or its reason, a
/// measurement that was not good, data that ends or comes back, the first value of a metric, and the first values after
/// `wanted`, for which a Rollout waits. What else was measured may be lost with the process: that only makes a good run
/// longer.
#[must_use]
pub fn cannot_wait(recorded: &AnalysisRunStatus, now: &AnalysisRunStatus, wanted: Option<Timestamp>) -> bool {
    let metric = |result: &MetricResult| recorded.result(&result.name).is_none_or(|before| is_news(before, result));
    now.phase != recorded.phase
        || now.completed_at != recorded.completed_at
        || now.observed_generation != recorded.observed_generation
        || now.conditions != recorded.conditions
        || now.metric_results.iter().any(metric)
        || wanted.is_some_and(|wanted| is_after(now, wanted) && !is_after(recorded, wanted))
}

fn is_news(before: &MetricResult, now: &MetricResult) -> bool {
    (now.phase, now.failed, now.inconclusive) != (before.phase, before.failed, before.inconclusive)
        || (now.consecutive_error > 0) != (before.consecutive_error > 0)
        || now.last_usable_at.is_some() != before.last_usable_at.is_some()
        || known(now) != known(before)
}

/// What a Rollout, or the run of a step, goes by in the evidence on an SLO.
fn known(result: &MetricResult) -> Option<(Option<Timestamp>, bool)> {
    result.slo.as_ref().map(|slo| (slo.accepted_at.as_ref().map(|at| at.0), slo.shared_outage))
}

/// Has every metric that goes on a usable measurement that began at `wanted` or later?
fn is_after(status: &AnalysisRunStatus, wanted: Timestamp) -> bool {
    let after = |result: &MetricResult| result.last_usable_at.as_ref().is_some_and(|at| at.0 >= wanted);
    let ended = |result: &MetricResult| result.phase == crate::api::analysis::RunPhase::Successful;
    !status.metric_results.is_empty() && status.metric_results.iter().all(|result| ended(result) || after(result))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(patch: Value) -> AnalysisRunStatus {
        let mut value = json!({
            "phase": "Running", "observedGeneration": 1,
            "metricResults": [{
                "name": "errors", "phase": "Running", "successful": 3, "failed": 0, "inconclusive": 0, "error": 0,
                "consecutiveError": 0, "lastUsableAt": "2026-01-01T00:00:10.000000Z", "measurements": [],
            }],
        });
        if let Value::Object(metric) = patch["metric"].clone() {
            for (key, field) in metric {
                value["metricResults"][0][key] = field;
            }
        } else {
            json_patch::merge(&mut value, &patch);
        }
        serde_json::from_value(value).unwrap()
    }

    /// Protects: the rate of writes, as one more good measurement can wait; and verdicts, as nothing else can.
    #[test]
    fn what_cannot_wait() {
        let recorded = status(json!({}));
        let good = json!({"metric": {"successful": 4, "lastUsableAt": "2026-01-01T00:00:11.000000Z"}});
        assert!(!cannot_wait(&recorded, &status(good), None));
        let second_error = json!({"metric": {"error": 2, "consecutiveError": 2}});
        assert!(!cannot_wait(&status(json!({"metric": {"error": 1, "consecutiveError": 1}})), &status(second_error), None));
        for patch in [
            json!({"phase": "Failed"}),
            json!({"completedAt": "2026-01-01T00:00:11.000000Z"}),
            json!({"observedGeneration": 2}),
            json!({"metric": {"failed": 1}}),
            json!({"metric": {"inconclusive": 1}}),
            json!({"metric": {"error": 1, "consecutiveError": 1}}),
            json!({"metric": {"phase": "Successful"}}),
            json!({"metric": {"name": "new"}}),
        ] {
            assert!(cannot_wait(&recorded, &status(patch.clone()), None), "{patch}");
        }
        assert!(cannot_wait(&AnalysisRunStatus::default(), &recorded, None), "the first one");
    }

    /// Protects: a Rollout that waits for a measurement at its new weight gets it at once, and only once.
    #[test]
    fn what_is_wanted() {
        let (early, late) = (status(json!({})), status(json!({"metric": {"lastUsableAt": "2026-01-01T00:00:20.000000Z"}})));
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        assert!(cannot_wait(&early, &late, at("2026-01-01T00:00:15Z")));
        assert!(cannot_wait(&early, &late, at("2026-01-01T00:00:20Z")));
        assert!(!cannot_wait(&early, &late, at("2026-01-01T00:00:21Z")), "not after it yet");
        assert!(!cannot_wait(&late, &late, at("2026-01-01T00:00:15Z")), "recorded already");
        assert!(!cannot_wait(&early, &late, at("2026-01-01T00:00:05Z")), "recorded already");
    }
}
