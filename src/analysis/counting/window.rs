//! What was read: samples of both arms, checked for what no rule of counting could make good.

use std::collections::{BTreeMap, BTreeSet};

use super::MAX_SERIES;

/// One sample of a counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When it was scraped, in milliseconds since 1970.
    pub at: i64,
    /// The counter's value.
    pub value: f64,
}

/// The samples of one series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Identity: see [`key_of`].
    pub key: u64,
    /// Label `pod`, else `instance`, of the process that counted.
    pub pod: Option<String>,
    /// Samples, in any order.
    pub samples: Vec<Sample>,
}

/// The identity of a series: a hash of its labels in order, the same in every process and version (FNV-1a).
#[must_use]
pub fn key_of<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> u64 {
    let sorted: BTreeSet<(&str, &str)> = labels.into_iter().collect();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (name, value) in sorted {
        for byte in name.bytes().chain([0]).chain(value.bytes()).chain([1]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// What the second query of an SLO counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Requests that failed. No series means none.
    Errors,
    /// Requests that were fast enough: all others failed. No series means that nothing is known.
    Fast,
}

/// Samples of one arm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arm {
    /// Counters of requests.
    pub total: Vec<Series>,
    /// Counters of those that failed, or were fast enough. Must be read after `total`, so that it is never behind.
    pub part: Vec<Series>,
}

/// Samples of both arms, in order, and usable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    pub(super) canary: Arm,
    pub(super) stable: Arm,
}

/// The last values, before the last round's end, of series that have no sample in the window before it. By key; a key that
/// is missing was born since.
pub type Known = BTreeMap<u64, f64>;

/// Why samples cannot be counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// An arm whose requests are not counted by anything: that is not zero requests.
    #[error("no data: total matches no series of {arm}")]
    NoTotal {
        /// `the canary` or `stable`.
        arm: &'static str,
    },
    /// An arm whose fast requests are not counted by anything: that is not zero fast requests.
    #[error("no data: slow.bucket with this le matches no series of {arm}")]
    NoBucket {
        /// `the canary` or `stable`.
        arm: &'static str,
    },
    /// Both arms would be the same.
    #[error("{query} matches the same series for the canary and for stable; its labels must tell them apart")]
    SameSeries {
        /// `total`, or `errors` or `slow`.
        query: &'static str,
    },
    /// More than can be counted.
    #[error("{query} matches {found} series of {arm}; at most {MAX_SERIES} are allowed, name more labels")]
    TooMany {
        /// `total`, or `errors` or `slow`.
        query: &'static str,
        /// `the canary` or `stable`.
        arm: &'static str,
        /// How many.
        found: usize,
    },
}

impl Window {
    /// Takes samples as they were read: puts them in order, drops repeated ones and values that no counter has.
    ///
    /// # Errors
    /// What is missing or wrong, for status.
    pub fn checked(canary: Arm, stable: Arm, part: Part) -> Result<Self, Unusable> {
        let second = match part {
            Part::Errors => "errors",
            Part::Fast => "slow",
        };
        for (arm, samples) in [("the canary", &canary), ("stable", &stable)] {
            for (query, series) in [("total", &samples.total), (second, &samples.part)] {
                if series.len() > MAX_SERIES {
                    return Err(Unusable::TooMany { query, arm, found: series.len() });
                }
            }
        }
        for (query, left, right) in [("total", &canary.total, &stable.total), (second, &canary.part, &stable.part)] {
            let keys: BTreeSet<u64> = left.iter().map(|series| series.key).collect();
            if right.iter().any(|series| keys.contains(&series.key)) {
                return Err(Unusable::SameSeries { query });
            }
        }
        let window = Self { canary: in_order(canary), stable: in_order(stable) };
        for (arm, samples) in [("the canary", &window.canary), ("stable", &window.stable)] {
            if samples.total.is_empty() {
                return Err(Unusable::NoTotal { arm });
            }
            if part == Part::Fast && samples.part.is_empty() {
                return Err(Unusable::NoBucket { arm });
            }
        }
        Ok(window)
    }

    /// Time of the newest sample of each arm's requests, canary first.
    #[must_use]
    pub fn newest(&self) -> [Option<i64>; 2] {
        [&self.canary, &self.stable].map(|arm| arm.total.iter().filter_map(|series| Some(series.samples.last()?.at)).max())
    }

    pub(super) fn channels(&self) -> [&[Series]; 4] {
        [&self.canary.total, &self.canary.part, &self.stable.total, &self.stable.part]
    }
}

pub(super) fn in_order(arm: Arm) -> Arm {
    Arm {
        total: arm.total.into_iter().filter_map(series_in_order).collect(),
        part: arm.part.into_iter().filter_map(series_in_order).collect(),
    }
}

fn series_in_order(mut series: Series) -> Option<Series> {
    series.samples.retain(|sample| sample.value.is_finite() && sample.value >= 0.0);
    series.samples.sort_by_key(|sample| sample.at);
    series.samples.dedup_by_key(|sample| sample.at);
    (!series.samples.is_empty()).then_some(series)
}
