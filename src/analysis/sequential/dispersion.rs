//! How much more errors vary than independent ones would: they come in bunches, in time and by pod. Evidence is divided
//! by it. Without, bursts of errors that everybody has would be taken for a difference between the arms.

use super::{Counts, Round};

/// Most that a round's dispersion may be: beyond, nothing could ever be decided.
const MOST: f64 = 100.0;
/// What is assumed where too little is known.
const ASSUMED: f64 = 1.5;
/// With fewer errors than this in the history, it says nothing about how they vary.
const MIN_ERRORS: f64 = 20.0;
/// Dispersion is measured within blocks of this many seconds, so that a slow change of the error rate is not taken for
/// bunching.
const BLOCK: f64 = 600.0;
/// Blocks in the hour that is looked at.
const BLOCKS: usize = 6;
/// Fewest blocks with data: the one that varies most is dropped, and two must be left.
const MIN_BLOCKS: usize = 3;
/// Fewest scrapes in a block.
const MIN_SCRAPES: usize = 4;
/// Sums over this many scrapes show bunches that are longer than one scrape.
const GROUP: usize = 4;
/// From here on the dispersion of such sums counts; below, it is noise.
const GROUPS_COUNT_FROM: f64 = 1.5;
/// Without history, earlier rounds speak from this many rounds and errors on.
const MIN_ROUNDS: f64 = 4.0;
const MIN_ROUND_ERRORS: f64 = 5.0;

/// What stable did between two scrapes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    /// When, in seconds on any clock, ascending.
    pub at: f64,
    /// Of all pods.
    pub counts: Counts,
    /// Of each pod, in the same order in every scrape; empty where pods cannot be told apart.
    pub pods: Vec<Counts>,
}

/// Where the dispersion comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DispersionSource {
    /// Measured in stable's last hour.
    History,
    /// There is history, with too few errors: assumed.
    FewErrors,
    /// There is no history: taken from the attempt's own earlier rounds.
    Running,
}

/// How much errors bunch. Fixed for an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dispersion {
    /// Growth per request of a round, 0 or more.
    pub per_request: f64,
    /// Between pods, 1 to 100.
    pub per_pod: f64,
    /// Where it comes from.
    pub source: DispersionSource,
}

impl Dispersion {
    /// Independent errors.
    pub const NONE: Self = Self { per_request: 0.0, per_pod: 1.0, source: DispersionSource::History };
    /// Nothing is known of the time before the attempt.
    pub const UNKNOWN: Self = Self { per_request: 0.0, per_pod: ASSUMED, source: DispersionSource::Running };

    /// Measures it in up to an hour of stable before the attempt; [`Self::UNKNOWN`] when that is too little.
    #[must_use]
    pub fn from_history(scrapes: &[Scrape]) -> Self {
        let blocks = blocks(scrapes);
        if blocks.len() < MIN_BLOCKS {
            return Self::UNKNOWN;
        }
        let used: Vec<&Scrape> = blocks.iter().flat_map(|block| block.iter()).collect();
        let requests: f64 = used.iter().map(|scrape| scrape.counts.requests).sum();
        let errors: f64 = used.iter().map(|scrape| scrape.counts.errors).sum();
        let mean_requests = requests / used.len() as f64;
        if mean_requests <= 0.0 {
            return Self::UNKNOWN;
        }
        if errors < MIN_ERRORS {
            let per_request = (ASSUMED - 1.0) / mean_requests;
            return Self { per_request, per_pod: ASSUMED, source: DispersionSource::FewErrors };
        }
        let one = grouped(&blocks, 1);
        let four = grouped(&blocks, GROUP);
        let in_time = one.max(if four > GROUPS_COUNT_FROM { four } else { 1.0 }).max(1.0);
        let per_request = (in_time - 1.0) / mean_requests;
        Self { per_request, per_pod: between_pods(&used), source: DispersionSource::History }
    }
}

/// The newest hour in blocks of ten minutes, without those that have hardly any scrapes.
fn blocks(scrapes: &[Scrape]) -> Vec<&[Scrape]> {
    let Some(newest) = scrapes.last().map(|scrape| scrape.at) else { return Vec::new() };
    let age = |scrape: &Scrape| ((newest - scrape.at) / BLOCK).max(0.0) as usize;
    let blocks = scrapes.chunk_by(|a, b| age(a) == age(b));
    blocks.filter(|block| block.len() >= MIN_SCRAPES && age(&block[0]) < BLOCKS).collect()
}

/// Variance over mean of errors in sums over `size` scrapes, without the block that varies most: an incident in the
/// history is not how stable usually behaves.
fn grouped(blocks: &[&[Scrape]], size: usize) -> f64 {
    let mut all: Vec<(f64, f64)> = blocks.iter().filter_map(|block| variance_and_mean(block, size)).collect();
    let ratio = |(variance, mean): &(f64, f64)| if *mean > 0.0 { variance / mean } else { 0.0 };
    let worst = (0..all.len()).max_by(|a, b| ratio(&all[*a]).total_cmp(&ratio(&all[*b])));
    if let Some(worst) = worst.filter(|_| all.len() > 1) {
        all.remove(worst);
    }
    let (variance, mean) = all.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    if mean > 0.0 { variance / mean } else { 1.0 }
}

fn variance_and_mean(block: &[Scrape], size: usize) -> Option<(f64, f64)> {
    let sums: Vec<f64> =
        block.chunks_exact(size).map(|group| group.iter().map(|scrape| scrape.counts.errors).sum::<f64>()).collect();
    if sums.len() < 2 {
        return None;
    }
    let mean = sums.iter().sum::<f64>() / sums.len() as f64;
    let squares: f64 = sums.iter().map(|sum| (sum - mean).powi(2)).sum();
    Some((squares / (sums.len() - 1) as f64, mean))
}

/// How much more pods differ than chance lets them.
fn between_pods(scrapes: &[&Scrape]) -> f64 {
    let (mut found, mut expected) = (0.0, 0.0);
    for scrape in scrapes {
        let Counts { requests, errors } = scrape.counts;
        if requests <= 0.0 || scrape.pods.len() < 2 {
            continue;
        }
        for pod in &scrape.pods {
            let mean = pod.requests * errors / requests;
            found += (pod.errors - mean).powi(2);
            expected += mean * (1.0 - pod.requests / requests);
        }
    }
    if expected > 0.0 { (found / expected).clamp(1.0, MOST) } else { 1.0 }
}

/// The attempt's own rounds of stable, for when there is no history.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Running {
    pub(super) rounds: f64,
    pub(super) errors: f64,
    pub(super) squares: f64,
    pub(super) requests: f64,
}

impl Running {
    pub(super) fn add(&mut self, stable: Counts) {
        self.rounds += 1.0;
        self.errors += stable.errors;
        self.squares += stable.errors * stable.errors;
        self.requests += stable.requests;
    }

    /// Dispersion of canary and stable in this round, from what was known before it.
    pub(super) fn phi(&self, dispersion: &Dispersion, round: &Round) -> [f64; 2] {
        let (per_request, least) = match dispersion.source {
            DispersionSource::Running => (self.per_request(), dispersion.per_pod.max(ASSUMED)),
            DispersionSource::History | DispersionSource::FewErrors => (dispersion.per_request, dispersion.per_pod),
        };
        [round.canary, round.stable].map(|arm| (1.0 + per_request * arm.requests).max(least).min(MOST))
    }

    fn per_request(&self) -> f64 {
        if self.rounds < MIN_ROUNDS || self.errors < MIN_ROUND_ERRORS || self.requests <= 0.0 {
            return 0.0;
        }
        let mean = self.errors / self.rounds;
        let variance = (self.squares - self.rounds * mean * mean).max(0.0) / (self.rounds - 1.0);
        (variance / mean - 1.0).max(0.0) / (self.requests / self.rounds)
    }
}
