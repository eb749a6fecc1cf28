//! Early acceptance at one weight: is the canary within budget beyond doubt, so that waiting longer tells no more?

use super::outage::likelihood;
use super::{Counts, Round, Terms, logs};

/// Error ratios that are bet on, as parts of the budget.
const PARTS: [f64; 6] = [0.02, 0.1, 0.2, 0.35, 0.5, 0.7];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Accept {
    pub(super) ln_w: [f64; PARTS.len()],
    /// Of canary and stable, since the weight was confirmed.
    pub(super) total: [Counts; 2],
    /// Rounds that lay at this weight from begin to end.
    pub(super) whole: f64,
    /// The last round's answer.
    pub(super) met: bool,
}

impl Accept {
    pub(super) fn new() -> Self {
        let start = (1.0 / PARTS.len() as f64).ln();
        Self { ln_w: [start; PARTS.len()], total: [Counts::default(); 2], whole: 0.0, met: false }
    }

    /// Takes in a round. True when the canary is within budget beyond doubt, and not worse than stable allows.
    pub(super) fn round(&mut self, terms: &Terms, round: &Round, phi_canary: f64, idle: bool) -> bool {
        for (ln_w, part) in self.ln_w.iter_mut().zip(PARTS) {
            *ln_w += likelihood(round.canary, part * terms.budget, terms.budget) / phi_canary;
        }
        self.total[0].add(round.canary);
        self.total[1].add(round.stable);
        if !round.straddles_weight_change {
            self.whole += 1.0;
        }
        let [canary, stable] = self.total;
        let tolerated = if idle { terms.budget } else { terms.max_ratio_to_stable * stable.ratio() + terms.ignore_below };
        self.met = logs::sum(&self.ln_w) >= -terms.beta.ln() && canary.errors <= canary.requests * tolerated;
        self.met
    }

    /// See [`super::Test::requests_to_accept`]: by the bet that gets there first.
    pub(super) fn requests_needed(&self, terms: &Terms, phi: f64) -> Option<f64> {
        let ratio = self.total[0].ratio();
        let one = Counts { requests: 1.0, errors: ratio };
        let needed = self.ln_w.iter().zip(PARTS).filter_map(|(ln_w, part)| {
            let gain = likelihood(one, part * terms.budget, terms.budget) / phi;
            (gain > 0.0).then(|| ((-terms.beta.ln() - ln_w) / gain).max(0.0))
        });
        needed.min_by(f64::total_cmp)
    }

    pub(super) fn holds(&self) -> bool {
        self.met && self.whole >= 1.0
    }

    pub(super) fn total(&self) -> [Counts; 2] {
        self.total
    }
}
