//! What must hold in every state the cluster can be seen in. Judges states, not plans, and is built from none of the
//! engine's code: it would otherwise repeat the engine's mistakes.
//!
//! The numbers are those of the project's list of invariants (docs/safety.md). `traffic` reads off routes and Services who
//! may be getting requests, `capacity` judges pods and selectors, `ratio` the same where
//! pods are the traffic, `record` judges what the status says.

mod capacity;
mod ratio;
mod record;
mod traffic;

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::observed::Observed;
use super::spec::{Step, ValidatedRollout};
use crate::traffic::gateway::Directs;

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
    /// Every version of every route that a gateway may be serving. Without it, the present ones are taken.
    pub serving: &'a [Value],
    /// For how long the present step has been paused, by a clock that nobody sets; none when that is not known.
    pub paused_for: Option<Duration>,
}

impl<'a> State<'a> {
    /// A state of which no more is known than an observer sees.
    #[must_use]
    pub fn seen(rollout: &'a ValidatedRollout, cluster: &'a Observed) -> Self {
        Self { rollout, cluster, serving: &[], paused_for: None }
    }
}

/// Who changed a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The engine, which saw the state as it was before.
    Engine,
    /// The engine, on an older look: a stale read, or a controller that stood still while another one acted. What it does
    /// must not hurt; that it does not fit the latest state is no fault.
    Late,
    /// The engine, on a look from before somebody else changed routes, Services or ReplicaSets. No test of one object can
    /// see a change of another.
    Overtaken,
    /// Anybody else. What others do is not ours to answer for, but what we make of it is.
    Other,
}

/// What an actor who did not see the latest state has to answer for all the same.
const FENCED: &[u8] = &[1, 4, 5, 8, 12, 13, 24];
/// The same when others changed things meanwhile: the record is compared and swapped whatever happens.
const RECORDED: &[u8] = &[8, 12, 13];

/// Checks what one effect, or one event in the cluster, made of a state.
#[must_use]
pub fn check(before: State<'_>, after: State<'_>, actor: Actor) -> Vec<Violation> {
    let mut found = Findings::default();
    if actor != Actor::Other {
        weight_rose(before, after, &mut found);
        managed_rules(before, after, &mut found);
        capacity::check(before, after, &mut found);
        ratio::check(before, after, &mut found);
    }
    record::check(before, after, &mut found);
    let answers_for = |number: u8| match actor {
        Actor::Engine | Actor::Other => true,
        Actor::Late => FENCED.contains(&number),
        Actor::Overtaken => RECORDED.contains(&number),
    };
    found.0.retain(|violation| answers_for(violation.number));
    found.0
}

#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn say(&mut self, number: u8, what: String) {
        self.0.push(Violation { number, what });
    }
}

fn wanted(state: State<'_>, hash: &str) -> i32 {
    state.cluster.replica_sets.iter().filter(|set| set.hash == hash).map(|set| set.wanted).sum()
}

fn ready(state: State<'_>, hash: &str) -> i32 {
    state.cluster.replica_sets.iter().filter(|set| set.hash == hash).map(|set| set.ready).sum()
}

/// The hash in the selector of the stable (or the canary) Service.
fn selector(state: State<'_>, stable: bool) -> Option<&str> {
    let service = if stable { &state.cluster.stable_service } else { &state.cluster.canary_service };
    service.as_ref().and_then(|service| service.hash.as_deref())
}

fn held(state: State<'_>) -> bool {
    state.rollout.status.holds.iter().any(|hold| hold.digest == state.rollout.digest)
}

fn stable_hash(state: State<'_>) -> Option<&str> {
    state.rollout.status.stable.as_ref().map(|stable| stable.hash.as_str())
}

/// How many pods a share of the traffic needs.
fn pods_for(state: State<'_>, share: i64) -> i64 {
    let whole = i64::from(state.rollout.whole);
    (share * i64::from(state.rollout.replicas) + whole - 1) / whole
}

/// The weight of a step: that of the last `setWeight` up to it; everything once all steps are passed.
fn weight_of_step(state: State<'_>, at: i32) -> i64 {
    let mut weight = 0;
    for (index, step) in (0_i32..).zip(&state.rollout.steps) {
        if index > at {
            return weight;
        }
        if let Step::SetWeight(to) = step {
            weight = i64::from(*to);
        }
    }
    if usize::try_from(at).is_ok_and(|at| at >= state.rollout.steps.len()) { i64::from(state.rollout.whole) } else { weight }
}

/// The weight that the recorded step permits.
fn permitted(state: State<'_>) -> i64 {
    let status = &state.rollout.status;
    if status.promoting.is_some() {
        return i64::from(state.rollout.whole);
    }
    weight_of_step(state, status.current_step_index.unwrap_or(0))
}

/// The names of the rules that the recorded step permits: of each, whether the last step for it up to there matches anything.
fn permitted_rules(state: State<'_>) -> Vec<&str> {
    let at = state.rollout.status.current_step_index.and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
    let mut names: Vec<&str> = Vec::new();
    for step in state.rollout.steps.iter().take(at + 1) {
        if let Some(rule) = step.rule() {
            names.retain(|name| *name != rule.name);
            if rule.what != Directs::Nothing {
                names.push(&rule.name);
            }
        }
    }
    if at >= state.rollout.steps.len() { Vec::new() } else { names }
}

/// Invariants 1, 3 and 24 for requests that go to the canary beside its weight, and 6: none is left when it is over.
fn managed_rules(before: State<'_>, after: State<'_>, found: &mut Findings) {
    let status = &after.rollout.status;
    if before.rollout.status.canary.is_some() && status.canary.is_none() && traffic::possible(after).by_rule {
        found.say(6, "the record says that nothing is under way while a managed route is there".to_owned());
    }
    if !traffic::a_named_rule_is_new(before, after) {
        return;
    }
    if permitted_rules(after).is_empty() || status.promoting.is_some() || status.canary.is_none() {
        found.say(1, "a managed route was written that the recorded step does not permit".to_owned());
    }
    if held(after) {
        found.say(24, "a managed route was written for content that is held".to_owned());
    }
    let behind = selector(after, false).unwrap_or("");
    if ready(after, behind) == 0 {
        found.say(3, "a managed route was written without a ready canary pod".to_owned());
    }
    if after.rollout.hash != behind {
        found.say(24, format!("a managed route was written for revision {behind}, which the spec does not ask for"));
    }
}

/// Invariants 1, 2, 3 and 24: more traffic for the canary.
fn weight_rose(before: State<'_>, after: State<'_>, found: &mut Findings) {
    if !traffic::written_sums_up(before, after) {
        found.say(2, format!("weights of a rule do not sum to {}", after.rollout.whole));
    }
    let weight = traffic::live(after).canary;
    let rose = traffic::a_rule_rose(before, after);
    if !rose {
        return;
    }
    let status = &after.rollout.status;
    if weight > permitted(after) {
        found.say(1, format!("weight rose to {weight} while the recorded step permits {}", permitted(after)));
    }
    if status.promoting.is_none() && held(after) {
        found.say(24, format!("weight rose to {weight} for content that is held"));
    }
    let behind = selector(after, false).unwrap_or("");
    let needed = pods_for(after, weight);
    if i64::from(ready(after, behind)) < needed {
        found.say(3, format!("weight rose to {weight} with {} of {needed} ready canary pods", ready(after, behind)));
    }
    let routed = after.cluster.canary_service.as_ref().map(|service| &service.ready_endpoints);
    let (right, all) = routed.map_or((0, 0), |ready| (ready.get(behind).copied().unwrap_or(0), ready.values().sum::<i32>()));
    if i64::from(right) < needed || right != all {
        found.say(3, format!("weight rose to {weight} while {right} of {all} endpoints are pods of {behind}; it needs {needed}"));
    }
    if stable_hash(after) != Some(behind) && after.rollout.hash != behind {
        found.say(24, format!("weight rose to {weight} for revision {behind}, which the spec does not ask for"));
    }
}
