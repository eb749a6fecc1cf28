//! What each revision's pods wear by their role: metadata, the nodes they avoid, and how long they must be ready.

use super::{Draft, Effect, Situation};
use crate::api::rollout::PodMetadata;
use crate::rollout::dress::{self, Dress};
use crate::rollout::observed::ReplicaSet;

/// What a revision is to the Rollout now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It serves, or is the first one that will.
    Stable,
    /// It is under way, or was stopped.
    Canary,
}

fn role(draft: &Draft<'_>, hash: &str) -> Option<Role> {
    if let Some(stable) = &draft.status.stable {
        if stable.hash == hash {
            return Some(Role::Stable);
        }
        return draft.status.canary.as_ref().filter(|canary| canary.hash == hash).map(|_| Role::Canary);
    }
    (draft.spec.hash == hash).then_some(Role::Stable)
}

fn metadata(draft: &Draft<'_>, role: Option<Role>) -> PodMetadata {
    match role {
        Some(Role::Stable) => draft.spec.wardrobe.stable.clone(),
        Some(Role::Canary) => draft.spec.wardrobe.canary.clone(),
        None => PodMetadata::default(),
    }
}

/// What the ReplicaSet of a revision wears.
pub(super) fn dress(draft: &Draft<'_>, hash: &str) -> Dress {
    let role = role(draft, hash);
    let stable = draft.stable_hash().filter(|_| role == Some(Role::Canary));
    Dress {
        min_ready_seconds: draft.spec.sizing.min_ready_seconds,
        metadata: metadata(draft, role),
        avoids: stable.zip(draft.spec.wardrobe.anti_affinity),
    }
}

/// Is another `minReadySeconds` to be written into it, by which other pods are available?
pub(super) fn redefines_available(draft: &Draft<'_>, set: &ReplicaSet) -> bool {
    role(draft, &set.hash).is_some() && set.worn.min_ready_seconds != draft.spec.sizing.min_ready_seconds
}

/// Dresses the ReplicaSets in use, and then running pods. A canary's ReplicaSet before it grows, so that its new pods are
/// scheduled as they should be.
pub(super) fn act(draft: &mut Draft<'_>) {
    let mut before_growth = Vec::new();
    for set in draft.seen.replica_sets.iter().filter(|set| !set.deleting) {
        let Some(role) = role(draft, &set.hash) else { continue };
        if (set.wanted == 0 && !grows(draft, set)) || is_touched(&draft.lower, set) {
            continue;
        }
        if let Some(patch) = dress::replica_set(set, &dress(draft, &set.hash)) {
            let effect = Effect::DressReplicaSet { name: set.name.clone(), patch };
            if role == Role::Canary || draft.situation() == Situation::First {
                // It moves the generation, which a change of size tests: the size follows with the next look.
                draft.canary_pods.retain(|effect| !is_scaled(effect, set));
                before_growth.push(effect);
            } else if !is_touched(&draft.canary_pods, set) && !is_touched(&draft.raise, set) {
                draft.raise.push(effect);
            }
        }
    }
    draft.canary_pods.splice(0..0, before_growth);
    for pod in draft.seen.pods.iter().filter(|pod| !pod.deleting) {
        if let Some(patch) = dress::pod(pod, &metadata(draft, role(draft, &pod.hash))) {
            draft.raise.push(Effect::DressPod { name: pod.name.clone(), patch });
        }
    }
}

/// Is this ReplicaSet changed by another effect of this pass? Then its resourceVersion will be another.
fn is_touched(effects: &[Effect], set: &ReplicaSet) -> bool {
    effects.iter().any(|effect| match effect {
        Effect::ScaleReplicaSet { name, .. } | Effect::NumberReplicaSet { name, .. } | Effect::DeleteReplicaSet { name, .. } => {
            *name == set.name
        }
        _ => false,
    })
}

fn is_scaled(effect: &Effect, set: &ReplicaSet) -> bool {
    matches!(effect, Effect::ScaleReplicaSet { name, .. } if *name == set.name)
}

fn grows(draft: &Draft<'_>, set: &ReplicaSet) -> bool {
    is_touched(&draft.lower, set) || is_touched(&draft.canary_pods, set)
}
