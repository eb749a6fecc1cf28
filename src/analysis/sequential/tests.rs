use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const TERMS: Terms =
    Terms { budget: 0.01, max_ratio_to_stable: 1.5, ignore_below: 0.0005, warm_up: 0.0, alpha: 0.01, beta: 0.05 };

fn counts(requests: f64, errors: f64) -> Counts {
    Counts { requests, errors }
}

fn round(canary: (f64, f64), stable: (f64, f64)) -> Round {
    Round {
        seconds: 15.0,
        canary: counts(canary.0, canary.1),
        stable: counts(stable.0, stable.1),
        straddles_weight_change: false,
    }
}

/// A run of the reference implementation, written in another language by others.
#[derive(Deserialize)]
struct Recorded {
    name: String,
    interval_s: f64,
    budget: f64,
    rho: f64,
    ignore_below: f64,
    alpha: f64,
    beta: f64,
    dispersion: RecordedDispersion,
    warm_up_s: f64,
    first_round_straddles_weight_change: bool,
    rounds: Vec<RecordedRound>,
}

#[derive(Deserialize)]
struct RecordedDispersion {
    c: f64,
    phi_pod: f64,
}

#[derive(Deserialize)]
struct RecordedRound {
    canary: [f64; 2],
    stable: [f64; 2],
    ln_m: f64,
    failed: bool,
    both_over_budget: bool,
    accept: bool,
}

fn recorded() -> Vec<Recorded> {
    serde_json::from_str(include_str!("../../../tests/data/sequential_vectors.json")).unwrap()
}

/// Protects: the procedure whose error rates were simulated. Every recorded run of the reference comes out the same,
/// round by round, also when the state goes through its text between any two rounds.
#[test]
fn recorded_runs() {
    let all = recorded();
    assert_eq!((all.len(), all.iter().map(|run| run.rounds.len()).sum::<usize>()), (18, 765));
    for run in all {
        let terms = Terms {
            budget: run.budget,
            max_ratio_to_stable: run.rho,
            ignore_below: run.ignore_below,
            warm_up: run.warm_up_s,
            alpha: run.alpha,
            beta: run.beta,
        };
        let source = DispersionSource::History;
        let dispersion = Dispersion { per_request: run.dispersion.c, per_pod: run.dispersion.phi_pod, source };
        let mut test = Test::new();
        for (index, wanted) in run.rounds.iter().enumerate() {
            let straddles_weight_change = index == 0 && run.first_round_straddles_weight_change;
            let [canary, stable] = [wanted.canary, wanted.stable].map(|[requests, errors]| counts(requests, errors));
            let found =
                test.round(&terms, &dispersion, &Round { seconds: run.interval_s, canary, stable, straddles_weight_change });
            let place = format!("{}, round {index}: {} and not {}", run.name, found.ln_m, wanted.ln_m);
            assert!((found.ln_m - wanted.ln_m).abs() < 1e-6, "{place}");
            let answers = (has_failed(&[found.ln_m], run.alpha), found.both_over_budget, found.accept);
            assert_eq!(answers, (wanted.failed, wanted.both_over_budget, wanted.accept), "{place}");
            assert_eq!(Test::from_text(&test.to_text()).as_ref(), Some(&test), "{place}");
            test = Test::from_text(&test.to_text()).unwrap();
        }
    }
}

proptest! {
    /// Protects: verdicts from restarts. The text of any state, in less than 1.5 KB, reads back as the very same state;
    /// and whatever the counts, the evidence stays a number.
    #[test]
    fn state_survives_as_text(
        rounds in prop::collection::vec((0.0..1e12_f64, 0.0..=1.0_f64, 0.0..1e12_f64, 0.0..=1.0_f64, 0.1..1e5_f64, any::<bool>()), 1..40)
    ) {
        let mut test = Test::new();
        for (canary, bad, stable, bad_stable, seconds, straddles_weight_change) in rounds {
            let [canary, stable] = [(canary, bad), (stable, bad_stable)].map(|(n, p)| counts(n.floor(), (n * p).floor()));
            let reading = test.round(&TERMS, &Dispersion::UNKNOWN, &Round { seconds, canary, stable, straddles_weight_change });
            prop_assert!(reading.ln_m.is_finite());
        }
        let text = test.to_text();
        prop_assert!(text.len() < 1500, "{}", text.len());
        prop_assert_eq!(Test::from_text(&text), Some(test));
    }
}

/// Protects: a ledger that somebody edited, or that another version wrote: it is not half read.
#[test]
fn other_texts_are_refused() {
    let text = Test::new().to_text();
    let longer = format!("{text} 1");
    let shorter = text.rsplit_once(' ').unwrap().0.to_owned();
    let infinite = text.replacen(" 0 ", " inf ", 1);
    let other_form = text.replacen('1', "2", 1);
    let words = text.replacen(" 0 ", " zero ", 1);
    for wrong in ["", "1", &longer, &shorter, &infinite, &other_form, &words] {
        assert_eq!(Test::from_text(wrong), None, "{wrong}");
    }
}

/// Protects: good canaries from one bad scrape. However large a difference is, one round brings half of what a verdict
/// needs; the second brings the rest, and the guard's landing exactly on the threshold is a verdict.
#[test]
fn no_single_round_decides() {
    let mut test = Test::new();
    let all_fail = round((10_000.0, 10_000.0), (90_000.0, 0.0));
    let first = test.round(&TERMS, &Dispersion::NONE, &all_fail);
    assert!((first.ln_m - TERMS.threshold() / 2.0).abs() < 1e-9, "{first:?}");
    assert!(!has_failed(&[first.ln_m], TERMS.alpha));
    let second = test.round(&TERMS, &Dispersion::NONE, &all_fail);
    assert!(has_failed(&[second.ln_m], TERMS.alpha), "{second:?}");
}

/// Protects: alpha for the attempt. Evidence is averaged over all metrics, those that have not begun included.
#[test]
fn several_metrics_share_alpha() {
    let threshold = 100.0_f64.ln();
    let one_of_three = |ln_m: f64| has_failed(&[ln_m, 0.0, 0.0], 0.01);
    assert_eq!((has_failed(&[threshold], 0.01), has_failed(&[threshold - 1e-6], 0.01)), (true, false));
    // (298 + 1 + 1) / 3 = 100.
    assert_eq!((one_of_three(298.0_f64.ln()), one_of_three(297.9_f64.ln())), (true, false));
    assert!(has_failed(&[1e6, -1e6], 0.01), "nothing overflows");
    assert!(!has_failed(&[], 0.01));
}

/// Protects: a day under way. The evidence of thousands of quiet rounds neither drifts nor underflows, and a fault at the
/// end of the day is found as fast as one in the first hour.
#[test]
fn a_quiet_day_then_a_fault() {
    let late = |rounds: usize| {
        let mut test = Test::new();
        for _ in 0..rounds {
            assert!(test.round(&TERMS, &Dispersion::NONE, &round((1000.0, 1.0), (9000.0, 9.0))).ln_m < 0.0);
        }
        let failed = (1..20).find(|_| {
            has_failed(&[test.round(&TERMS, &Dispersion::NONE, &round((150.0, 8.0), (1350.0, 1.0))).ln_m], TERMS.alpha)
        });
        failed.unwrap()
    };
    assert_eq!((late(240), late(5760)), (3, 3));
}

/// Protects: rollouts in a shared outage. It begins when both arms are over budget beyond doubt, whatever the canary's
/// evidence, and ends when stable is well again, however long it lasted.
#[test]
fn a_shared_outage_begins_and_ends() {
    let mut test = Test::new();
    let mut run = |how_often: usize, errors: f64| {
        let bad = round((150.0, 15.0 * errors), (1350.0, 135.0 * errors));
        (0..how_often).map(|_| (test.round(&TERMS, &Dispersion::NONE, &bad).ln_m < 0.0, test.is_shared_outage())).last().unwrap()
    };
    assert_eq!(run(4, 0.0), (true, false));
    assert_eq!(run(2, 1.0), (true, true));
    assert_eq!(run(400, 1.0), (true, true));
    assert!(run(1, 0.0).1);
    assert_eq!(run(3, 0.0), (true, false));
}

/// Protects: weights from each other. A canary is accepted on what it did at this weight, at the earliest after a whole
/// round of it; the evidence against it goes on.
#[test]
fn each_weight_is_accepted_anew() {
    let good = round((1000.0, 0.0), (9000.0, 9.0));
    let straddling = Round { straddles_weight_change: true, ..good };
    let mut test = Test::new();
    assert!(test.round(&TERMS, &Dispersion::NONE, &straddling).accept);
    assert!(!test.accepts(), "not within the round in which the weight changed");
    test.round(&TERMS, &Dispersion::NONE, &good);
    assert!(test.accepts());
    let before = test.ln_m();
    test.begin_weight();
    assert_eq!((test.accepts(), test.ln_m(), test.at_this_weight()), (false, before, [Counts::default(); 2]));
    assert_eq!(test.total(), [counts(2000.0, 0.0), counts(18_000.0, 18.0)]);
    test.round(&TERMS, &Dispersion::NONE, &round((1000.0, 100.0), (9000.0, 9.0)));
    assert!(!test.accepts(), "a canary over budget");
}

/// Protects: the last check before promotion. With all traffic on the canary there is no stable to compare with, and the
/// budget itself decides; with some traffic on stable there is.
#[test]
fn idle_stable() {
    let fault = |stable: f64| {
        let mut test = Test::new();
        let all = round((1500.0, 75.0), (stable, 0.0));
        (1..9).find(|_| has_failed(&[test.round(&TERMS, &Dispersion::NONE, &all).ln_m], TERMS.alpha))
    };
    assert_eq!(fault(0.0), Some(2));
    // Two of three requests each: errors of the canary only.
    assert_eq!(fault(750.0), Some(2));
    // Within the budget, idle stable: never.
    let mut test = Test::new();
    let good = round((1500.0, 7.0), (0.0, 0.0));
    assert!((0..240).all(|_| test.round(&TERMS, &Dispersion::NONE, &good).ln_m < 1.0));
}

/// Protects: cold starts. In warm-up three times stable's errors are fine; a canary that fails altogether is not.
#[test]
fn warm_up_is_laxer_and_not_blind() {
    let terms = Terms { warm_up: 60.0, ..TERMS };
    let first_failure = |terms: &Terms, errors: f64| {
        let mut test = Test::new();
        let cold = round((1500.0, errors), (13_500.0, 135.0));
        (1..=4).find(|_| has_failed(&[test.round(terms, &Dispersion::NONE, &cold).ln_m], terms.alpha))
    };
    assert_eq!((first_failure(&TERMS, 45.0), first_failure(&terms, 45.0)), (Some(2), None));
    assert_eq!(first_failure(&terms, 900.0), Some(2));
}

fn history(errors: impl Fn(usize) -> f64, pods: impl Fn(f64) -> Vec<Counts>) -> Dispersion {
    let scrape = |index: usize| {
        let errors = errors(index);
        Scrape { at: 15.0 * index as f64, counts: counts(100.0, errors), pods: pods(errors) }
    };
    Dispersion::from_history(&(0..240).map(scrape).collect::<Vec<_>>())
}

/// Protects: services whose errors come in bunches, and those that have none, from a wrong guess. Worked by hand: the sums
/// over four scrapes of 0, 0, 0, 8 do not vary, the scrapes do.
#[test]
fn dispersion_of_a_history() {
    let steady = history(|_| 2.0, |_| Vec::new());
    assert_eq!(steady, Dispersion { per_request: 0.0, per_pod: 1.0, source: DispersionSource::History });

    // 40 scrapes: ten of 8, thirty of 0; mean 2, variance (10 * 36 + 30 * 4) / 39.
    let bunches = history(|index| if index % 4 == 3 { 8.0 } else { 0.0 }, |_| Vec::new());
    let variance: f64 = 480.0 / 39.0;
    assert!((bunches.per_request - (variance / 2.0 - 1.0) / 100.0).abs() < 1e-12, "{bunches:?}");

    // Bunches of four scrapes show in the sums of four only: 32 and 0, mean 16, variance 2560 / 9.
    let longer = history(|index| if (index / 4) % 2 == 0 { 8.0 } else { 0.0 }, |_| Vec::new());
    assert!((longer.per_request - (2560.0 / 9.0 / 16.0 - 1.0) / 100.0).abs() < 1e-12, "{longer:?}");

    // An incident fills one block: it is left out.
    let incident = history(|index| if (80..84).contains(&index) { 90.0 } else { 2.0 }, |_| Vec::new());
    assert_eq!(incident, steady);

    let quiet = history(|index| if index < 19 { 1.0 } else { 0.0 }, |_| Vec::new());
    assert_eq!(quiet, Dispersion { per_request: 0.005, per_pod: 1.5, source: DispersionSource::FewErrors });

    // All errors on one of two equal pods: (2 - 1)^2 + (0 - 1)^2 over 2 * 1 * (1 - 1/2).
    let one_pod = history(|_| 2.0, |errors| vec![counts(50.0, errors), counts(50.0, 0.0)]);
    assert_eq!((one_pod.per_request, one_pod.per_pod), (0.0, 2.0));

    assert_eq!(Dispersion::from_history(&[]), Dispersion::UNKNOWN);
    let scrape = |index: usize| Scrape { at: 15.0 * index as f64, counts: counts(100.0, 2.0), pods: Vec::new() };
    assert_eq!(Dispersion::from_history(&(0..80).map(scrape).collect::<Vec<_>>()), Dispersion::UNKNOWN, "20 minutes");
}

/// Protects: services without history. What is assumed of them is never less than 1.5, grows with what is seen, and uses
/// only what was seen before the round it is used for.
#[test]
fn dispersion_without_history() {
    let mut running = Running::default();
    let next = round((100.0, 0.0), (900.0, 0.0));
    for errors in [0.0, 0.0, 12.0] {
        running.add(counts(900.0, errors));
        assert_eq!(running.phi(&Dispersion::UNKNOWN, &next), [1.5, 1.5]);
    }
    running.add(counts(900.0, 12.0));
    // 0, 0, 12, 12: mean 6, variance 48, so 7 more per 900 requests.
    let [canary, stable] = running.phi(&Dispersion::UNKNOWN, &next);
    assert!((canary - (1.0 + 7.0 / 9.0)).abs() < 1e-12 && (stable - 8.0).abs() < 1e-12, "{canary} {stable}");
    assert_eq!(running.phi(&Dispersion::NONE, &next), [1.0, 1.0]);
    let many = Dispersion { per_request: 1.0, ..Dispersion::NONE };
    assert_eq!(running.phi(&many, &next), [100.0, 100.0]);
}
