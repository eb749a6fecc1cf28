//! What must hold in every state the cluster can be seen in. Judges states, not plans, and is built from none of the
//! engine's code: it would otherwise repeat the engine's mistakes.
//!
//! The numbers are those of the project's list of invariants (docs/safety.md).

use std::fmt;

use serde_json::Value;

use super::observed::Observed;
use super::spec::{Step, ValidatedRollout};
use crate::api::analysis::RunPhase;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Number of the invariant.
    pub number: u8,
    /// What is wrong, with the values.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.number, self.what)
    }
}

/// One state: the Rollout as recorded, and the cluster as it is.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// The Rollout with its recorded status.
    pub rollout: &'a ValidatedRollout,
    /// The cluster.
    pub cluster: &'a Observed,
}

/// Largest canary percentage over all rules of all routes that name both Services, and whether all sums are 100.
fn canary_share(state: State<'_>) -> (i64, bool) {
    let (mut largest, mut sums) = (0, true);
    for route in state.cluster.routes.iter().filter_map(|(_, route)| route.as_ref()) {
        let none = Vec::new();
        for rule in route.pointer("/spec/rules").and_then(Value::as_array).unwrap_or(&none) {
            let weight = |name: &str| {
                let backends = rule.get("backendRefs").and_then(Value::as_array)?;
                let backend = backends.iter().find(|b| b.get("name").and_then(Value::as_str) == Some(name))?;
                Some(backend.get("weight").and_then(Value::as_i64).unwrap_or(1))
            };
            if let (Some(canary), Some(stable)) = (weight(&state.rollout.canary_service), weight(&state.rollout.stable_service)) {
                sums &= canary + stable == 100 && (0..=100).contains(&canary);
                largest = largest.max(if canary + stable == 0 { 0 } else { canary * 100 / (canary + stable) });
            }
        }
    }
    (largest, sums)
}

fn wanted(state: State<'_>, hash: &str) -> i32 {
    state.cluster.replica_sets.iter().filter(|set| set.hash == hash).map(|set| set.wanted).sum()
}

fn ready(state: State<'_>, hash: &str) -> i32 {
    state.cluster.replica_sets.iter().filter(|set| set.hash == hash).map(|set| set.ready).sum()
}

fn selector(state: State<'_>, stable: bool) -> Option<&str> {
    let service = if stable { &state.cluster.stable_service } else { &state.cluster.canary_service };
    service.as_ref().and_then(|service| service.hash.as_deref())
}

fn held(state: State<'_>) -> bool {
    state.rollout.status.holds.iter().any(|hold| hold.digest == state.rollout.digest)
}

/// The weight of the recorded step: that of the last `setWeight` up to it; 100 once all steps are recorded as passed.
fn permitted(state: State<'_>) -> i64 {
    let status = &state.rollout.status;
    if status.promoting.is_some() {
        return 100;
    }
    let at = status.current_step_index.unwrap_or(0);
    let mut weight = 0;
    for (index, step) in (0_i32..).zip(&state.rollout.steps) {
        if index > at {
            return weight;
        }
        if let Step::SetWeight(to) = step {
            weight = i64::from(*to);
        }
    }
    if usize::try_from(at).is_ok_and(|at| at >= state.rollout.steps.len()) { 100 } else { weight }
}

/// Checks what one effect, or one event in the cluster, made of a state. `ours` says that it was an effect of the engine:
/// what other people do to a route or a ReplicaSet is not ours to answer for, but what we make of it is.
#[must_use]
pub fn check(before: State<'_>, after: State<'_>, ours: bool) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut say = |number, what: String| found.push(Violation { number, what });
    let (weight_before, _) = canary_share(before);
    let (weight, sums) = canary_share(after);
    let status = &after.rollout.status;
    let stable = status.stable.as_ref().map(|stable| stable.hash.clone());

    if ours && weight > weight_before {
        if weight > permitted(after) {
            say(1, format!("weight rose to {weight} while the recorded step permits {}", permitted(after)));
        }
        if status.promoting.is_none() && held(after) {
            say(24, format!("weight rose to {weight} for content that is held"));
        }
        let behind = selector(after, false).unwrap_or("").to_owned();
        let needed = (weight * i64::from(after.rollout.replicas) + 99) / 100;
        if i64::from(ready(after, &behind)) < needed {
            say(3, format!("weight rose to {weight} with {} of {needed} ready canary pods", ready(after, &behind)));
        }
        if stable.as_deref() != Some(&behind) && after.rollout.hash != behind {
            say(24, format!("weight rose to {weight} for revision {behind}, which the spec does not ask for"));
        }
    }
    if ours && weight != weight_before && !sums {
        say(2, "weights of a rule do not sum to 100".to_owned());
    }
    if ours {
        for number_and_what in capacity(before, after, weight) {
            say(number_and_what.0, number_and_what.1);
        }
    }
    for number_and_what in records(before, after) {
        say(number_and_what.0, number_and_what.1);
    }
    found
}

/// Invariants 4 to 6: pods that carry traffic, or may have to.
fn capacity(before: State<'_>, after: State<'_>, weight: i64) -> Vec<(u8, String)> {
    let mut found = Vec::new();
    let hashes: Vec<&str> = before.cluster.replica_sets.iter().map(|set| set.hash.as_str()).collect();
    for hash in hashes {
        let (from, to) = (wanted(before, hash), wanted(after, hash));
        if to >= from {
            continue;
        }
        let stable = after.rollout.status.stable.as_ref().is_some_and(|stable| stable.hash == hash);
        if stable && to < after.rollout.replicas {
            found.push((4, format!("stable {hash} was scaled to {to} of {}", after.rollout.replicas)));
        }
        for service in [true, false] {
            if to == 0 && selector(after, service) == Some(hash) && after.rollout.replicas > 0 && (service || weight > 0) {
                found.push((5, format!("{hash} was scaled to 0 while a Service with traffic points at it")));
            }
        }
        let verified = after.rollout.status.weights.as_ref().is_some_and(|weights| weights.verified);
        if held(after) && hash == after.rollout.hash && !stable && (weight > 0 || !verified) {
            found.push((6, format!("the aborted canary was scaled down at weight {weight}, verified {verified}")));
        }
    }
    let target = after.rollout.hash.as_str();
    let is_stable = after.rollout.status.stable.as_ref().is_some_and(|stable| stable.hash == target);
    if held(after) && !is_stable && wanted(after, target) > wanted(before, target) && after.rollout.status.promoting.is_none() {
        found.push((6, "a held canary grew".to_owned()));
    }
    found
}

/// Invariants 8, 10, 12: what the record may say after what it said.
fn records(before: State<'_>, after: State<'_>) -> Vec<(u8, String)> {
    let mut found = Vec::new();
    let (old, new) = (&before.rollout.status, &after.rollout.status);
    let hash = |status: &crate::api::rollout::RolloutStatus| status.stable.as_ref().map(|stable| stable.hash.clone());
    if hash(old).is_some() && hash(old) != hash(new) {
        let promoted = old.promoting.as_ref().map(|promoting| promoting.hash.clone());
        if hash(new) != promoted {
            found.push((8, format!("stable became {:?} without a recorded promotion ({promoted:?})", hash(new))));
        }
    }
    let same_attempt =
        old.canary.as_ref().map(|c| c.revision) == new.canary.as_ref().map(|c| c.revision) && old.attempt == new.attempt;
    if same_attempt && new.canary.is_some() {
        if new.current_step_index < old.current_step_index {
            found.push((12, format!("the step went back from {:?} to {:?}", old.current_step_index, new.current_step_index)));
        }
        let asked = new.requests.first().map(|answer| &answer.id) != old.requests.first().map(|answer| &answer.id);
        let advanced = new.current_step_index > old.current_step_index || (new.promoting.is_some() && old.promoting.is_none());
        if advanced && !asked && old.canary.is_some() && !new.promote_full {
            found.extend(evidence(before, old.canary.as_ref().map_or(0, |canary| canary.revision), old.attempt.unwrap_or(1)));
        }
    }
    found
}

/// No step is left while an analysis of this revision and attempt failed or has no verdict it needs.
fn evidence(state: State<'_>, revision: i64, attempt: i32) -> Vec<(u8, String)> {
    let of = |run: &&super::observed::Run| {
        run.subject.revision == revision && run.subject.attempt == attempt && run.subject.rollout_uid == state.rollout.uid
    };
    let index = state.rollout.status.current_step_index;
    let mut found = Vec::new();
    for run in state.cluster.runs.iter().filter(of) {
        let phase = run.status.phase;
        if matches!(phase, RunPhase::Failed | RunPhase::Error | RunPhase::Inconclusive) && run.subject.step.is_none() {
            found.push((10, format!("a step was left while the background analysis was {phase:?}")));
        }
        if run.subject.step.is_some() && run.subject.step == index && phase != RunPhase::Successful {
            found.push((10, format!("an analysis step was left while its run was {phase:?}")));
        }
    }
    found
}
