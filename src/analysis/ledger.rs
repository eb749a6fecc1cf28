//! One SLO metric of one attempt: what was counted, and what it is evidence of. Everything that a restart needs.

use super::counting::{Closed, Counter};
use super::sequential::{Dispersion, Reading, Terms, Test};
use super::text;

/// Counter and test of a metric. Its text form is what `AnalysisRun.status` keeps; less than 2 KB.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    /// What was counted, up to when.
    pub counter: Counter,
    /// What that is evidence of.
    pub test: Test,
    /// When the weight was confirmed whose rounds are taken in now, in milliseconds since 1970.
    weight_at: Option<i64>,
    /// Begin of the last round: its oldest sample.
    last_since: Option<i64>,
}

impl Ledger {
    /// Begins at `baseline`, in milliseconds since 1970.
    #[must_use]
    pub fn new(baseline: i64) -> Self {
        Self { counter: Counter::new(baseline), test: Test::new(), weight_at: None, last_since: None }
    }

    /// Takes in a round. `weight_at` is when the present weight was confirmed: a round with a sample from before is not
    /// wholly of this weight, and at the first one that ends after it everything that is asked of one weight begins anew.
    pub fn take(&mut self, terms: &Terms, dispersion: &Dispersion, closed: &Closed, weight_at: Option<i64>) -> Reading {
        if let Some(at) = weight_at.filter(|at| *at <= closed.to && self.weight_at != Some(*at)) {
            self.test.begin_weight();
            self.weight_at = Some(at);
        }
        self.last_since = Some(closed.since);
        let round = super::sequential::Round {
            seconds: (closed.to - closed.from) as f64 / 1000.0,
            canary: closed.canary,
            stable: closed.stable,
            straddles_weight_change: weight_at.is_none_or(|at| closed.since < at),
        };
        self.test.round(terms, dispersion, &round)
    }

    /// Begin of the last round, in milliseconds since 1970: what it says is true of no earlier time.
    #[must_use]
    pub fn last_since(&self) -> Option<i64> {
        self.last_since
    }

    /// Is the canary good at the weight that was confirmed at `weight_at`?
    #[must_use]
    pub fn accepts(&self, weight_at: Option<i64>) -> bool {
        weight_at.is_some() && self.weight_at == weight_at && self.test.accepts()
    }

    /// The state as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { counter, test, weight_at, last_since } = self;
        let mut numbers = counter.numbers();
        numbers.extend([weight_at, last_since].map(|at| at.map_or(0.0, |at| at as f64)));
        let numbers: Vec<String> = numbers.into_iter().map(text::number).collect();
        format!("{};{}", numbers.join(" "), test.to_text())
    }

    /// Reads what [`Self::to_text`] wrote; none for anything else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (numbers, test) = text.split_once(';')?;
        let numbers: Vec<f64> = numbers.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let usable = numbers.iter().all(|number| number.is_finite());
        let mut numbers = numbers.into_iter();
        let counter = Counter::from_numbers(&mut numbers)?;
        let mut time = || numbers.next().map(|at| (at > 0.0).then_some(at as i64));
        let (weight_at, last_since) = (time()?, time()?);
        let whole = usable && numbers.next().is_none();
        whole.then_some(Self { counter, test: Test::from_text(test)?, weight_at, last_since })
    }
}
