//! Stable's past, scrape by scrape and pod by pod: what its dispersion is measured from.

use std::collections::BTreeMap;

use super::super::sequential::{Counts, Scrape};
use super::engine::{Track, median, rounds};
use super::window::{Arm, Known, Part, in_order};

/// What stable did between its scrapes, from the first in which all its series were seen. The first value of a series
/// counts from 0 only when it came later than that.
#[must_use]
pub fn scrapes(stable: Arm, part: Part) -> Vec<Scrape> {
    let arm = in_order(stable);
    let gaps = arm.total.iter().flat_map(|series| series.samples.windows(2).map(|pair| pair[1].at - pair[0].at));
    let Some(spacing) = median(gaps.collect()).filter(|spacing| *spacing > 0) else { return Vec::new() };
    let Some(begin) = arm.total.iter().filter_map(|series| Some(series.samples.first()?.at)).min() else { return Vec::new() };
    let begin = begin + super::SILENT_SCRAPES * spacing;
    let mut pods: BTreeMap<&str, usize> = BTreeMap::new();
    let none = Known::new();
    let mut tracks = Vec::new();
    for (channel, series) in [(0, &arm.total), (1, &arm.part)] {
        for series in series {
            let next = pods.len();
            let pod = *pods.entry(series.pod.as_deref().unwrap_or("")).or_insert(next);
            tracks.push(Track::at(channel, pod, series, &none, begin));
        }
    }
    let place: Vec<(usize, usize)> = tracks.iter().map(|track| (track.channel, track.pod)).collect();
    let told_apart = pods.len() > 1;
    let scrape = |(at, counted): (i64, super::engine::Counted)| {
        let mut sums = vec![[0.0; 2]; if told_apart { pods.len() } else { 0 }];
        for (track, more) in counted.by_track.iter().filter(|_| told_apart) {
            let (channel, pod) = place[*track];
            sums[pod][channel] += more;
        }
        let counts = |[total, counted]: [f64; 2]| {
            let counted = counted.min(total);
            Counts { requests: total, errors: if part == Part::Fast { total - counted } else { counted } }
        };
        Scrape {
            at: at as f64 / 1000.0,
            counts: counts([counted.sums[0], counted.sums[1]]),
            pods: sums.into_iter().map(counts).collect(),
        }
    };
    rounds(&mut tracks, spacing, &[0], true).into_iter().map(scrape).collect()
}
