//! Generated traffic: what two arms count, scrape by scrape, with faults, outages, bursts and pods at other moments.

use rand::{RngExt, SeedableRng};
use rand_distr::{Beta, Binomial, Distribution, Poisson};
use rand_xorshift::XorShiftRng;
use tidegate::analysis::counting::{Arm, Part, Sample, Series, Window, scrapes};
use tidegate::analysis::sequential::{Dispersion, Scrape};

/// The hour before an attempt that its dispersion is measured in, in seconds.
const HISTORY: f64 = 3600.0;
/// Stable is seen from so long before the attempt.
const BEFORE: f64 = 150.0;

/// A share of requests that fail, from a moment on, in seconds after the weight change.
pub type Since = (f64, f64);

/// One kind of attempt.
#[derive(Clone, Debug)]
pub struct World {
    /// Requests per second of both arms together.
    pub rps: f64,
    /// The canary's part of them.
    pub weight: f64,
    /// Error ratio of stable; the first is that of the time before.
    pub stable: Vec<Since>,
    /// Error ratio of the canary.
    pub canary: Vec<Since>,
    /// Seconds between scrapes.
    pub scrape: f64,
    /// Length in seconds.
    pub length: f64,
    /// Pods of stable; the canary has one.
    pub pods: usize,
    /// Each pod is scraped at a moment of its own.
    pub skewed: bool,
    /// Intraclass correlation of errors within a scrape of a pod: 0 for independent errors.
    pub bunching: f64,
}

impl World {
    /// 10 % of the traffic, four stable pods, 15 s scrapes of all pods at once, an hour.
    pub fn new(rps: f64, stable: f64, canary: f64) -> Self {
        Self {
            rps,
            weight: 0.1,
            stable: vec![(f64::NEG_INFINITY, stable)],
            canary: vec![(0.0, canary)],
            scrape: 15.0,
            length: 3600.0,
            pods: 4,
            skewed: false,
            bunching: 0.0,
        }
    }
}

/// One attempt as it happened.
#[derive(Debug)]
pub struct Attempt {
    /// What both arms counted, from a while before.
    pub window: Window,
    /// What stable's hour before says.
    pub dispersion: Dispersion,
    /// The canary's (second, requests, errors) since the weight change: what others look at.
    pub canary: Vec<(f64, f64, f64)>,
}

/// Draws an attempt. The weight changes at a random moment between scrapes.
pub fn attempt(world: &World, seed: u64) -> Attempt {
    let mut random = XorShiftRng::seed_from_u64(seed);
    let phase = random.random::<f64>() * world.scrape;
    let stable_rate = |at: f64| world.rps * if at < 0.0 { 1.0 } else { 1.0 - world.weight };
    let canary_rate = |at: f64| world.rps * if at < 0.0 { 0.0 } else { world.weight };
    let mut canary = Vec::new();
    let offset = |random: &mut XorShiftRng| phase - world.scrape * if world.skewed { random.random::<f64>() } else { 0.0 };
    let canary_offset = offset(&mut random);
    let on_canary =
        pod(world, &mut random, &world.canary, canary_offset, 1, &canary_rate, &mut |at, n, x| canary.push((at, n, x)));
    let mut total = Vec::new();
    let mut part = Vec::new();
    for index in 0..world.pods {
        let at = offset(&mut random);
        let rate = |at: f64| stable_rate(at) / world.pods as f64;
        let [requests, errors] = pod(world, &mut random, &world.stable, at, 10 + 2 * index as u64, &rate, &mut |_, _, _| {});
        total.push(requests);
        part.push(errors);
    }
    let [requests, errors] = on_canary;
    let canary_arm = Arm { total: vec![requests], part: vec![errors] };
    let window = Window::checked(canary_arm, Arm { total, part }, Part::Errors);
    Attempt { window: window.unwrap_or_default(), dispersion: Dispersion::from_history(&past(world, &mut random)), canary }
}

/// Counters of one pod, from a while before the attempt to its end. `tell` hears of every piece of time.
fn pod(
    world: &World,
    random: &mut XorShiftRng,
    ratios: &[Since],
    offset: f64,
    key: u64,
    rate: &dyn Fn(f64) -> f64,
    tell: &mut dyn FnMut(f64, f64, f64),
) -> [Series; 2] {
    let (mut total, mut part) = (Vec::new(), Vec::new());
    let (mut requests, mut errors) = (1000.0, 0.0);
    let mut from = offset - (BEFORE / world.scrape).floor() * world.scrape;
    while from + world.scrape <= world.length {
        let to = from + world.scrape;
        let bunch = |ratio: f64, random: &mut XorShiftRng| bunched(ratio, world.bunching, random);
        for (begin, end) in pieces(from, to, ratios) {
            let ratio = bunch(ratio_at(ratios, begin), random);
            let (n, x) = draw(rate(begin) * (end - begin), ratio, random);
            (requests, errors) = (requests + n, errors + x);
            if end > 0.0 {
                tell(end, n, x);
            }
        }
        let at = (to * 1000.0).round() as i64 + EPOCH;
        total.push(Sample { at, value: requests });
        part.push(Sample { at, value: errors });
        from = to;
    }
    [(key, total), (key + 1, part)].map(|(key, samples)| Series { key, pod: Some(key.to_string()), samples })
}

/// The weight change, in the counters' time.
pub const EPOCH: i64 = 1_000_000_000_000;

/// The time from one scrape to the next, cut where something begins: the weight change, a fault, an outage.
fn pieces(from: f64, to: f64, ratios: &[Since]) -> Vec<(f64, f64)> {
    let mut cuts: Vec<f64> = ratios.iter().map(|since| since.0).chain([0.0]).filter(|at| *at > from && *at < to).collect();
    cuts.extend([from, to]);
    cuts.sort_by(f64::total_cmp);
    cuts.dedup();
    cuts.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

fn ratio_at(ratios: &[Since], at: f64) -> f64 {
    ratios.iter().rev().find(|since| since.0 <= at).map_or(0.0, |since| since.1)
}

fn bunched(ratio: f64, bunching: f64, random: &mut XorShiftRng) -> f64 {
    if bunching <= 0.0 || ratio <= 0.0 || ratio >= 1.0 {
        return ratio;
    }
    let size = 1.0 / bunching - 1.0;
    Beta::new(ratio * size, (1.0 - ratio) * size).map_or(ratio, |beta| beta.sample(random))
}

fn draw(mean: f64, ratio: f64, random: &mut XorShiftRng) -> (f64, f64) {
    let requests = Poisson::new(mean).map_or(0.0, |poisson| poisson.sample(random));
    let errors = Binomial::new(requests as u64, ratio).map_or(0, |binomial| binomial.sample(random));
    (requests, errors as f64)
}

/// Stable's hour before, through the same counting.
fn past(world: &World, random: &mut XorShiftRng) -> Vec<Scrape> {
    let ratio = ratio_at(&world.stable, f64::MIN);
    let hour = World { length: HISTORY, ..world.clone() };
    let rate = |_: f64| world.rps / world.pods as f64;
    let (mut total, mut part) = (Vec::new(), Vec::new());
    for index in 0..world.pods {
        let offset = if world.skewed { -world.scrape * random.random::<f64>() } else { 0.0 };
        let ratios = [(f64::NEG_INFINITY, ratio)];
        let [requests, errors] = pod(&hour, random, &ratios, offset, 10 + 2 * index as u64, &rate, &mut |_, _, _| {});
        // Both series of a pod say whose they are.
        total.push(Series { pod: Some(index.to_string()), ..requests });
        part.push(Series { pod: Some(index.to_string()), ..errors });
    }
    scrapes(Arm { total, part }, Part::Errors)
}
