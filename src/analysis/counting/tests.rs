use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::ledger::Ledger;
use super::super::sequential::{Counts, Dispersion, Scrape, Terms, has_failed};
use super::*;

const SCRAPE: i64 = 15_000;
/// When the tests' attempts begin.
const BASELINE: i64 = 1_000_000_000;

fn counts(requests: f64, errors: f64) -> Counts {
    Counts { requests, errors }
}

/// A series; times in seconds after the baseline.
fn series(key: u64, samples: &[(i64, f64)]) -> Series {
    let sample = |(at, value): &(i64, f64)| Sample { at: BASELINE + at * 1000, value: *value };
    Series { key, pod: None, samples: samples.iter().map(sample).collect() }
}

fn arm(total: Vec<Series>, part: Vec<Series>) -> Arm {
    Arm { total, part }
}

fn window(canary: Arm, stable: Arm) -> Window {
    Window::checked(canary, stable, Part::Errors).unwrap()
}

fn nothing_known() -> [Known; 4] {
    Default::default()
}

/// Rounds as (from, to, canary, stable), times in seconds after the baseline.
fn rounds_of(counter: &mut Counter, window: &Window, known: &[Known; 4], part: Part) -> Vec<(i64, i64, [f64; 2], [f64; 2])> {
    let closed = counter.advance(window, known, part, 1000);
    let flat = |counts: Counts| [counts.requests, counts.errors];
    let seconds = |at: i64| (at - BASELINE) / 1000;
    closed.iter().map(|round| (seconds(round.from), seconds(round.to), flat(round.canary), flat(round.stable))).collect()
}

/// Stable, one pod: 100 requests a scrape.
fn steady(from: i64, to: i64) -> Vec<Series> {
    let samples: Vec<(i64, f64)> = (from..=to).step_by(15).map(|at| (at, 5000.0 + (at as f64) * 100.0 / 15.0)).collect();
    vec![series(90, &samples)]
}

/// What happens, the canary's samples, and what the canary did in each round with the round's end in seconds.
type Case = (&'static str, Arm, &'static [([f64; 2], i64)]);

/// Protects: every count. A table of what counters do, each with the rounds that must come of it.
#[test]
fn what_counters_do() {
    let cases: [Case; 9] = [
        (
            "counts from the last sample before the baseline, errors too",
            arm(
                vec![series(1, &[(-15, 40.0), (0, 50.0), (15, 60.0), (30, 75.0)])],
                vec![series(2, &[(0, 3.0), (15, 3.0), (30, 5.0)])],
            ),
            &[([10.0, 0.0], 15), ([15.0, 2.0], 30)],
        ),
        (
            "the first error of a pod is the birth of its series",
            arm(vec![series(1, &[(0, 50.0), (15, 60.0), (30, 75.0)])], vec![series(2, &[(15, 4.0), (30, 5.0)])]),
            &[([10.0, 4.0], 15), ([15.0, 1.0], 30)],
        ),
        (
            "a reset: the new value is what it counted",
            arm(vec![series(1, &[(0, 50.0), (15, 4.0), (30, 9.0)])], vec![series(2, &[(0, 7.0), (15, 2.0), (30, 2.0)])]),
            &[([4.0, 2.0], 15), ([5.0, 0.0], 30)],
        ),
        (
            "errors that match nothing are none",
            arm(vec![series(1, &[(0, 50.0), (15, 60.0), (30, 75.0)])], vec![]),
            &[([10.0, 0.0], 15), ([15.0, 0.0], 30)],
        ),
        (
            "a pod that goes adds nothing, and is waited for during two scrapes",
            arm(
                vec![
                    series(1, &[(0, 50.0), (15, 60.0), (30, 75.0), (45, 80.0), (60, 90.0)]),
                    series(3, &[(0, 900.0), (15, 905.0)]),
                ],
                vec![],
            ),
            &[([15.0, 0.0], 15), ([30.0, 0.0], 60)],
        ),
        (
            "a missed scrape: the round waits, and nothing is lost",
            arm(vec![series(1, &[(0, 50.0), (30, 75.0)])], vec![]),
            &[([25.0, 0.0], 30)],
        ),
        (
            "pods at other moments: the round ends with the last of them",
            arm(vec![series(1, &[(0, 50.0), (15, 60.0), (30, 75.0)]), series(3, &[(-8, 7.0), (7, 8.0), (22, 10.0)])], vec![]),
            &[([11.0, 0.0], 15), ([17.0, 0.0], 30)],
        ),
        (
            "repeated, disordered, impossible samples",
            arm(
                vec![series(
                    1,
                    &[(30, 75.0), (15, 60.0), (0, 50.0), (15, 60.0), (20, f64::NAN), (21, -5.0), (22, f64::INFINITY)],
                )],
                vec![],
            ),
            &[([10.0, 0.0], 15), ([15.0, 0.0], 30)],
        ),
        (
            "more errors than requests: the rest is counted later",
            arm(vec![series(1, &[(0, 50.0), (15, 60.0), (30, 75.0)])], vec![series(2, &[(0, 0.0), (15, 12.0), (30, 12.0)])]),
            &[([10.0, 10.0], 15), ([15.0, 2.0], 30)],
        ),
    ];
    for (what, canary, wanted) in cases {
        let stable = arm(steady(-60, 60), vec![]);
        let found = rounds_of(&mut Counter::new(BASELINE), &window(canary, stable), &nothing_known(), Part::Errors);
        let found: Vec<([f64; 2], i64)> = found.into_iter().map(|(_, to, canary, _)| (canary, to)).collect();
        assert_eq!(found, wanted, "{what}");
    }
}

/// Protects: latency SLOs. What is not in the bucket was slow, and a bucket that is behind is made up for.
#[test]
fn fast_requests() {
    let canary =
        arm(vec![series(1, &[(0, 50.0), (15, 60.0), (30, 75.0)])], vec![series(2, &[(0, 40.0), (15, 47.0), (30, 64.0)])]);
    let stable = arm(steady(-60, 60), vec![series(91, &[(0, 1.0), (15, 101.0), (30, 201.0)])]);
    let window = Window::checked(canary, stable, Part::Fast).unwrap();
    let found = rounds_of(&mut Counter::new(BASELINE), &window, &nothing_known(), Part::Fast);
    // The bucket's 17 of 15: two were fast that the round before took for slow.
    assert_eq!(found, [(0, 15, [10.0, 3.0], [100.0, 0.0]), (15, 30, [15.0, 0.0], [100.0, 0.0])]);
}

/// Protects: a poll that is faster than the scrapes. A round has new samples of both arms, never one without requests of
/// stable only because its pods were not scraped yet; increments are carried over.
#[test]
fn polls_between_scrapes_end_no_round() {
    let canary = |to: i64| {
        arm(
            (0..1)
                .map(|_| {
                    series(
                        1,
                        &[(-13, 0.0), (2, 10.0), (17, 30.0), (32, 60.0)]
                            .into_iter()
                            .filter(|(at, _)| *at <= to)
                            .collect::<Vec<_>>(),
                    )
                })
                .collect(),
            vec![],
        )
    };
    let stable = |to: i64| arm(steady(-60, to), vec![]);
    let mut counter = Counter::new(BASELINE);
    let mut all = Vec::new();
    for now in (1..=35).step_by(2) {
        all.extend(rounds_of(&mut counter, &window(canary(now), stable(now)), &nothing_known(), Part::Errors));
    }
    assert_eq!(all, [(0, 15, [10.0, 0.0], [100.0, 0.0]), (15, 30, [20.0, 0.0], [100.0, 0.0])]);
}

/// Protects: verdicts from a query that cannot tell anything.
#[test]
fn unusable_samples() {
    let good = || arm(vec![series(1, &[(0, 1.0)])], vec![series(2, &[(0, 1.0)])]);
    let stable = || arm(vec![series(3, &[(0, 1.0)])], vec![series(4, &[(0, 1.0)])]);
    let nan = || arm(vec![series(1, &[(0, f64::NAN)])], vec![series(2, &[(0, 1.0)])]);
    let many = || arm((10..2011).map(|key| series(key, &[(0, 1.0)])).collect(), vec![]);
    let said =
        |canary: Arm, stable: Arm, part: Part| Window::checked(canary, stable, part).map(|_| ()).map_err(|e| e.to_string());
    let refused = |text: &str| Err(text.to_owned());
    assert_eq!(said(good(), stable(), Part::Fast), Ok(()));
    assert_eq!(said(arm(vec![], vec![]), stable(), Part::Errors), refused("no data: total matches no series of the canary"));
    assert_eq!(said(nan(), stable(), Part::Errors), refused("no data: total matches no series of the canary"));
    assert_eq!(said(good(), arm(vec![], vec![]), Part::Errors), refused("no data: total matches no series of stable"));
    assert_eq!(
        said(good(), arm(stable().total, vec![]), Part::Fast),
        refused("no data: slow.bucket with this le matches no series of stable")
    );
    assert_eq!(
        said(good(), arm(good().total, vec![]), Part::Errors),
        refused("total matches the same series for the canary and for stable; its labels must tell them apart")
    );
    assert_eq!(
        said(good(), arm(stable().total, good().part), Part::Errors),
        refused("errors matches the same series for the canary and for stable; its labels must tell them apart")
    );
    assert_eq!(
        said(many(), stable(), Part::Errors),
        refused("total matches 2001 series of the canary; at most 2000 are allowed, name more labels")
    );
}

/// Protects: canaries from the lifetime of stable's counters. A series that was there before, and is back after it was
/// silent for longer than the window reaches, goes on from its known value; one that is not known is new.
#[test]
fn series_that_come_back() {
    let canary = arm(vec![series(1, &[(-15, 0.0), (0, 50.0), (15, 60.0), (30, 70.0)])], vec![]);
    let stable = arm([steady(-60, 30), vec![series(92, &[(15, 8000.0), (30, 8100.0)])]].concat(), vec![]);
    let window = window(canary, stable);
    let counter = Counter::new(BASELINE);
    assert_eq!(counter.strangers(&window), [false, false, true, false]);
    let mut known = nothing_known();
    known[2].insert(92, 7990.0);
    let stable_of = |known: &[Known; 4]| -> Vec<f64> {
        rounds_of(&mut counter.clone(), &window, known, Part::Errors).iter().map(|round| round.3[0]).collect()
    };
    assert_eq!(stable_of(&known), [110.0, 200.0]);
    assert_eq!(stable_of(&nothing_known()), [8100.0, 200.0]);
}

/// Protects: canaries from a metric server that lost everything. Where stable has no value from before, first values are
/// not counts: counting begins two scrapes later, with what comes then.
#[test]
fn data_that_begins_now() {
    let counting = |key: u64, first: i64| {
        let samples: Vec<(i64, f64)> = (first..=first + 75).step_by(15).map(|at| (at, 70_000.0 + at as f64)).collect();
        series(key, &samples)
    };
    let canary = arm(vec![counting(1, 603)], vec![counting(2, 603)]);
    let stable = arm(vec![counting(90, 600), counting(91, 611)], vec![counting(92, 611)]);
    let found = rounds_of(&mut Counter::new(BASELINE), &window(canary, stable), &nothing_known(), Part::Errors);
    assert_eq!(
        found,
        [(630, 645, [15.0, 15.0], [30.0, 15.0]), (645, 660, [15.0, 15.0], [30.0, 15.0]), (660, 675, [15.0, 15.0], [30.0, 15.0])]
    );
}

/// Counters of pods with all that happens to them. Ground truth for what a reader may make of them.
#[derive(Clone, Debug)]
struct Pod {
    canary: bool,
    /// Where its scrapes stand, in milliseconds.
    offset: i64,
    /// Per scrape from 300 s before the baseline: requests, errors, whether it restarts before, whether the scrape fails.
    scrapes: Vec<(u16, u16, bool, bool)>,
    /// Scrapes that come late, by this many milliseconds.
    late: i64,
}

fn pod(canary: bool, late: i64, resets: bool) -> impl Strategy<Value = Pod> {
    let scrape = (0..300_u16, 0..20_u16, prop::bool::weighted(if resets { 0.03 } else { 0.0 }), prop::bool::weighted(0.05));
    (0..SCRAPE, prop::collection::vec(scrape, 60), 0..=late).prop_map(move |(offset, scrapes, late)| Pod {
        canary,
        offset,
        scrapes,
        late,
    })
}

impl Pod {
    /// Samples of total and errors with the time at which they can be read.
    fn samples(&self) -> [Vec<(i64, Sample)>; 2] {
        let mut all = [Vec::new(), Vec::new()];
        let (mut total, mut errors) = (0.0, 0.0);
        for (index, (requests, failed, restarts, missed)) in self.scrapes.iter().enumerate() {
            if *restarts {
                (total, errors) = (0.0, 0.0);
            }
            total += f64::from(*requests);
            errors += f64::from((*failed).min(*requests));
            let at = BASELINE - 20 * SCRAPE + self.offset + SCRAPE * i64::try_from(index).unwrap();
            if *missed {
                continue;
            }
            let readable = if index % 3 == 0 && index > 20 { at + self.late } else { at };
            all[0].push((readable, Sample { at, value: total }));
            // As client libraries do: no series before the first error.
            if errors > 0.0 {
                all[1].push((readable, Sample { at, value: errors }));
            }
        }
        all
    }
}

/// Whether it is the canary's, and its samples of total and errors with the time at which they can be read.
type Scraped = (bool, [Vec<(i64, Sample)>; 2]);

fn scraped(pods: &[Pod]) -> Vec<Scraped> {
    pods.iter().map(|pod| (pod.canary, pod.samples())).collect()
}

/// What a look at `now` reads from `since` on.
fn read(pods: &[Scraped], since: i64, now: i64) -> (Arm, Arm) {
    let (mut canary, mut stable) = (Arm::default(), Arm::default());
    for (index, (is_canary, both)) in pods.iter().enumerate() {
        let arm = if *is_canary { &mut canary } else { &mut stable };
        for (part, samples) in both.iter().enumerate() {
            let seen = samples.iter().filter(|(readable, sample)| *readable <= now && sample.at > since && sample.at <= now);
            let series =
                Series { key: (10 * index + part) as u64, pod: None, samples: seen.map(|(_, sample)| *sample).collect() };
            if !series.samples.is_empty() {
                (if part == 0 { &mut arm.total } else { &mut arm.part }).push(series);
            }
        }
    }
    (canary, stable)
}

/// The last values before `cut`, as far back as there are any.
fn known_before(pods: &[Scraped], cut: i64) -> [Known; 4] {
    let (canary, stable) = read(pods, i64::MIN, cut);
    let last = |series: Vec<Series>| series.into_iter().map(|s| (s.key, s.samples.last().unwrap().value)).collect();
    [last(canary.total), last(canary.part), last(stable.total), last(stable.part)]
}

const TERMS: Terms =
    Terms { budget: 0.01, max_ratio_to_stable: 1.5, ignore_below: 0.0005, warm_up: 0.0, alpha: 0.01, beta: 0.05 };

/// Looks at the given moments, each time from what the last look left as text. Gives the rounds, when it failed, and what
/// is left.
fn watch(pods: &[Scraped], looks: &[i64]) -> (Vec<Closed>, Option<i64>, Ledger) {
    let mut kept = Ledger::new(BASELINE).to_text();
    let (mut all, mut failed) = (Vec::new(), None);
    for now in looks {
        let mut ledger = Ledger::from_text(&kept).unwrap();
        let cut = ledger.counter.cut();
        let (canary, stable) = read(pods, cut - ledger.counter.reach(5000), *now);
        let Ok(window) = Window::checked(canary, stable, Part::Errors) else { continue };
        let known = if ledger.counter.strangers(&window).contains(&true) { known_before(pods, cut) } else { nothing_known() };
        for closed in ledger.counter.advance(&window, &known, Part::Errors, 5000) {
            let reading = ledger.take(&TERMS, &Dispersion::UNKNOWN, &closed, Some(BASELINE + 1000));
            if has_failed(&[reading.ln_m], TERMS.alpha) {
                failed.get_or_insert(closed.to);
            }
            all.push(closed);
        }
        kept = ledger.to_text();
        assert!(kept.len() < 2000);
    }
    (all, failed, Ledger::from_text(&kept).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Protects: verdicts from restarts. Cut anywhere, for any time, with resets, births, failed scrapes and pods at other
    /// moments: the same rounds, the same verdict at the same sample, the same state.
    #[test]
    fn a_restart_never_changes_a_verdict(
        canary in prop::collection::vec(pod(true, 0, true), 1..3),
        stable in prop::collection::vec(pod(false, 0, true), 1..4),
        gaps in prop::collection::vec(1000..200_000_i64, 1..40),
    ) {
        let pods = scraped(&[canary, stable].concat());
        let end = BASELINE + 38 * SCRAPE;
        let every: Vec<i64> = (BASELINE + 1000..=end).step_by(5000).chain([end]).collect();
        let mut some = vec![BASELINE + 1000];
        for gap in gaps {
            some.push((some.last().unwrap() + gap).min(end));
        }
        some.push(end);
        let (often, seldom) = (watch(&pods, &every), watch(&pods, &some));
        prop_assert_eq!(often, seldom);
    }

    /// Protects: every request and error. What was counted and what is carried is what the counters counted, whenever
    /// samples came and however often they were looked at; late samples are made up for.
    #[test]
    fn nothing_is_lost_and_nothing_counted_twice(
        canary in prop::collection::vec(pod(true, 14_000, false), 1..3),
        stable in prop::collection::vec(pod(false, 14_000, false), 1..4),
    ) {
        let pods = scraped(&[canary, stable].concat());
        let end = BASELINE + 38 * SCRAPE;
        let looks: Vec<i64> = (BASELINE + 1000..=end + 60_000).step_by(6000).collect();
        let (rounds, _, ledger) = watch(&pods, &looks);
        let total = |arm: fn(&Closed) -> Counts| rounds.iter().map(arm).fold((0.0, 0.0), |sum, c| (sum.0 + c.requests, sum.1 + c.errors));
        let numbers = ledger.counter.numbers();
        let carried = |channel: usize| numbers[2 + channel];
        let (canary, stable) = (total(|closed| closed.canary), total(|closed| closed.stable));
        let counted = [canary.0 + carried(0), canary.1 + carried(1), stable.0 + carried(2), stable.1 + carried(3)];
        let now_known = |cut: i64| {
            // Everything that will ever be readable of the time up to `cut`.
            let (canary, stable) = read(&pods, i64::MIN, i64::MAX);
            [canary.total, canary.part, stable.total, stable.part].map(|all| all.iter().filter_map(|s| Some(s.samples.iter().rfind(|sample| sample.at <= cut)?.value)).sum::<f64>())
        };
        let (begun, ended) = (now_known(BASELINE), now_known(ledger.counter.cut()));
        let truth: BTreeMap<usize, f64> = (0..4).map(|channel| (channel, ended[channel] - begun[channel])).collect();
        let found: BTreeMap<usize, f64> = counted.into_iter().enumerate().collect();
        prop_assert_eq!(found, truth);
    }
}

/// Protects: counts from two replicas of a metric server behind one address, which scrape at different moments: over many
/// looks at one or the other, the sum is what the counter counted.
#[test]
fn replicas_with_other_scrapes() {
    let replica = |offset: i64, now: i64, key: u64| {
        let times = (-120_000 + offset..=now).step_by(15_000);
        let samples = times.map(|at| Sample { at: BASELINE + at, value: 10_000.0 + (at as f64 / 10.0).floor() }).collect();
        Series { key, pod: None, samples }
    };
    let mut counter = Counter::new(BASELINE);
    let mut counted = 0.0;
    let mut cut = 0;
    for look in 1..200_i64 {
        let (now, offset) = (look * 5000, if look % 2 == 0 { 0 } else { 7000 });
        let window = window(arm(vec![replica(offset, now, 1)], vec![]), arm(vec![replica(offset, now, 2)], vec![]));
        let closed = counter.advance(&window, &nothing_known(), Part::Errors, 5000);
        counted += closed.iter().map(|round| round.stable.requests).sum::<f64>();
        cut = closed.last().map_or(cut, |round| round.to - BASELINE);
    }
    let truth = cut as f64 / 10.0;
    assert!((counted - truth).abs() <= 1500.0, "{counted} and not {truth}");
    assert!(truth > 95_000.0);
}

/// Protects: the dispersion's history. Rounds of one arm, by pod, begun when all its series were seen; a series that is born
/// later counts from 0.
#[test]
fn stable_by_scrape_and_pod() {
    let of = |key: u64, pod: &str, samples: &[(i64, f64)]| Series { pod: Some(pod.to_owned()), ..series(key, samples) };
    let a: Vec<(i64, f64)> = (0..6).map(|index| (15 * index, 100.0 * index as f64)).collect();
    let b: Vec<(i64, f64)> = (0..6).map(|index| (15 * index + 7, 40.0 * index as f64)).collect();
    let total = vec![of(1, "a", &a), of(2, "b", &b)];
    let part = vec![
        of(3, "a", &[(0, 50.0), (15, 50.0), (30, 51.0), (45, 51.0), (60, 54.0), (75, 54.0)]),
        of(4, "b", &[(52, 9.0), (67, 9.0)]),
    ];
    let found = scrapes(arm(total, part), Part::Errors);
    let at = |seconds: i64| (BASELINE / 1000 + seconds) as f64;
    let scrape = |seconds: i64, errors: [f64; 2]| Scrape {
        at: at(seconds),
        counts: counts(140.0, errors[0] + errors[1]),
        pods: vec![counts(100.0, errors[0]), counts(40.0, errors[1])],
    };
    // From 30 s on: a at 45, b at 37 and so on; a round ends with the later of both.
    assert_eq!(found, [scrape(45, [0.0, 0.0]), scrape(60, [3.0, 9.0]), scrape(75, [0.0, 0.0])]);
    assert_eq!(scrapes(Arm::default(), Part::Errors), []);
}

/// Protects: the identity of a series across processes and versions, which kept state depends on.
#[test]
fn keys_are_for_ever() {
    let one = key_of([("code", "500"), ("pod", "a")]);
    assert_eq!(one, key_of([("pod", "a"), ("code", "500")]));
    assert_ne!(one, key_of([("pod", "a5"), ("code", "00")]));
    assert_eq!(key_of([("a", "b")]), 12_340_101_032_074_838_569);
}
