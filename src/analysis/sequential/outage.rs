//! A shared outage: is each arm, for itself, over the budget?

use super::excess::{LATER, kept, paid};
use super::{Counts, Round, Span, Terms, logs};

/// Error ratios that are bet on, as multiples of the budget.
const MULTIPLES: [f64; 8] = [1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 90.0];
/// The highest ratio that is bet on: at 1, one success would end the bet for good.
const HIGHEST: f64 = 0.95;
/// The part of the stake that is bet from the start.
const AT_ONCE: f64 = 0.5;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outage {
    /// ln of the bets on canary and stable.
    pub(super) ln_w: [[f64; MULTIPLES.len()]; 2],
    /// ln of the evidence, after the last round.
    pub(super) ln_m: [f64; 2],
    /// Both were over budget, and stable's evidence is not gone yet.
    pub(super) on: bool,
}

impl Outage {
    pub(super) fn new() -> Self {
        let start = (AT_ONCE / MULTIPLES.len() as f64).ln();
        Self { ln_w: [[start; MULTIPLES.len()]; 2], ln_m: [(AT_ONCE + LATER).ln(); 2], on: false }
    }

    /// Takes in a round.
    pub(super) fn round(&mut self, terms: &Terms, span: &Span, round: &Round, phi: [f64; 2]) {
        let cap = terms.threshold() + std::f64::consts::LN_10;
        let paid = paid(span) / MULTIPLES.len() as f64;
        let arms = self.ln_w.iter_mut().zip(&mut self.ln_m).zip([round.canary, round.stable]).zip(phi);
        for (((bets, ln_m), counts), phi) in arms {
            for (ln_w, multiple) in bets.iter_mut().zip(MULTIPLES) {
                if !span.first && paid > 0.0 {
                    *ln_w = logs::add(*ln_w, paid.ln());
                }
                let ratio = (multiple * terms.budget).min(HIGHEST);
                // Capped, so that it forgets an outage that is over.
                *ln_w = (*ln_w + likelihood(counts, ratio, terms.budget) / phi).min(cap);
            }
            let mut all = [kept(span).ln(); MULTIPLES.len() + 1];
            all[..MULTIPLES.len()].copy_from_slice(bets);
            *ln_m = logs::sum(&all);
        }
        if self.both(terms.threshold()) {
            self.on = true;
        } else if self.ln_m[1] < 0.0 {
            self.on = false;
        }
    }

    pub(super) fn both(&self, threshold: f64) -> bool {
        self.ln_m.iter().all(|ln_m| *ln_m >= threshold)
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }
}

/// ln of how much likelier these counts are at `ratio` than at `than`.
pub(super) fn likelihood(counts: Counts, ratio: f64, than: f64) -> f64 {
    let good = (counts.requests - counts.errors).max(0.0);
    counts.errors * (ratio / than).ln() + good * ((1.0 - ratio) / (1.0 - than)).ln()
}
