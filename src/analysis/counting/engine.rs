//! From samples to rounds.

use super::super::sequential::Counts;
use super::window::{Known, Part, Series, Window};
use super::{LEAST_REACH, REACH_SCRAPES, SILENT_SCRAPES, window};

/// Sums per channel: total and part of the canary, total and part of stable.
type Sums = [f64; 4];

/// What was counted up to the end of the last round, and what a restart needs to go on from there.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    /// End of the last round, or the baseline before the first, in milliseconds since 1970.
    cut: i64,
    /// Time between scrapes in milliseconds; 0 while it is not known. Fixed once it is: rounds must not depend on which
    /// samples a look happened to see.
    spacing: i64,
    /// Counted, and not in a round yet; below 0 where a round had too much.
    carried: Sums,
    /// Per channel the values at `cut` of the series that were there, summed up, and a hash of which these are.
    anchors: [Option<(f64, u64)>; 4],
}

/// A round that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Closed {
    /// Begin: time of the oldest sample that the counts are differences to, in milliseconds since 1970. Series are scraped at
    /// moments of their own, so this may be earlier than the end of the round before.
    pub since: i64,
    /// End of the round before.
    pub from: i64,
    /// End.
    pub to: i64,
    /// What the canary did.
    pub canary: Counts,
    /// What stable did.
    pub stable: Counts,
}

impl Counter {
    /// Begins at `baseline`, in milliseconds since 1970: what was counted up to each series' last sample before it belongs to
    /// others.
    #[must_use]
    pub fn new(baseline: i64) -> Self {
        Self { cut: baseline, spacing: 0, carried: [0.0; 4], anchors: [None; 4] }
    }

    /// End of the last round, or the baseline before the first, in milliseconds since 1970.
    #[must_use]
    pub fn cut(&self) -> i64 {
        self.cut
    }

    /// Time between scrapes in milliseconds; none while it is not known.
    #[must_use]
    pub fn spacing(&self) -> Option<i64> {
        (self.spacing > 0).then_some(self.spacing)
    }

    /// Gives up on what was not counted before `at`: for when the samples in between are gone. What is counted goes on from
    /// the samples after it.
    pub fn skip_to(&mut self, at: i64) {
        if at > self.cut {
            (self.cut, self.carried, self.anchors) = (at, [0.0; 4], [None; 4]);
        }
    }

    /// How far before [`Counter::cut`] a window has to begin, in milliseconds, for a metric with this interval.
    #[must_use]
    pub fn reach(&self, interval: i64) -> i64 {
        LEAST_REACH.max(REACH_SCRAPES * interval.max(self.spacing))
    }

    /// Are there series whose value at the last round's end is not in the window, so that it must be asked for? Which of
    /// the four: total and part of the canary, total and part of stable.
    #[must_use]
    pub fn strangers(&self, window: &Window) -> [bool; 4] {
        window
            .channels()
            .map(|series| series.iter().any(|series| series.samples.first().is_some_and(|first| first.at > self.cut)))
    }

    /// Counts what is new in the window, and gives the rounds that have ended in it, oldest first. `interval` is the
    /// metric's, in milliseconds; `known` the values that [`Counter::strangers`] asked for.
    pub fn advance(&mut self, window: &Window, known: &[Known; 4], part: Part, interval: i64) -> Vec<Closed> {
        if self.spacing == 0 {
            let Some(spacing) = spacing_of(window) else { return Vec::new() };
            self.spacing = spacing.max(interval).max(1);
        }
        self.make_up(window, interval);
        let mut tracks = tracks(window, known, self.cut);
        if !tracks.iter().any(|track| track.is_stable_total() && track.value.is_some()) {
            let Some(cut) = self.begin_of_data(&tracks) else { return Vec::new() };
            self.skip_to(cut);
            tracks = self::tracks(window, known, cut);
        }
        let mut closed = Vec::new();
        let (mut from, mut sums) = (self.cut, self.carried);
        for (at, counted) in rounds(&mut tracks, self.spacing, &[0, 2], false) {
            sums.iter_mut().zip(counted.sums).for_each(|(sum, more)| *sum += more);
            let canary = take(&mut sums, 0, part);
            let stable = take(&mut sums, 2, part);
            closed.push(Closed { since: counted.since.unwrap_or(from).min(from), from, to: at, canary, stable });
            from = at;
        }
        if !closed.is_empty() {
            (self.cut, self.carried) = (from, sums);
            self.anchors = window.channels().map(|series| Some(self.anchor(series, interval)));
        }
        closed
    }

    /// Compares what was counted with what the series now say of the same moment: a sample came late, or another replica of
    /// the metric server answers, whose scrapes are a little older or newer. The difference is owed, or had already.
    /// One that is larger than what the series counted lately is none of these, and is left alone.
    fn make_up(&mut self, window: &Window, interval: i64) {
        for (channel, series) in window.channels().into_iter().enumerate() {
            let Some((sum, set)) = self.anchors[channel] else { continue };
            let (now, same) = self.anchor(series, interval);
            let difference = now - sum;
            if set == same && difference.abs() <= recent(series, self.cut) {
                self.carried[channel] += difference;
                self.anchors[channel] = Some((now, set));
            }
        }
    }

    /// The sum of the series' values at the last round's end, and which series these are.
    fn anchor(&self, series: &[Series], interval: i64) -> (f64, u64) {
        let since = self.cut - self.reach(interval);
        let mut anchor = (0.0, 0_u64);
        for series in series {
            let before = series.samples.partition_point(|sample| sample.at <= self.cut);
            let Some(last) = before.checked_sub(1).and_then(|index| series.samples.get(index)) else { continue };
            if last.at > since {
                anchor.0 += last.value;
                anchor.1 ^= series.key;
            }
        }
        anchor
    }

    /// Stable, which was there before the attempt, has no value at the last round's end: data begins only now, and nobody
    /// knows what the first values of the series count. All of them have one after two scrapes; what is counted begins there.
    fn begin_of_data(&self, tracks: &[Track<'_>]) -> Option<i64> {
        let samples = || tracks.iter().filter(|track| track.is_stable_total()).flat_map(|track| track.samples);
        let begin = samples().map(|sample| sample.at).min()? + SILENT_SCRAPES * self.spacing;
        samples().any(|sample| sample.at >= begin).then_some(begin)
    }
}

/// Takes an arm's requests and errors out of the sums. An arm cannot have more errors than requests, nor less than none:
/// the rest stays for the next round.
fn take(sums: &mut Sums, first: usize, part: Part) -> Counts {
    let requests = sums[first].max(0.0);
    let counted = sums[first + 1].clamp(0.0, requests);
    sums[first] -= requests;
    sums[first + 1] -= counted;
    let errors = match part {
        Part::Errors => counted,
        Part::Fast => requests - counted,
    };
    Counts { requests, errors }
}

/// What the series counted in the window up to `cut`.
fn recent(series: &[Series], cut: i64) -> f64 {
    let increments = |series: &Series| {
        let before = series.samples.iter().take_while(|sample| sample.at <= cut);
        before.clone().zip(before.skip(1)).map(|(a, b)| increment(Some(a.value), b.value)).sum::<f64>()
    };
    series.iter().map(increments).sum()
}

/// What a counter counted between two samples; from its birth when there is none before.
pub(super) fn increment(before: Option<f64>, now: f64) -> f64 {
    match before {
        Some(before) if now >= before => now - before,
        _ => now,
    }
}

/// The usual time between two samples of a series: the median.
pub(super) fn spacing_of(window: &Window) -> Option<i64> {
    let totals = window.canary.total.iter().chain(&window.stable.total);
    let gaps = totals.flat_map(|series| series.samples.windows(2).map(|pair| pair[1].at - pair[0].at));
    median(gaps.collect())
}

pub(super) fn median(mut gaps: Vec<i64>) -> Option<i64> {
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied()
}

/// One series while its samples are gone through.
pub(super) struct Track<'a> {
    /// 0 to 3: see [`Sums`].
    pub(super) channel: usize,
    /// Index of the pod, where pods are told apart.
    pub(super) pod: usize,
    pub(super) samples: &'a [window::Sample],
    /// Index of the next sample.
    next: usize,
    /// The last value; none before the series' birth.
    value: Option<f64>,
    /// When that was.
    last: Option<i64>,
    /// It is waited for in this round.
    awaited: bool,
}

impl<'a> Track<'a> {
    /// A series that was gone through up to `cut`.
    pub(super) fn at(channel: usize, pod: usize, series: &'a Series, known: &Known, cut: i64) -> Self {
        let next = series.samples.partition_point(|sample| sample.at <= cut);
        let last = next.checked_sub(1).and_then(|index| series.samples.get(index));
        let value = last.map(|last| last.value).or_else(|| known.get(&series.key).copied());
        let last = last.map(|last| last.at);
        Self { channel, pod, samples: &series.samples, next, value, last, awaited: false }
    }

    fn is_total(&self) -> bool {
        self.channel.is_multiple_of(2)
    }

    fn is_stable_total(&self) -> bool {
        self.channel == 2
    }
}

fn tracks<'a>(window: &'a Window, known: &[Known; 4], cut: i64) -> Vec<Track<'a>> {
    let channels = window.channels().into_iter().zip(known).enumerate();
    channels.flat_map(|(channel, (series, known))| series.iter().map(move |one| Track::at(channel, 0, one, known, cut))).collect()
}

/// What was counted in one round.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    pub(super) sums: Sums,
    /// Per track what it counted; only tracks that counted something, and only where that is asked for.
    pub(super) by_track: Vec<(usize, f64)>,
    /// The oldest sample that is differenced to, of the series that are not silent.
    since: Option<i64>,
}

/// Goes through all samples in the order of time. A round ends at the first moment at which each of `arms` (channels of
/// requests) has a new sample, and so has every series of them that is not silent.
pub(super) fn rounds(tracks: &mut [Track<'_>], spacing: i64, arms: &[usize], by_track: bool) -> Vec<(i64, Counted)> {
    let mut events: Vec<(i64, usize)> = Vec::new();
    for (index, track) in tracks.iter().enumerate() {
        events.extend(track.samples[track.next..].iter().map(|sample| (sample.at, index)));
    }
    events.sort_unstable();
    let mut all = Vec::new();
    let mut counted = Counted::default();
    let mut waiting = Waiting::default();
    waiting.begin(tracks);
    for moment in events.chunk_by(|a, b| a.0 == b.0) {
        let at = moment[0].0;
        for (_, index) in moment {
            let track = &mut tracks[*index];
            let value = track.samples[track.next].value;
            let more = increment(track.value, value);
            if more > 0.0 {
                counted.sums[track.channel] += more;
                if by_track {
                    counted.by_track.push((*index, more));
                }
            }
            (track.next, track.value, track.last) = (track.next + 1, Some(value), Some(at));
            waiting.seen(track);
        }
        waiting.forget(tracks, at - SILENT_SCRAPES * spacing);
        if waiting.left == 0 && arms.iter().all(|channel| waiting.heard[*channel]) {
            counted.since = waiting.oldest();
            all.push((at, std::mem::take(&mut counted)));
            waiting.begin(tracks);
        }
    }
    all
}

/// Whom a round still waits for.
#[derive(Default)]
struct Waiting {
    /// Series of requests that have a sample already, by its time.
    by_age: Vec<(i64, usize)>,
    /// Up to here they were judged for silence.
    judged: usize,
    left: usize,
    /// Channels with a new sample.
    heard: [bool; 4],
}

impl Waiting {
    fn begin(&mut self, tracks: &mut [Track<'_>]) {
        self.by_age.clear();
        for (index, track) in tracks.iter_mut().enumerate() {
            track.awaited = track.is_total() && track.last.is_some();
            if let (true, Some(last)) = (track.awaited, track.last) {
                self.by_age.push((last, index));
            }
        }
        self.by_age.sort_unstable();
        (self.left, self.judged, self.heard) = (self.by_age.len(), 0, [false; 4]);
    }

    /// Time of the oldest last sample of those that are not silent.
    fn oldest(&self) -> Option<i64> {
        self.by_age.get(self.judged).map(|(last, _)| *last)
    }

    fn seen(&mut self, track: &mut Track<'_>) {
        self.heard[track.channel] = true;
        self.release(track);
    }

    fn release(&mut self, track: &mut Track<'_>) {
        if track.awaited {
            track.awaited = false;
            self.left -= 1;
        }
    }

    /// Series whose last sample is older than `since` are no longer waited for.
    fn forget(&mut self, tracks: &mut [Track<'_>], since: i64) {
        while let Some((_, index)) = self.by_age.get(self.judged).copied().filter(|(last, _)| *last < since) {
            self.release(&mut tracks[index]);
            self.judged += 1;
        }
    }
}

impl Counter {
    /// For [`super::super::ledger`]: all numbers, in a fixed order.
    pub(in super::super) fn numbers(&self) -> Vec<f64> {
        let Self { cut, spacing, carried, anchors } = self;
        let mut all = vec![*cut as f64, *spacing as f64];
        all.extend(carried);
        for anchor in anchors {
            // A hash in two halves: one number cannot hold 64 bits exactly.
            let (sum, set) = anchor.unwrap_or((-1.0, 0));
            all.extend([sum, (set >> 32) as f64, (set & 0xffff_ffff) as f64]);
        }
        all
    }

    /// What [`Self::numbers`] gave.
    pub(in super::super) fn from_numbers(numbers: &mut impl Iterator<Item = f64>) -> Option<Self> {
        let mut whole =
            || numbers.next().filter(|number| number.fract() == 0.0 && number.abs() < 9e15).map(|number| number as i64);
        let (cut, spacing) = (whole()?, whole()?);
        let mut carried = [0.0; 4];
        for sum in &mut carried {
            *sum = numbers.next()?;
        }
        let mut anchors = [None; 4];
        for anchor in &mut anchors {
            let (sum, high, low) = (numbers.next()?, numbers.next()?, numbers.next()?);
            *anchor = (sum >= 0.0).then_some((sum, (high as u64) << 32 | low as u64));
        }
        (spacing >= 0).then_some(Self { cut, spacing, carried, anchors })
    }
}
