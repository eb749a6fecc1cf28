//! The sequential test of an SLO: is the canary worse than `maxRatioToStable` times stable, plus `ignoreBelow`?
//!
//! ```text
//! stable's last hour --Dispersion::from_history--> dispersion, fixed for the attempt
//! requests and errors of both arms, round by round --Test::round--> ln M, outage, accept
//! ln M of every metric of the attempt --has_failed--> verdict
//! ```
//!
//! The test may be looked at after every round and stopped at any of them: for independent errors, M is a
//! supermartingale while the canary is as good as it has to be, at every moment and whatever stable's own error rate
//! does, so M reaches 1/alpha in at most a share alpha of attempts (Ville's inequality). Sources: Lindon and Malek,
//! "Anytime-valid inference for multinomial count data", NeurIPS 2022; Turner, Ly and Grünwald, "Generic e-variables for
//! exact sequential k-sample tests", JSPI 2024; Ramdas et al., "Game-theoretic statistics and safe anytime-valid
//! inference", Statistical Science 2023. What is not proven but simulated: the estimated dispersion, scrapes that are not
//! aligned, and how fast it is (`benches/sequential.rs`).
//!
//! All evidence is kept as logarithms: neither a day of scrapes nor a storm of errors overflows it.

mod accept;
mod dispersion;
mod excess;
mod logs;
mod outage;
mod persist;

pub use dispersion::{Dispersion, DispersionSource, Scrape};

use accept::Accept;
use dispersion::Running;
use excess::Excess;
use outage::Outage;

/// Half-life, in seconds, of the request counts that tell whether stable still has traffic.
const RECENT_HALF_LIFE: f64 = 60.0;
/// Stable is idle when it has less than this share of the canary's requests.
const IDLE_SHARE: f64 = 1.0 / 20.0;
/// In warm-up: how much worse than stable the canary may be.
const WARM_RATIO: f64 = 5.0;
/// The guard lands exactly on the threshold; a rounding error must not keep it below.
const ROUNDING: f64 = 1e-9;

/// What is tolerated, and how sure a verdict has to be. All are ratios but `warm_up`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// The SLO: the share of requests that may fail, above 0 and below 1.
    pub budget: f64,
    /// How much worse than stable is still fine: at least 1.
    pub max_ratio_to_stable: f64,
    /// Differences in the error ratio smaller than this never matter.
    pub ignore_below: f64,
    /// How long after the attempt began the canary may be cold, in seconds.
    pub warm_up: f64,
    /// At most this share of good canaries is rolled back: 1 - confidence.
    pub alpha: f64,
    /// At most this share of canaries over budget is accepted early: 1 - accept.
    pub beta: f64,
}

impl Terms {
    /// The natural logarithm of the evidence that a verdict needs.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        -self.alpha.ln()
    }
}

/// Requests of one arm, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Requests; 0 or more.
    pub requests: f64,
    /// Failed ones; 0 up to `requests`.
    pub errors: f64,
}

impl Counts {
    fn add(&mut self, more: Self) {
        self.requests += more.requests;
        self.errors += more.errors;
    }

    /// The share that failed; 0 without requests.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        if self.requests > 0.0 { self.errors / self.requests } else { 0.0 }
    }
}

/// What both arms did between two moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// Length in seconds.
    pub seconds: f64,
    /// The canary's.
    pub canary: Counts,
    /// Stable's.
    pub stable: Counts,
    /// The weight changed, or was confirmed, within it.
    pub straddles_weight_change: bool,
}

/// What a round meant, for the round's own metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The natural logarithm of the evidence against the canary.
    pub ln_m: f64,
    /// Both arms are over budget beyond doubt: a shared outage.
    pub both_over_budget: bool,
    /// The canary is within budget beyond doubt, and no worse than stable allows, at this weight.
    pub accept: bool,
}

/// The state of one metric's test: fixed in size, and equal to itself after [`Test::to_text`] and [`Test::from_text`].
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    seconds: f64,
    rounds: f64,
    excess: Excess,
    /// Requests of canary and stable, halved every minute, since the weight was confirmed.
    recent: [f64; 2],
    outage: Outage,
    accept: Accept,
    running: Running,
    total: [Counts; 2],
}

impl Default for Test {
    fn default() -> Self {
        Self::new()
    }
}

impl Test {
    /// A test that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            seconds: 0.0,
            rounds: 0.0,
            excess: Excess::new(),
            recent: [0.0; 2],
            outage: Outage::new(),
            accept: Accept::new(),
            running: Running::default(),
            total: [Counts::default(); 2],
        }
    }

    /// Takes in one round.
    pub fn round(&mut self, terms: &Terms, dispersion: &Dispersion, round: &Round) -> Reading {
        let (before, after) = (self.seconds, self.seconds + round.seconds.max(0.0));
        self.seconds = after;
        let terms = if before < terms.warm_up { warm(terms) } else { *terms };
        let idle = self.is_idle(&terms, round);
        let phi = self.running.phi(dispersion, round);
        let span = Span { first: self.rounds == 0.0, before, after };
        let ln_m = self.excess.round(&terms, &span, round, phi, idle);
        self.outage.round(&terms, &span, round, phi);
        let accept = self.accept.round(&terms, round, phi[0], idle) && ln_m < 0.0;
        self.running.add(round.stable);
        self.rounds += 1.0;
        self.total[0].add(round.canary);
        self.total[1].add(round.stable);
        Reading { ln_m, both_over_budget: self.outage.both(terms.threshold()), accept }
    }

    /// Has stable lost its traffic to the canary, so that it is nothing to compare with?
    fn is_idle(&mut self, terms: &Terms, round: &Round) -> bool {
        if round.straddles_weight_change {
            return false;
        }
        let kept = (-std::f64::consts::LN_2 * round.seconds / RECENT_HALF_LIFE).exp();
        for (recent, arm) in self.recent.iter_mut().zip([round.canary, round.stable]) {
            *recent = *recent * kept + arm.requests;
        }
        let [canary, stable] = self.recent;
        stable < terms.threshold() / terms.budget && stable < canary * IDLE_SHARE
    }

    /// The weight was confirmed: what is asked of one weight begins anew. The evidence against the canary goes on.
    pub fn begin_weight(&mut self) {
        self.recent = [0.0; 2];
        self.accept = Accept::new();
    }

    /// The natural logarithm of the evidence against the canary; 0 before the first round.
    #[must_use]
    pub fn ln_m(&self) -> f64 {
        self.excess.ln_m()
    }

    /// Is there a shared outage? It begins when both arms are over budget beyond doubt, and ends when stable's evidence
    /// is gone.
    #[must_use]
    pub fn is_shared_outage(&self) -> bool {
        self.outage.is_on()
    }

    /// Is the canary good at this weight beyond doubt, on at least one whole round of it?
    #[must_use]
    pub fn accepts(&self) -> bool {
        self.accept.holds() && self.ln_m() < 0.0
    }

    /// About how many more requests the canary needs to be good beyond doubt, if it goes on as it did at this weight; none
    /// when it would not be.
    #[must_use]
    pub fn requests_to_accept(&self, terms: &Terms, dispersion: &Dispersion) -> Option<f64> {
        self.accept.requests_needed(terms, dispersion.per_pod.max(1.0))
    }

    /// Requests and errors of canary and stable since the attempt began.
    #[must_use]
    pub fn total(&self) -> [Counts; 2] {
        self.total
    }

    /// Requests and errors of canary and stable at this weight.
    #[must_use]
    pub fn at_this_weight(&self) -> [Counts; 2] {
        self.accept.total()
    }

    /// Seconds taken in.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Rounds taken in.
    #[must_use]
    pub fn rounds(&self) -> f64 {
        self.rounds
    }
}

/// A cold start: much worse than stable is fine, and so is everything within budget.
fn warm(terms: &Terms) -> Terms {
    Terms {
        max_ratio_to_stable: terms.max_ratio_to_stable.max(WARM_RATIO),
        ignore_below: terms.ignore_below.max(terms.budget),
        ..*terms
    }
}

/// When a round was, in seconds since the attempt began.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: bool,
    before: f64,
    after: f64,
}

/// Have the metrics of an attempt, taken together, enough evidence against the canary? `ln_m` holds one entry for each
/// metric of the whole Rollout, 0 for those that have not begun: alpha is for the attempt, not for each metric.
#[must_use]
pub fn has_failed(ln_m: &[f64], alpha: f64) -> bool {
    !ln_m.is_empty() && combined(ln_m) >= -alpha.ln() - ROUNDING
}

/// The natural logarithm of the mean evidence of several metrics; 0 for none.
#[must_use]
pub fn combined(ln_m: &[f64]) -> f64 {
    if ln_m.is_empty() { 0.0 } else { logs::sum(ln_m) - (ln_m.len() as f64).ln() }
}

#[cfg(test)]
mod tests;
