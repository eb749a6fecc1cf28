//! The cases, and what they come to: medians, shares, and how sure these are.

use super::deciders::{Outcome, TERMS, argo, flagger, ours};
use super::world::{World, attempt};

/// What a case is to show.
#[derive(Clone, Copy, Debug)]
pub enum Aim {
    /// A bad canary.
    Found {
        /// Seconds until the verdict in the median, at most.
        median: f64,
        /// The same for nine of ten.
        ninety: Option<f64>,
        /// Failed requests of the canary until then in the mean, at most.
        bad: Option<f64>,
    },
    /// A good canary.
    Kept {
        /// The share that is rolled back, at most.
        share: f64,
    },
    /// A good canary that goes on early.
    Accepted {
        /// Its requests until then in the median, at most.
        requests: f64,
    },
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is.
    pub name: String,
    /// Its traffic.
    pub world: World,
    /// When the fault begins, in seconds after the weight change.
    pub fault: f64,
    /// The canary's warm-up, in seconds.
    pub warm_up: f64,
    /// What is to be reached.
    pub aim: Aim,
}

fn found(name: &str, world: World, median: f64, ninety: Option<f64>, bad: Option<f64>) -> Case {
    let fault = world.canary.iter().map(|since| since.0).fold(0.0, f64::max);
    let world = World { length: fault + 1200.0, ..world };
    Case { name: name.to_owned(), world, fault, warm_up: 0.0, aim: Aim::Found { median, ninety, bad } }
}

fn kept(name: String, world: World, share: f64) -> Case {
    Case { name, world, fault: 0.0, warm_up: 0.0, aim: Aim::Kept { share } }
}

/// Bad canaries, and how fast they are to be found.
pub fn bad_canaries() -> Vec<Case> {
    let of = World::new;
    let fast = |world: World| World { scrape: 1.0, ..world };
    let late = |ratio: f64| World { canary: vec![(0.0, 0.001), (2837.0, ratio)], ..of(100.0, 0.001, 0.001) };
    let idle = World { weight: 1.0, ..of(100.0, 0.001, 0.05) };
    vec![
        found("100 rps, canary fails 5 %", of(100.0, 0.001, 0.05), 30.0, Some(45.0), Some(18.0)),
        found("  the same, 1 s scrapes", fast(of(100.0, 0.001, 0.05)), 10.0, Some(20.0), Some(6.0)),
        found("1000 rps, 1 %", of(1000.0, 0.001, 0.01), 30.0, Some(45.0), Some(38.0)),
        found("10 rps, 5 %", of(10.0, 0.001, 0.05), 110.0, Some(200.0), Some(6.0)),
        found("100 rps, 2 %", of(100.0, 0.001, 0.02), 50.0, Some(85.0), Some(11.0)),
        found("1000 rps, 0.5 %", of(1000.0, 0.001, 0.005), 70.0, Some(115.0), Some(37.0)),
        found("100 rps, 100 %", of(100.0, 0.001, 1.0), 30.0, None, None),
        found("  the same, 1 s scrapes", fast(of(100.0, 0.001, 1.0)), 5.0, None, None),
        found("fault at minute 47: 5 %", late(0.05), 45.0, Some(60.0), None),
        found("fault at minute 47: 2 %", late(0.02), 95.0, Some(135.0), None),
        found("weight 100, idle stable, 5 %", idle, 40.0, Some(45.0), None),
    ]
}

/// Good canaries at every rate, for an hour.
pub fn good_canaries() -> Vec<Case> {
    let rates = [1.0, 10.0, 100.0, 1000.0];
    let bases = [0.0, 0.001, 0.005, 0.02];
    let cell =
        |rps: f64, base: f64| kept(format!("good, {rps} rps, base {} %", base * 100.0), World::new(rps, base, base), 0.001);
    rates.into_iter().flat_map(|rps| bases.into_iter().map(move |base| cell(rps, base))).collect()
}

/// Good canaries in bad times.
pub fn hard_times() -> Vec<Case> {
    let outage = || {
        let ratios = vec![(f64::NEG_INFINITY, 0.001), (607.0, 0.05), (907.0, 0.001)];
        World { canary: ratios.clone(), stable: ratios, length: 1500.0, ..World::new(100.0, 0.001, 0.001) }
    };
    let skewed = |world: World| World { skewed: true, ..world };
    let bursts = |bunching: f64, base: f64| World { bunching, ..World::new(100.0, base, base) };
    let cold = World { canary: vec![(0.0, 0.015), (30.0, 0.005)], scrape: 5.0, length: 900.0, ..World::new(100.0, 0.005, 0.005) };
    vec![
        kept("shared outage 5 % for 5 min".to_owned(), outage(), 0.001),
        kept("  skewed scrapes".to_owned(), skewed(outage()), 0.003),
        kept("  skewed, one stable pod".to_owned(), World { pods: 1, ..skewed(outage()) }, 0.007),
        kept("bursts, correlation 0.01, base 0.5 %".to_owned(), bursts(0.01, 0.005), 0.005),
        kept("bursts, correlation 0.05, base 0.5 %".to_owned(), bursts(0.05, 0.005), 0.005),
        kept("bursts, correlation 0.05, base 2 %".to_owned(), bursts(0.05, 0.02), 0.005),
        Case { warm_up: 30.0, ..kept("cold canary, 3x errors for 30 s".to_owned(), cold, 0.001) },
        Case {
            aim: Aim::Accepted { requests: 600.0 },
            ..kept("accepted at 0.1 %".to_owned(), World { length: 900.0, ..World::new(100.0, 0.001, 0.001) }, 0.0)
        },
    ]
}

/// What the runs of a case came to, for each who decides.
#[derive(Clone, Debug)]
pub struct Found {
    /// Ours.
    pub ours: Vec<Outcome>,
    /// Argo Rollouts'.
    pub argo: Vec<Outcome>,
    /// Flagger's.
    pub flagger: Vec<Outcome>,
}

/// Runs a case. Every run has a seed of its own, so that the numbers do not depend on who runs it when.
pub fn run(case: &Case, seed: u64, runs: std::ops::Range<usize>, others: bool) -> Found {
    let mut found = Found { ours: Vec::new(), argo: Vec::new(), flagger: Vec::new() };
    let terms = tidegate::analysis::sequential::Terms { warm_up: case.warm_up, ..TERMS };
    for index in runs {
        let attempt = attempt(&case.world, seed.wrapping_mul(1_000_003).wrapping_add(index as u64));
        found.ours.push(ours(&attempt, &terms, 1.0));
        if others {
            found.argo.push(argo(&attempt, case.world.length));
            found.flagger.push(flagger(&attempt, case.world.length));
        }
    }
    found
}

/// How many runs were rolled back.
pub fn stopped(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| outcome.stopped.is_some()).count()
}

/// The value below which a share `at` of the values lies. What was never found counts as endless.
pub fn quantile(mut values: Vec<f64>, at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = ((values.len() as f64 * at).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or(f64::NAN)
}

/// The largest share that is compatible with `count` of `runs` at 95 % (Clopper and Pearson).
pub fn upper(count: usize, runs: usize) -> f64 {
    let below = |share: f64| {
        // P(X <= count) of a binomial, term by term.
        let mut term = runs as f64 * (-share).ln_1p();
        let mut sum = term.exp();
        for k in 1..=count {
            term += ((runs - k + 1) as f64 / k as f64).ln() + share.ln() - (-share).ln_1p();
            sum += term.exp();
        }
        sum
    };
    let (mut low, mut high) = (count as f64 / runs as f64, 1.0);
    if count >= runs {
        return 1.0;
    }
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if below(middle) > 0.05 { low = middle } else { high = middle }
    }
    high
}
