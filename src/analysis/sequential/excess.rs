//! The evidence against the canary: a mixture of betting strategies, each for one size of fault and one time of onset.

use super::{Round, Span, Terms, logs};

/// Sizes of fault that are bet on: how many times worse than tolerated.
const FACTORS: [f64; 6] = [1.25, 1.75, 3.0, 6.0, 20.0, 100.0];
/// The part of the stake that is bet from the start. The rest is for faults that begin later.
const AT_ONCE: f64 = 0.8;
/// What is kept for later starts, and is paid out at a pace of [`PACE`].
pub(super) const LATER: f64 = 0.2;
/// Half of what is kept for later is paid out in this many seconds.
const PACE: f64 = 1800.0;

/// What is paid in this round for faults that begin in it, of a stake of [`LATER`]. Written without a difference of
/// nearly equal numbers: a day has thousands of rounds.
pub(super) fn paid(span: &Span) -> f64 {
    LATER * PACE * (span.after - span.before) / ((PACE + span.before) * (PACE + span.after))
}

/// What is not paid yet after this round.
pub(super) fn kept(span: &Span) -> f64 {
    LATER * PACE / (PACE + span.after)
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Excess {
    /// ln W_j.
    pub(super) ln_w: [f64; FACTORS.len()],
    /// ln M after the last round; 0 before the first.
    pub(super) ln_m: f64,
}

impl Excess {
    pub(super) fn new() -> Self {
        Self { ln_w: [(AT_ONCE / FACTORS.len() as f64).ln(); FACTORS.len()], ln_m: 0.0 }
    }

    pub(super) fn ln_m(&self) -> f64 {
        self.ln_m
    }

    /// Takes in a round; `phi` is the dispersion of canary and stable. Gives ln M.
    pub(super) fn round(&mut self, terms: &Terms, span: &Span, round: &Round, phi: [f64; 2], idle: bool) -> f64 {
        let paid = paid(span) / FACTORS.len() as f64;
        for (ln_w, factor) in self.ln_w.iter_mut().zip(FACTORS) {
            if !span.first && paid > 0.0 {
                *ln_w = logs::add(*ln_w, paid.ln());
            }
            *ln_w += step(terms, round, phi, idle, factor);
        }
        let mut all = [kept(span).ln(); FACTORS.len() + 1];
        all[..FACTORS.len()].copy_from_slice(&self.ln_w);
        let ln_m = logs::sum(&all);
        // Pods are scraped at different moments, so an outage of both may show in one arm a scrape before the other: no
        // single round may bring more than half of what a verdict needs.
        let surplus = (ln_m - self.ln_m.max(0.0) - terms.threshold() / 2.0).max(0.0);
        self.ln_w.iter_mut().for_each(|ln_w| *ln_w -= surplus);
        self.ln_m = ln_m - surplus;
        self.ln_m
    }
}

/// What a round adds to the bet on a fault of this size.
fn step(terms: &Terms, round: &Round, [phi_canary, phi_stable]: [f64; 2], idle: bool, factor: f64) -> f64 {
    let (canary, stable) = (round.canary, round.stable);
    if idle {
        // Nothing to compare with: the budget itself is what the canary is held to.
        let expected = canary.requests * terms.budget;
        return (canary.errors * factor.ln() - expected * (factor - 1.0)) / phi_canary;
    }
    if canary.requests <= 0.0 || stable.requests <= 0.0 {
        return 0.0;
    }
    // Given their sum, the canary's errors are binomial with share s at the edge of what is tolerated.
    let k = terms.max_ratio_to_stable * canary.requests / stable.requests;
    let s = k / (1.0 + k);
    let phi = (1.0 - s) * phi_canary + s * phi_stable;
    let a = factor * k / (1.0 + factor * k) / s;
    let b = (1.0 + k) / (1.0 + factor * k);
    let ignored = canary.requests * terms.ignore_below * (a - 1.0);
    (canary.errors * a.ln() + stable.errors * b.ln() - ignored) / phi
}
