//! Prometheus' answers (https://prometheus.io/docs/prometheus/latest/querying/api/): from bytes to an outcome. Pure.
//!
//! The bytes come from a server that somebody named in a template: nothing of them but numbers goes further. An error's
//! type does, when it is one of the documented ones.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::condition::MAX_SERIES;
use super::super::measured::{Measured, QueryResult};
use super::super::text::clean;

/// Most warnings kept for logs, and their length in characters.
const KEPT_WARNINGS: usize = 5;
const SHOWN_WARNING: usize = 200;

/// The documented error types.
const ERROR_TYPES: &[&str] =
    &["bad_data", "timeout", "canceled", "execution", "internal", "unavailable", "not_found", "not_acceptable"];

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default, rename = "errorType")]
    error_type: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    value: Option<(IgnoredAny, String)>,
}

/// What an answer with this HTTP status and body comes to.
pub(super) fn read(status: u16, body: &[u8]) -> Measured {
    let answer = serde_json::from_slice::<Answer>(body).ok();
    match (status, answer) {
        (200..=299, Some(answer)) if answer.status == "success" => success(answer),
        (200..=299, Some(answer)) if answer.status == "error" => Measured::Error(refused(status, answer.error_type.as_deref())),
        (200..=299, _) => Measured::Error(format!("the answer (HTTP {status}) is not an answer of the Prometheus API")),
        (300..=399, _) => {
            Measured::Error(format!("the server redirects (HTTP {status}); redirects are not followed, give the final address"))
        }
        (_, answer) => Measured::Error(refused(status, answer.and_then(|answer| answer.error_type).as_deref())),
    }
}

/// Why an answer with this HTTP status is none, where its body may name an error type.
pub(super) fn failure(status: u16, body: &[u8]) -> String {
    let good = (200..=299).contains(&status);
    let answered = good && serde_json::from_slice::<Answer>(body).is_ok_and(|answer| answer.status == "success");
    match read(status, body) {
        Measured::Error(why) if !answered => why,
        _ => unreadable(),
    }
}

/// A refusal in words: is the query wrong, is access missing, or is the server in trouble?
fn refused(status: u16, error_type: Option<&str>) -> String {
    let kind = error_type.map(|found| ERROR_TYPES.iter().find(|known| **known == found).copied().unwrap_or("other"));
    let detail = match kind {
        Some(kind) => format!("HTTP {status}, {kind}"),
        None => format!("HTTP {status}"),
    };
    match (status, kind) {
        (401 | 403, _) => format!("the server denies access ({detail})"),
        (404, _) => format!("the server has no Prometheus API at this address ({detail})"),
        (429, _) => format!("the server is asked too often ({detail})"),
        (_, Some("timeout" | "canceled")) => format!("the server gave up on the query ({detail})"),
        (_, Some("bad_data")) => format!("the server refuses the query as wrong ({detail})"),
        (422, _) | (_, Some("execution")) => format!("the server cannot execute the query ({detail})"),
        (400..=499, _) => format!("the server refuses the query as wrong ({detail})"),
        _ => format!("the server failed ({detail})"),
    }
}

fn success(answer: Answer) -> Measured {
    let warnings = answer.warnings.iter().take(KEPT_WARNINGS).map(|text| clean(text, SHOWN_WARNING)).collect();
    let Some(Data { result_type, result }) = answer.data else {
        return Measured::Error("the answer has no data".to_owned());
    };
    let numbers = match result_type.as_str() {
        "vector" => vector(result),
        "scalar" => scalar(result),
        "matrix" => {
            return Measured::Error(
                "the query gives a range vector (matrix); an instant vector or a scalar is needed".to_owned(),
            );
        }
        "string" => return Measured::Error("the query gives a string; an instant vector or a scalar is needed".to_owned()),
        _ => return Measured::Error("the answer is of an unknown type; an instant vector or a scalar is needed".to_owned()),
    };
    match numbers {
        Ok(result) if result.values().is_empty() => Measured::NoData("no data: the query returned no series".to_owned()),
        Ok(result) => Measured::Value { result, warnings },
        Err(message) => Measured::Error(message),
    }
}

fn scalar(result: serde_json::Value) -> Result<QueryResult, String> {
    let (_, text): (IgnoredAny, String) = serde_json::from_value(result).map_err(|_| unreadable())?;
    Ok(QueryResult::Scalar(number(&text)?))
}

fn vector(result: serde_json::Value) -> Result<QueryResult, String> {
    let series: Vec<Series> = serde_json::from_value(result).map_err(|_| unreadable())?;
    if series.len() > MAX_SERIES {
        let found = series.len();
        return Err(format!("the query returned {found} series; at most {MAX_SERIES} are allowed, aggregate them in the query"));
    }
    let values: Result<Vec<f64>, String> = series
        .into_iter()
        .map(|series| match series.value {
            Some((_, text)) => number(&text),
            None => {
                Err("the query returned a native histogram; a number is needed, use histogram_quantile or similar".to_owned())
            }
        })
        .collect();
    Ok(QueryResult::Vector(values?))
}

/// Sample values are strings: `"0.95"`, `"NaN"`, `"+Inf"`, `"-Inf"`.
pub(super) fn number(text: &str) -> Result<f64, String> {
    match text {
        "NaN" => Ok(f64::NAN),
        "+Inf" | "Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        // Rust also takes words such as "infinity", which no Prometheus writes.
        _ if text.contains(|c: char| c.is_alphabetic() && c != 'e' && c != 'E') => Err(unreadable()),
        // A number that f64 cannot hold is read as infinite; that is not what the server wrote.
        _ => text.parse::<f64>().ok().filter(|value| value.is_finite()).ok_or_else(unreadable),
    }
}

pub(super) fn unreadable() -> String {
    "the answer holds samples that cannot be read".to_owned()
}
