//! The numbers of the sequential test, in short: what `benches/sequential` shows in full, on fewer attempts with fixed
//! seeds. All of it is the shipped procedure, from raw samples to the verdict.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

#[path = "../benches/sequential/deciders.rs"]
mod deciders;
#[path = "../benches/sequential/table.rs"]
mod table;
#[path = "../benches/sequential/world.rs"]
mod world;

use table::{Aim, Case, bad_canaries, good_canaries, hard_times, quantile, run, stopped, upper};

/// Runs cases side by side.
fn all(cases: Vec<Case>, runs: usize, others: bool) -> Vec<(Case, table::Found)> {
    std::thread::scope(|scope| {
        let start = |case: Case| {
            scope.spawn(move || {
                let found = run(&case, 7, 0..runs, others);
                (case, found)
            })
        };
        let threads: Vec<_> = cases.into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Protects: good canaries. At any rate and any base of errors, in a shared outage, in bursts and cold, none of these
/// attempts is rolled back, where the others roll back up to all.
#[test]
fn good_canaries_are_kept() {
    let mut cases = good_canaries();
    cases.extend(hard_times().into_iter().filter(|case| matches!(case.aim, Aim::Kept { .. })));
    assert_eq!(cases.len(), 23);
    for case in &mut cases {
        case.world.length = case.world.length.min(1800.0);
    }
    let found = all(cases, 24, true);
    for (case, found) in &found {
        let Aim::Kept { share } = case.aim else { unreachable!("a good canary is to be kept") };
        let count = stopped(&found.ours);
        assert!(count as f64 <= share * 24.0, "{}: {count} of 24 rolled back", case.name);
    }
    let worst = |outcomes: fn(&table::Found) -> usize| found.iter().map(|(_, found)| outcomes(found)).max();
    let others = (worst(|found| stopped(&found.argo)), worst(|found| stopped(&found.flagger)));
    assert_eq!(others, (Some(24), Some(24)), "the models of Argo Rollouts and of Flagger");
}

/// Protects: users of bad canaries. Each kind of fault is found within what the table promises, with half as much again for
/// so few attempts; never before it began.
#[test]
fn bad_canaries_are_found() {
    for (case, found) in all(bad_canaries(), 24, false) {
        let Aim::Found { median, ninety, bad } = case.aim else { unreachable!("a bad canary is to be found") };
        let seconds: Vec<f64> = found.ours.iter().map(|outcome| outcome.stopped.unwrap_or(f64::INFINITY) - case.fault).collect();
        assert!(seconds.iter().all(|at| *at > 0.0), "{}: before the fault: {seconds:?}", case.name);
        let lost = found.ours.iter().map(|outcome| outcome.bad).sum::<f64>() / 24.0;
        let aims = [(quantile(seconds.clone(), 0.5), Some(median)), (quantile(seconds, 0.9), ninety), (lost, bad)];
        for (found, aim) in aims {
            assert!(aim.is_none_or(|aim| found <= aim * 1.5), "{}: {found} and not {aim:?}", case.name);
        }
    }
}

/// Protects: the early way on. A canary that has nearly no errors is accepted after some hundred requests, and one that is
/// twice over budget is not.
#[test]
fn acceptance() {
    let early = hard_times().into_iter().find(|case| matches!(case.aim, Aim::Accepted { .. })).unwrap();
    let mut over = early.clone();
    over.world.canary = vec![(0.0, 0.02)];
    over.world.stable = vec![(f64::NEG_INFINITY, 0.02)];
    let after = |case: &Case| -> Vec<f64> {
        run(case, 7, 0..24, false).ours.iter().map(|outcome| outcome.accepted.unwrap_or(f64::INFINITY)).collect()
    };
    let Aim::Accepted { requests } = early.aim else { unreachable!("it is to be accepted") };
    let half = quantile(after(&early), 0.5);
    assert!(half > 300.0 && half <= requests * 1.2, "{half}");
    assert!(after(&over).iter().filter(|requests| requests.is_finite()).count() <= 1);
}

/// Protects: the bounds that are printed. Clopper and Pearson's for nothing, one and half of the runs.
#[test]
fn upper_bounds() {
    let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-5, "{found} and not {wanted}");
    near(upper(0, 10_000), 0.000_299_5);
    near(upper(1, 10_000), 0.000_474_3);
    near(upper(5, 10), 0.777_559);
    near(upper(10, 10), 1.0);
}
