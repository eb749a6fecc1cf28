//! Who decides: the shipped procedure, and models of what Argo Rollouts and Flagger do by default.

use tidegate::analysis::counting::Part;
use tidegate::analysis::ledger::Ledger;
use tidegate::analysis::sequential::{Terms, has_failed};

use super::world::{Attempt, EPOCH};

/// What an attempt came to: the second at which it was rolled back, else accepted or promoted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Rolled back after so many seconds.
    pub stopped: Option<f64>,
    /// Ours: accepted for the first time after so many of the canary's requests.
    pub accepted: Option<f64>,
    /// The canary's failed requests until it was rolled back.
    pub bad: f64,
    /// Promoted before the fault was found.
    pub promoted: bool,
}

/// The SLO of the table: 1 %, everything else as it is by default.
pub const TERMS: Terms =
    Terms { budget: 0.01, max_ratio_to_stable: 1.5, ignore_below: 0.0005, warm_up: 0.0, alpha: 0.01, beta: 0.05 };

/// The shipped procedure: counting, test and verdict as the controller has them. All samples are there at once, which
/// gives the same rounds as reading them one scrape at a time (a property test of the counting).
pub fn ours(attempt: &Attempt, terms: &Terms, interval: f64) -> Outcome {
    let mut ledger = Ledger::new(EPOCH);
    let closed = ledger.counter.advance(&attempt.window, &Default::default(), Part::Errors, (interval * 1000.0) as i64);
    let mut outcome = Outcome::default();
    let mut requests = 0.0;
    for round in closed {
        requests += round.canary.requests;
        let reading = ledger.take(terms, &attempt.dispersion, &round, Some(EPOCH));
        if ledger.accepts(Some(EPOCH)) {
            outcome.accepted.get_or_insert(requests);
        }
        if has_failed(&[reading.ln_m], terms.alpha) {
            let at = (round.to - EPOCH) as f64 / 1000.0;
            outcome.stopped = Some(at);
            outcome.bad = bad_until(attempt, at);
            break;
        }
    }
    outcome
}

/// Requests and errors of the canary in a window that ends at `at`, in seconds, at `scale` times its traffic.
fn seen(attempt: &Attempt, from: f64, at: f64) -> (f64, f64) {
    let inside = attempt.canary.iter().filter(|piece| piece.0 > from && piece.0 <= at);
    inside.fold((0.0, 0.0), |sum, piece| (sum.0 + piece.1, sum.1 + piece.2))
}

fn bad_until(attempt: &Attempt, at: f64) -> f64 {
    seen(attempt, 0.0, at).1
}

/// Argo Rollouts with the analysis of its documentation, for an SLO of 99 %: once a minute the success ratio of the last
/// minute, `successCondition: result[0] >= 0.99`, `failureLimit: 3`. A query without any success has an empty numerator and
/// therefore no value, which is an error: five in a row (`consecutiveErrorLimit: 4`) stop the rollout.
pub fn argo(attempt: &Attempt, length: f64) -> Outcome {
    let (mut failed, mut errors, mut at) = (0, 0, 0.0);
    while at <= length {
        let (requests, bad) = seen(attempt, at - 60.0, at);
        if requests <= 0.0 || bad >= requests {
            errors += 1;
        } else {
            errors = 0;
            failed += i32::from(1.0 - bad / requests < 0.99);
        }
        if failed > 3 || errors > 4 {
            return Outcome { stopped: Some(at), bad: bad_until(attempt, at), ..Outcome::default() };
        }
        at += 60.0;
    }
    Outcome::default()
}

/// Flagger with the analysis of its documentation: once a minute the success ratio of the last minute must be at least
/// 99 %; five failed checks roll back, at the tick after the fifth; each good one adds 10 % of the traffic, and after 50 %
/// it promotes. Its canary's traffic is scaled from that of a fixed 10 %, with the errors that were drawn.
pub fn flagger(attempt: &Attempt, length: f64) -> Outcome {
    let (mut failed, mut weight, mut at) = (0, 1.0, 60.0);
    while at <= length {
        if failed >= 5 {
            return Outcome { stopped: Some(at), bad: bad_until(attempt, at), ..Outcome::default() };
        }
        let (requests, bad) = seen(attempt, at - 60.0, at);
        if requests > 0.0 && 1.0 - bad / requests >= 0.99 {
            weight += 1.0;
        } else if requests > 0.0 {
            failed += 1;
        }
        if weight > 5.0 {
            return Outcome { promoted: true, ..Outcome::default() };
        }
        at += 60.0;
    }
    Outcome::default()
}
