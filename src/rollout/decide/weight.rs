//! Traffic up and down. Up only through gates: ready pods, the Service's selector, its endpoints, the gateway's word.
//! Down at once, as far as stable's ready pods can carry the traffic.

use super::{Draft, Effect, ratio};
use crate::api::condition::rollout as reasons;
use crate::api::rollout::{RolloutPhase, WaitingReason, Weights};
use crate::traffic::gateway::{self, Services};
use serde_json::Value;

fn services<'a>(draft: &Draft<'a>) -> Services<'a> {
    Services { stable: &draft.spec.stable_service, canary: &draft.spec.canary_service }
}

/// Reads the present split off the routes into the draft and its status.
pub(super) fn observe(draft: &mut Draft<'_>) {
    if !draft.spec.routed {
        return ratio::observe(draft);
    }
    let names = services(draft);
    let mut largest = 0;
    let mut exact = true;
    let mut unverified = None;
    for (name, route) in &draft.seen.routes {
        let Some(route) = route else {
            draft.status.weights = None;
            return;
        };
        let Ok(splits) = gateway::splits(route, names) else {
            draft.status.weights = None;
            return;
        };
        largest = largest.max(gateway::canary_weight(&splits));
        if let Err(why) = gateway::verified(route, &draft.seen.gateways) {
            unverified.get_or_insert(format!("HTTPRoute {name}: {why}"));
        }
    }
    for (_, route) in draft.seen.routes.iter().filter_map(|(name, route)| route.as_ref().map(|route| (name, route))) {
        exact &= gateway::splits(route, names).is_ok_and(|splits| gateway::is_at(&splits, largest));
    }
    draft.weight = Some(largest);
    draft.unverified.clone_from(&unverified);
    let verified = exact && unverified.is_none();
    let before = draft.status.weights.as_ref().filter(|w| w.canary == largest && w.verified && verified);
    let verified_at = if verified { before.and_then(|w| w.verified_at.clone()).or_else(|| Some(draft.now())) } else { None };
    draft.status.weights = Some(Weights { canary: largest, stable: 100 - largest, verified, verified_at });
}

/// Says which route is missing or does not fit; false when all routes can be used.
fn route_missing(draft: &mut Draft<'_>) -> bool {
    let names = services(draft);
    for (name, route) in &draft.seen.routes {
        let message = match route {
            None => format!("HTTPRoute {name} does not exist"),
            Some(route) => match gateway::splits(route, names) {
                Err(why) => format!("HTTPRoute {name}: {why}"),
                Ok(_) => continue,
            },
        };
        draft.wait(WaitingReason::WeightVerified, message.clone());
        draft.say(RolloutPhase::Degraded, reasons::ROUTE_MISSING, message);
        return true;
    }
    false
}

/// Says which Service is missing; false when both can be used.
pub(super) fn service_missing(draft: &mut Draft<'_>) -> bool {
    let missing = [
        (&draft.seen.stable_service, &draft.spec.stable_service, "stableService"),
        (&draft.seen.canary_service, &draft.spec.canary_service, "canaryService"),
    ];
    for (service, name, field) in missing.into_iter().filter(|(_, name, _)| !name.is_empty()) {
        let message = match service {
            None => format!("Service {name} ({field}) does not exist"),
            Some(service) if !service.has_selector => {
                format!("Service {name} ({field}) has no selector, so it cannot be pointed at a revision")
            }
            Some(_) => continue,
        };
        draft.wait(WaitingReason::PodsReady, message.clone());
        draft.say(RolloutPhase::Degraded, reasons::SERVICE_MISSING, message);
        return true;
    }
    false
}

/// For each route that is not at `weight`: the canary's share in it now, and the effect that brings it there.
fn patches(draft: &Draft<'_>, weight: i32) -> Vec<(i32, Effect)> {
    let names = services(draft);
    let patch = |(name, route): &(String, Option<Value>)| {
        let route = route.as_ref()?;
        let from = gateway::canary_weight(&gateway::splits(route, names).ok()?);
        let patch = gateway::patch(route, names, weight).ok()??;
        Some((from, Effect::SetWeight { route: name.clone(), from, to: weight, patch }))
    };
    draft.seen.routes.iter().filter_map(patch).collect()
}

/// Brings all routes to `weight`; what lowers the canary's share goes first of all.
fn set(draft: &mut Draft<'_>, weight: i32) {
    for (from, effect) in patches(draft, weight) {
        if weight > from { draft.raise.push(effect) } else { draft.lower.push(effect) }
    }
}

/// Do all routes say exactly `weight`, label included?
fn all_at(draft: &Draft<'_>, weight: i32) -> bool {
    let names = services(draft);
    draft.seen.routes.iter().all(|(_, route)| {
        route.as_ref().is_some_and(|route| {
            gateway::splits(route, names).is_ok_and(|splits| gateway::is_at(&splits, weight))
                && gateway::label_fits(route, weight)
        })
    })
}

/// The weight is what is wanted, and every gateway confirmed it; otherwise says what it waits for.
fn confirmed(draft: &mut Draft<'_>, weight: i32) -> bool {
    if all_at(draft, weight) && draft.unverified.is_none() {
        return true;
    }
    let detail = draft.unverified.clone().unwrap_or_else(|| format!("weight {weight} % was written just now"));
    draft.wait(WaitingReason::WeightVerified, detail);
    false
}

/// Brings the canary's weight to `wanted`; true once it is there and confirmed.
///
/// A weight that somebody else changed is corrected here, never taken for progress.
pub(super) fn ensure(draft: &mut Draft<'_>, wanted: i32) -> bool {
    if !draft.spec.routed {
        return ratio::ensure(draft, wanted);
    }
    if route_missing(draft) || service_missing(draft) {
        // Other routes may still be lowered: less traffic on the canary is always safe.
        lower_only(draft, wanted);
        return false;
    }
    let current = draft.weight.unwrap_or(0);
    let hash = draft.spec.hash.clone();
    if wanted > 0 && draft.seen.ready(&hash) == 0 && current > 0 {
        set(draft, 0);
        draft.wait_for_pods(draft.spec.pods_for(wanted), "the canary has no ready pod, so it gets no traffic");
        return false;
    }
    if wanted == 0 || current > wanted {
        return come_down(draft, current, wanted);
    }
    if !points_at_canary(draft, &hash, current, wanted) {
        return false;
    }
    if all_at(draft, wanted) {
        return confirmed(draft, wanted);
    }
    if current == wanted {
        // Only a rule or a label is off; the share of traffic does not grow.
        set(draft, wanted);
        return confirmed(draft, wanted);
    }
    let needed = draft.spec.pods_for(wanted);
    let available = draft.seen.replica_set(&hash).map_or(0, |set| set.available.min(set.ready));
    if available < needed {
        let detail = format!("{available} of {needed} canary pods are available for a weight of {wanted} %");
        draft.wait_for_pods(needed, detail);
        return false;
    }
    let serves = draft.seen.canary_service.as_ref().is_some_and(|service| service.serves_only(&hash, needed));
    if !serves {
        let service = &draft.spec.canary_service;
        let detail = format!("Service {service} does not yet route to {needed} ready pods of revision {hash}, and to no others");
        draft.wait(WaitingReason::PodsReady, detail);
        return false;
    }
    set(draft, wanted);
    draft.wait(WaitingReason::WeightVerified, format!("weight {wanted} % was written just now"));
    false
}

/// A step with less traffic than the one before: at once, as far as stable's ready pods can carry it.
fn come_down(draft: &mut Draft<'_>, current: i32, wanted: i32) -> bool {
    let ready = draft.stable_hash().map_or(0, |stable| draft.seen.ready(&stable));
    let canary_ready = draft.seen.ready(&draft.spec.hash);
    let target = wanted.max(current.min(100 - carried_percent(ready, draft.spec.replicas)));
    if target > wanted && canary_ready > 0 {
        lower_only(draft, target);
        let replicas = draft.spec.replicas;
        let detail = format!("{ready} of {replicas} stable pods are ready; the canary keeps {target} % until stable can take it");
        draft.wait(WaitingReason::StableReady, detail);
        return false;
    }
    set(draft, wanted);
    confirmed(draft, wanted)
}

/// The canary Service selects the canary. It is moved there only while its weight is a confirmed 0.
fn points_at_canary(draft: &mut Draft<'_>, hash: &str, current: i32, wanted: i32) -> bool {
    let Some(service) = &draft.seen.canary_service else { return false };
    if service.hash.as_deref() == Some(hash) {
        return true;
    }
    if current > 0 || !all_at(draft, 0) {
        set(draft, 0);
        let detail = format!("Service {} points at another revision; its weight goes to 0 first", service.name);
        draft.wait(WaitingReason::WeightVerified, detail);
        return false;
    }
    if !confirmed(draft, 0) {
        return false;
    }
    if draft.seen.ready(hash) == 0 {
        draft.wait_for_pods(draft.spec.pods_for(wanted), "no canary pod is ready yet");
        return false;
    }
    let effect = Effect::select(service, hash);
    let detail = format!("Service {} is pointed at revision {hash}", service.name);
    draft.raise.push(effect);
    draft.wait(WaitingReason::PodsReady, detail);
    false
}

/// Lowers what is above `wanted`, raises nothing, waits for nothing.
fn lower_only(draft: &mut Draft<'_>, wanted: i32) {
    let above = patches(draft, wanted).into_iter().filter(|(from, _)| *from > wanted);
    let above: Vec<Effect> = above.map(|(_, effect)| effect).collect();
    draft.lower.extend(above);
}

/// Takes the traffic off the canary, as fast as stable's ready pods can carry it, then points the canary Service at
/// stable. True once all of that is confirmed: only then may the canary's pods go.
pub(super) fn withdraw(draft: &mut Draft<'_>, stable: &str) -> bool {
    if !draft.spec.routed {
        return ratio::withdraw(draft, stable);
    }
    let behind = draft.seen.canary_service.as_ref().and_then(|service| service.hash.clone()).unwrap_or_default();
    let canary_ready = draft.seen.ready(&behind);
    let target = {
        let current = draft.weight.unwrap_or(100);
        let uncarried = 100 - carried_percent(draft.seen.ready(stable), draft.spec.replicas);
        if canary_ready == 0 || behind == stable { 0 } else { current.min(uncarried) }
    };
    if route_missing(draft) {
        lower_only(draft, target);
        return false;
    }
    if target > 0 {
        // Of several routes one may be lower already; on the way back none goes up.
        lower_only(draft, target);
        let ready = draft.seen.ready(stable);
        let detail = format!(
            "{ready} of {} stable pods are ready; the canary keeps {target} % until stable can take it",
            draft.spec.replicas
        );
        draft.wait(WaitingReason::StableReady, detail);
        return false;
    }
    set(draft, 0);
    if !confirmed(draft, 0) {
        return false;
    }
    let Some(service) = &draft.seen.canary_service else { return true };
    if service.hash.as_deref() == Some(stable) || !service.has_selector {
        return true;
    }
    let effect = Effect::select(service, stable);
    let detail = format!("Service {} is pointed back at stable", service.name);
    draft.raise.push(effect);
    draft.wait(WaitingReason::WeightVerified, detail);
    false
}

/// How much of the traffic the ready pods of stable can carry, in percent, rounded down.
fn carried_percent(ready: i32, replicas: i32) -> i32 {
    if replicas <= 0 {
        return 100;
    }
    i32::try_from((i64::from(ready.max(0)) * 100 / i64::from(replicas)).min(100)).unwrap_or(0)
}

/// Sends everything to the stable Service; true once confirmed. For deployments in which both Services hold the same pods.
pub(super) fn all_to_stable(draft: &mut Draft<'_>) -> bool {
    if !draft.spec.routed {
        return true;
    }
    if route_missing(draft) {
        lower_only(draft, 0);
        return false;
    }
    set(draft, 0);
    confirmed(draft, 0)
}
