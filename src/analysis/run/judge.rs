//! One measurement: good, bad, neither, or no usable value.

use crate::api::analysis::{MeasuredPhase, Metric};

use super::super::condition::Condition;
use super::super::measured::{Measured, QueryResult};
use super::super::text::clean;

/// Longest message of a measurement, in characters.
const SHOWN: usize = 300;

/// What a measurement came to, in the form that status keeps.
pub(super) struct Judged {
    pub(super) phase: MeasuredPhase,
    pub(super) value: Option<String>,
    pub(super) message: Option<String>,
}

impl Judged {
    fn unusable(value: Option<String>, message: &str) -> Self {
        Self { phase: MeasuredPhase::Error, value, message: Some(clean(message, SHOWN)) }
    }
}

/// Judges an outcome by the metric's conditions.
///
/// Both conditions: failure wins, neither is Inconclusive. Only one: the other verdict is its negation. An Error in
/// either is an Error, also when the other one is met.
pub(super) fn judge(metric: &Metric, outcome: &Measured) -> Judged {
    let (result, warnings) = match outcome {
        Measured::NoData(message) | Measured::Error(message) => return Judged::unusable(None, message),
        Measured::Value { result, warnings } => (result, warnings.len()),
        Measured::Samples(_) | Measured::Look(_) => return Judged::unusable(None, "evidence on an slo, and the metric has none"),
    };
    let value = Some(result.text());
    if result.values().is_empty() {
        return Judged::unusable(None, "no data: the query returned no series");
    }
    let nan = result.values().iter().filter(|value| value.is_nan()).count();
    if nan > 0 {
        let message = match result.values().len() {
            1 => "no usable value: NaN".to_owned(),
            all => format!("no usable value: {nan} of {all} series are NaN"),
        };
        return Judged::unusable(value, &message);
    }
    match verdict(metric, result) {
        Ok(phase) => Judged { phase, value, message: warned(warnings) },
        Err(message) => Judged::unusable(value, &message),
    }
}

fn warned(warnings: usize) -> Option<String> {
    match warnings {
        0 => None,
        1 => Some("the server answered with a warning".to_owned()),
        more => Some(format!("the server answered with {more} warnings")),
    }
}

fn verdict(metric: &Metric, result: &QueryResult) -> Result<MeasuredPhase, String> {
    let success = met(metric.success_condition.as_deref(), result)?;
    let failure = met(metric.failure_condition.as_deref(), result)?;
    match (success, failure) {
        (_, Some(true)) | (Some(false), None) => Ok(MeasuredPhase::Failed),
        (Some(true), _) | (None, Some(false)) => Ok(MeasuredPhase::Successful),
        (Some(false), Some(false)) => Ok(MeasuredPhase::Inconclusive),
        (None, None) => Err("the metric has neither successCondition nor failureCondition".to_owned()),
    }
}

fn met(condition: Option<&str>, result: &QueryResult) -> Result<Option<bool>, String> {
    let Some(text) = condition else { return Ok(None) };
    let condition = Condition::parse(text).map_err(|error| error.to_string())?;
    condition.evaluate(result).map(Some)
}
