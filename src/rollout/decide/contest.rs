//! Others who keep resetting what the rollout steers. Each time it is put right; when that does not end, it is said, with
//! the name of the tool, because only people can end it.

use std::time::Duration;

use super::{Draft, after};
use crate::api::condition;
use crate::api::rollout::{Contest, KEPT_CONTESTS};

/// So many resets, each within [`QUIET`] of the one before, are no accident.
const OFTEN: i32 = 3;
/// A quarrel is over when nothing was reset for so long.
const QUIET: Duration = Duration::from_secs(600);

/// Counts what somebody else changed since the last look, before it is put right.
pub(super) fn observe(draft: &mut Draft<'_>) {
    let now = draft.seen.now;
    draft.status.contests.retain(|contest| now < after(contest.at.0, QUIET));
    for object in reset(draft) {
        let Some(contender) = draft.seen.contenders.get(&object) else { continue };
        let at = draft.now();
        let known = draft.status.contests.iter_mut().find(|contest| contest.object == object);
        match known {
            // This state was counted, and is not put right yet.
            Some(known) if known.version == contender.version => {}
            Some(known) => {
                known.count = known.count.saturating_add(1);
                (known.manager, known.version, known.at) = (contender.manager.clone(), contender.version.clone(), at);
            }
            None => {
                let (manager, version) = (contender.manager.clone(), contender.version.clone());
                let contest = Contest { object, manager, count: 1, since: at.clone(), at, version };
                draft.status.contests.insert(0, contest);
                draft.status.contests.truncate(KEPT_CONTESTS);
            }
        }
    }
}

/// Objects that are not as they were left.
fn reset(draft: &Draft<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let before = draft.spec.status.weights.as_ref().map(|weights| weights.canary);
    if before.is_some() && draft.weight.is_some() && before != draft.weight {
        found.extend(draft.seen.contenders.keys().filter(|object| !object.starts_with("Service ")).cloned());
    }
    let stable = draft.stable_hash().filter(|_| draft.status.promoting.is_none());
    if let Some(stable) = stable {
        let canary = draft.status.canary.as_ref().map(|canary| canary.hash.clone());
        let services = [(&draft.seen.stable_service, None), (&draft.seen.canary_service, canary)];
        for (service, other) in services {
            let Some(service) = service else { continue };
            if service.hash.as_ref() != Some(&stable) && (other.is_none() || service.hash != other) {
                found.push(format!("Service {}", service.name));
            }
        }
    }
    found
}

/// Says in a condition who keeps resetting what; the condition is there once there was reason to.
pub(super) fn finish(draft: &mut Draft<'_>) {
    let often = draft.status.contests.iter().find(|contest| contest.count >= OFTEN).cloned();
    if let Some(contest) = &often {
        draft.requeue(after(contest.at.0, QUIET));
    }
    let known = draft.status.conditions.iter().any(|condition| condition.type_ == condition::CONTESTED);
    let message = often.as_ref().map(|contest| {
        format!(
            "{} keeps resetting {}: {} times since {}; let it ignore what Tidegate steers there",
            contest.manager,
            contest.object,
            contest.count,
            contest.since.0.strftime("%Y-%m-%dT%H:%M:%SZ")
        )
    });
    let (generation, now) = (Some(draft.spec.generation), draft.seen.now);
    let conditions = &mut draft.status.conditions;
    match message {
        Some(message) => {
            condition::set(conditions, condition::CONTESTED, true, condition::rollout::CONTESTED, &message, generation, now);
        }
        None if known => {
            condition::set(conditions, condition::CONTESTED, false, condition::rollout::HEALTHY, "", generation, now);
        }
        None => {}
    }
}
