//! Raw samples in Prometheus' answers: from bytes to series. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::super::counting::{MAX_SERIES, Sample, Series, key_of};
use super::answer;

/// The latest time that is believed, in seconds since 1970: sums of times must not overflow.
const LATEST: f64 = 1e11;

#[derive(Deserialize)]
struct Answer<'a> {
    status: Cow<'a, str>,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "resultType")]
    result_type: Cow<'a, str>,
    #[serde(borrow)]
    result: Vec<Raw<'a>>,
}

/// One series: `values` of a range, `value` of the last one.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    metric: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(default)]
    values: Vec<Point>,
    #[serde(default)]
    value: Option<Point>,
}

/// Seconds since 1970, and the value as text.
struct Point(Sample);

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (at, text): (f64, Cow<'de, str>) = Deserialize::deserialize(deserializer)?;
        let value = answer::number(&text).map_err(serde::de::Error::custom)?;
        if !(0.0..=LATEST).contains(&at) {
            return Err(serde::de::Error::custom("a time that no clock shows"));
        }
        Ok(Self(Sample { at: (at * 1000.0).round() as i64, value }))
    }
}

/// What an answer with this HTTP status and body holds. No series is no error.
///
/// # Errors
/// Why it cannot be used, without a part of the body.
pub(super) fn read(status: u16, body: &[u8]) -> Result<Vec<Series>, String> {
    let answer = match serde_json::from_slice::<Answer<'_>>(body) {
        Ok(answer) if (200..=299).contains(&status) && answer.status == "success" => answer,
        _ => return Err(answer::failure(status, body)),
    };
    if !matches!(&*answer.data.result_type, "matrix" | "vector") {
        return Err(answer::unreadable());
    }
    let found = answer.data.result.len();
    if found > MAX_SERIES {
        return Err(format!("the selector matches {found} series; at most {MAX_SERIES} are allowed, name more labels"));
    }
    Ok(answer.data.result.into_iter().map(series).collect())
}

fn series(raw: Raw<'_>) -> Series {
    // Functions drop the name, so that it tells nothing apart that the labels do not.
    let labels = || raw.metric.iter().map(|(name, value)| (&**name, &**value)).filter(|(name, _)| *name != "__name__");
    let pod = ["pod", "instance"].iter().find_map(|name| raw.metric.get(*name)).map(|pod| pod.clone().into_owned());
    let key = key_of(labels());
    let samples = raw.values.into_iter().chain(raw.value).map(|Point(sample)| sample).collect();
    Series { key, pod, samples }
}

#[cfg(test)]
mod tests;
