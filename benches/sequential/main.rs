//! The table of the sequential test's numbers: ours beside models of what Argo Rollouts and Flagger do by default, on the
//! same generated traffic. `RUNS` (default 400) says how many attempts a case; `SEED` which. Ends with an error when an
//! aim is missed: shares of good canaries by their upper 95 % bound when there are enough runs for that, else by the share.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints, and is told by the environment how much to do"
)]

mod deciders;
mod table;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use deciders::{Outcome, TERMS, ours};
use table::{Aim, Case, Found, bad_canaries, good_canaries, hard_times, quantile, run, stopped, upper};
use world::{World, attempt};

fn main() -> ExitCode {
    let number = |name: &str, default: usize| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (runs, seed) = (number("RUNS", 400), number("SEED", 1));
    println!("{runs} attempts a case, seed {seed}; budget 1 %, stable 0.1 %, weight 10 %, 15 s scrapes unless said\n");
    let mut missed = 0;
    for (title, cases) in
        [("bad canaries", bad_canaries()), ("good canaries, one hour", good_canaries()), ("hard times", hard_times())]
    {
        println!("## {title}\n");
        for case in cases {
            let (line, met) = judge(&case, &parallel(&case, seed as u64, runs), runs);
            missed += usize::from(!met);
            println!("{line}{}", if met { "" } else { "   <-- MISSED" });
        }
        println!();
    }
    cost();
    println!("{}", if missed == 0 { "every aim reached".to_owned() } else { format!("{missed} aims missed") });
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All processors, each a part of the runs.
fn parallel(case: &Case, seed: u64, runs: usize) -> Found {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(runs.max(1));
    std::thread::scope(|scope| {
        let part = |index: usize| runs * index / threads..runs * (index + 1) / threads;
        let workers: Vec<_> = (0..threads).map(|index| scope.spawn(move || run(case, seed, part(index), true))).collect();
        let mut all = Found { ours: Vec::new(), argo: Vec::new(), flagger: Vec::new() };
        for found in workers.into_iter().filter_map(|worker| worker.join().ok()) {
            all.ours.extend(found.ours);
            all.argo.extend(found.argo);
            all.flagger.extend(found.flagger);
        }
        all
    })
}

fn judge(case: &Case, found: &Found, runs: usize) -> (String, bool) {
    let name = &case.name;
    match case.aim {
        Aim::Found { median, ninety, bad } => {
            let (text, half, most, cost) = speed(&found.ours, case.fault);
            let met = half <= median && ninety.is_none_or(|aim| most <= aim) && bad.is_none_or(|aim| cost <= aim);
            let (argo, _, _, _) = speed(&found.argo, case.fault);
            let (flagger, _, _, _) = speed(&found.flagger, case.fault);
            let shown = |aim: Option<f64>| aim.map_or("-".to_owned(), |aim| format!("{aim:.0}"));
            let aim = format!("{median:.0} / {}, {} bad", shown(ninety), shown(bad));
            (format!("{name:<38} ours {text}\n{:<38} aim  {aim}; argo {argo}; flagger {flagger}", ""), met)
        }
        Aim::Kept { share } => {
            let count = stopped(&found.ours);
            let (found_share, bound) = (count as f64 / runs as f64, upper(count, runs));
            // Of few runs even none says little: their share is what can be judged.
            let met = if upper(0, runs) < share / 2.0 { bound <= share } else { found_share <= share };
            let percent = |outcomes: &[Outcome]| 100.0 * stopped(outcomes) as f64 / runs as f64;
            let others = format!("argo {:.1} %, flagger {:.1} %", percent(&found.argo), percent(&found.flagger));
            let own = format!("{count} of {runs} rolled back, at most {:.3} % (95 %)", 100.0 * bound);
            (format!("{name:<38} ours {own}; aim {:.1} %; {others}", 100.0 * share), met)
        }
        Aim::Accepted { requests } => {
            let half = quantile(found.ours.iter().map(|outcome| outcome.accepted.unwrap_or(f64::INFINITY)).collect(), 0.5);
            (format!("{name:<38} ours after {half:.0} requests; aim {requests:.0}"), half <= requests)
        }
    }
}

/// Seconds from the fault to the verdict: median with its 95 % interval, 90 %; the canary's failed requests in the mean.
fn speed(outcomes: &[Outcome], fault: f64) -> (String, f64, f64, f64) {
    let seconds: Vec<f64> = outcomes.iter().map(|outcome| outcome.stopped.map_or(f64::INFINITY, |at| at - fault)).collect();
    let early = outcomes.iter().filter(|outcome| outcome.stopped.is_some_and(|at| at < fault)).count();
    let at = |share: f64| quantile(seconds.clone(), share);
    let margin = 0.98 / (seconds.len() as f64).sqrt();
    let found: Vec<f64> = outcomes.iter().filter(|outcome| outcome.stopped.is_some()).map(|outcome| outcome.bad).collect();
    let bad = found.iter().sum::<f64>() / found.len().max(1) as f64;
    let missed = outcomes.len() - found.len();
    let mut text = format!("{:.0} [{:.0}, {:.0}] / {:.0} s, {bad:.1} bad", at(0.5), at(0.5 - margin), at(0.5 + margin), at(0.9));
    if missed > 0 {
        text.push_str(&format!(", {:.0} % not stopped", 100.0 * missed as f64 / outcomes.len() as f64));
    }
    if early > 0 {
        text.push_str(&format!(", {early} before the fault"));
    }
    (text, at(0.5), at(0.9), bad)
}

/// What a scrape of a metric costs: counting and test together, on an hour of five pods. The best of several: the machine
/// has other things to do.
fn cost() {
    let world = World::new(100.0, 0.001, 0.001);
    let attempts: Vec<_> = (0..100).map(|seed| attempt(&world, seed)).collect();
    let rounds = world.length / world.scrape;
    let one = |attempt: &world::Attempt| {
        let begun = Instant::now();
        let outcome = ours(attempt, &TERMS, 1.0);
        begun.elapsed().as_secs_f64() / outcome.stopped.map_or(rounds, |at| at / world.scrape)
    };
    let each = attempts.iter().map(one).fold(f64::INFINITY, f64::min) * 1e6;
    println!("cost: {each:.2} microseconds a metric and scrape (five pods); aim 10");
    let kept = attempts.first().map(|attempt| {
        let mut ledger = tidegate::analysis::ledger::Ledger::new(world::EPOCH);
        let closed =
            ledger.counter.advance(&attempt.window, &Default::default(), tidegate::analysis::counting::Part::Errors, 1000);
        for round in closed {
            ledger.take(&TERMS, &attempt.dispersion, &round, Some(world::EPOCH));
        }
        ledger.to_text().len()
    });
    println!("state: {} bytes a metric; aim 3072\n", kept.unwrap_or(0));
}
