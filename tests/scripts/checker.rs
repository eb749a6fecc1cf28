//! The invariant checker itself: each broken state is found, under its own number. A checker that finds nothing proves
//! nothing.

use rstest::rstest;
use serde_json::json;
use tidegate::api::analysis::RunPhase;
use tidegate::api::rollout::{RouteId, RouteKind};
use tidegate::rollout::effect::Effect;
use tidegate::rollout::invariant::{self, Actor, State};
use tidegate::rollout::observed::Observed;
use tidegate::rollout::spec::ValidatedRollout;

use crate::world;

type Seen = (ValidatedRollout, Observed);

/// A canary at 10 %, in its first pause; or the same after it was aborted and its traffic went.
fn state(aborted: bool) -> Seen {
    let story = "measure good\nwait 10s\ndeploy shop:2\nwait 20s";
    let story = if aborted { format!("{story}\nabort\nwait 5s") } else { story.to_owned() };
    world::seen(&story)
}

fn state_of(seen: &Seen) -> State<'_> {
    State::seen(&seen.0, &seen.1)
}

fn found(before: &Seen, after: &Seen) -> Vec<u8> {
    let violations = invariant::check(state_of(before), state_of(after), Actor::Engine);
    violations.into_iter().map(|violation| violation.number).collect()
}

fn set_weight(seen: &mut Seen, canary: i64, stable: i64) {
    let route = seen.1.routes[0].1.as_mut().unwrap();
    route["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(stable);
    route["spec"]["rules"][0]["backendRefs"][1]["weight"] = json!(canary);
}

fn set(seen: &mut Seen, stable: bool) -> &mut tidegate::rollout::observed::ReplicaSet {
    let hash = if stable { seen.0.status.stable.as_ref().unwrap().hash.clone() } else { seen.0.hash.clone() };
    seen.1.replica_sets.iter_mut().find(|set| set.hash == hash).unwrap()
}

/// Protects: every invariant from a checker that looks away.
#[rstest]
#[case::weight_above_the_step(1, false, |seen: &mut Seen| { set(seen, false).ready = 4; set_weight(seen, 60, 40) })]
#[case::sums(2, false, |seen: &mut Seen| set_weight(seen, 5, 90))]
#[case::pods_for_the_weight(3, false, |seen: &mut Seen| { seen.0.status.current_step_index = Some(2); set_weight(seen, 50, 50) })]
#[case::stable_shrinks(4, false, |seen: &mut Seen| set(seen, true).wanted = 3)]
#[case::carries_traffic(5, false, |seen: &mut Seen| set(seen, false).wanted = 0)]
#[case::aborted_canary_grows(6, true, |seen: &mut Seen| set(seen, false).wanted = 2)]
#[case::aborted_canary_goes_early(6, true, |seen: &mut Seen| {
    seen.0.status.weights.as_mut().unwrap().verified = false;
    set(seen, false).wanted = 0;
})]
#[case::stable_without_promotion(8, false, |seen: &mut Seen| seen.0.status.stable = seen.0.status.canary.clone())]
#[case::step_left_on_a_failed_run(10, false, |seen: &mut Seen| seen.0.status.current_step_index = Some(2))]
#[case::step_goes_back(12, false, |seen: &mut Seen| seen.0.status.current_step_index = Some(0))]
#[case::held_content_gets_traffic(24, true, |seen: &mut Seen| { set(seen, false).ready = 4; set_weight(seen, 10, 90) })]
fn broken(#[case] number: u8, #[case] aborted: bool, #[case] break_it: fn(&mut Seen)) {
    let mut before = state(aborted);
    if number == 10 {
        before.1.runs[0].status.phase = RunPhase::Failed;
    }
    assert!(found(&before, &before.clone()).is_empty(), "nothing is wrong before");
    let mut after = before.clone();
    break_it(&mut after);
    assert!(found(&before, &after).contains(&number), "invariant {number}: {:?}", found(&before, &after));
}

/// Protects: the bounds where pods are the traffic, from a checker that looks away.
#[rstest]
#[case::more_than_the_step(27, |seen: &mut Seen| set(seen, false).wanted = 2)]
#[case::more_than_the_surge(27, |seen: &mut Seen| set(seen, true).wanted = 13)]
#[case::too_few_available(27, |seen: &mut Seen| {
    let stable = set(seen, true);
    (stable.wanted, stable.available) = (5, 5);
})]
#[case::another_revision_grows(27, |seen: &mut Seen| set(seen, false).hash = "another".to_owned())]
fn broken_without_a_router(#[case] number: u8, #[case] break_it: fn(&mut Seen)) {
    let header = r#"#! {"spec": {"replicas": 10, "strategy": {"canary": {"trafficRouting": null}}}}"#;
    let before = world::seen(&format!("{header}\nmeasure good\nwait 10s\ndeploy shop:2\nwait 20s"));
    assert!(found(&before, &before.clone()).is_empty(), "nothing is wrong before");
    let mut after = before.clone();
    break_it(&mut after);
    assert!(found(&before, &after).contains(&number), "invariant {number}: {:?}", found(&before, &after));
}

/// Protects: on the way back no route goes up. One route of two is at 0 already, and stable cannot carry all yet: the
/// other keeps what stable cannot carry, and the first keeps its 0.
#[test]
fn an_abort_raises_no_route() {
    let story = "measure good\nwait 10s\ndeploy shop:2\nwait 60s\npods 20s\nstable pods 1\nverdict failed bad";
    let (rollout, mut cluster) = world::seen(story);
    let mut second = cluster.routes[0].1.clone().unwrap();
    second["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(100);
    second["spec"]["rules"][0]["backendRefs"][1]["weight"] = json!(0);
    cluster.routes.push((RouteId { kind: RouteKind::Http, name: "second".to_owned() }, Some(second)));
    let effects = tidegate::rollout::decide(&rollout, &cluster).effects;
    let raised = effects.iter().filter(|effect| matches!(effect, Effect::SetWeight { from, to, .. } if to > from));
    assert_eq!(raised.count(), 0, "{effects:?}");
}
