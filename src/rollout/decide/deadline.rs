//! The progress deadline: how long pods of the new version may take until the next of them is ready.
//!
//! The clock runs while the rollout waits for pods, and for nothing else: it stands in pauses and analyses, and begins
//! anew with every pod that becomes ready. It is read off recorded times, so a restart does not set it back. At its end
//! the rollout is Degraded; it is stopped only when the pods themselves are at fault and stable was ready all the while.

use super::{Draft, Found, Situation, after};
use crate::api::Time;
use crate::api::condition::rollout as reasons;
use crate::api::rollout::{FailureCause, Progress, RolloutPhase};
use crate::rollout::trouble::{Kind, Trouble};

/// Ready and available pods of the spec's revision.
fn pods(draft: &Draft<'_>) -> (i32, i32) {
    draft.seen.replica_set(&draft.spec.hash).map_or((0, 0), |set| (set.ready, set.available))
}

/// Stable has all the pods that it was given.
fn stable_is_ready(draft: &Draft<'_>) -> bool {
    let stable = draft.stable_hash().and_then(|hash| draft.seen.replica_set(&hash));
    stable.is_some_and(|set| set.available >= set.wanted)
}

/// Stops a canary whose pods were started, and were not ready in time, while stable's were.
pub(super) fn act(draft: &mut Draft<'_>) {
    if draft.situation() != Situation::Canary || !draft.spec.life.deadline_aborts || draft.spec.life.pauses_on_failure {
        return;
    }
    let Some(progress) = draft.status.progress.clone() else { return };
    let Some(trouble) = draft.seen.trouble.as_ref().filter(|trouble| trouble.kind == Kind::NotReady) else { return };
    let (ready, available) = pods(draft);
    let stands = ready <= progress.ready && available <= progress.available && available < progress.wanted;
    let stable_since = progress.stable_ready_since.filter(|_| stable_is_ready(draft));
    let Some(stable_since) = stable_since.filter(|_| stands) else { return };
    if draft.seen.now < after(progress.since.0.max(stable_since.0), draft.spec.life.deadline) {
        return;
    }
    let length = draft.spec.life.deadline.as_secs();
    let evidence =
        format!("{ready} of {} canary pods are ready, and no other became so for {length} s: {trouble}", progress.wanted);
    draft.stop(FailureCause::NotReady, Found { evidence, ..Found::default() });
}

/// Keeps the record of progress, and says what keeps the pods, or that it took too long.
pub(super) fn finish(draft: &mut Draft<'_>) {
    let before = draft.status.progress.take();
    let waits = matches!(draft.situation(), Situation::First | Situation::Canary);
    let Some(wanted) = draft.short_of.filter(|_| waits) else { return };
    let progress = progressed(draft, before, wanted);
    let end = after(progress.since.0, draft.spec.life.deadline);
    let stop_at = progress.stable_ready_since.as_ref().map(|since| after(since.0, draft.spec.life.deadline));
    for at in [Some(end), stop_at].into_iter().flatten().filter(|at| *at > draft.seen.now) {
        draft.requeue(at);
    }
    draft.status.progress = Some(progress);
    let trouble = draft.seen.trouble.clone();
    let message = explain(draft, trouble.as_ref());
    if draft.seen.now >= end {
        let late = format!("{message}; no pod became ready for {} s", draft.spec.life.deadline.as_secs());
        draft.say(RolloutPhase::Degraded, word(trouble.as_ref()).unwrap_or(reasons::NOT_READY), late);
    } else if let Some(reason) = word(trouble.as_ref()) {
        draft.say(RolloutPhase::Progressing, reason, message);
    }
}

/// Adds what keeps the pods to what is waited for. Returns the message that says both.
fn explain(draft: &mut Draft<'_>, trouble: Option<&Trouble>) -> String {
    let short = draft.waiting.as_ref().map(|(_, detail)| detail.clone()).unwrap_or_default();
    let full = trouble.map_or_else(|| short.clone(), |trouble| format!("{short}: {trouble}"));
    if let Some((_, detail)) = &mut draft.waiting {
        detail.clone_from(&full);
    }
    match draft.message.strip_suffix(&short) {
        Some(place) if !short.is_empty() => format!("{place}{full}"),
        _ => format!("{}; {full}", draft.message),
    }
}

/// The record after this look: begun anew when more pods are ready than ever, or more are wanted.
fn progressed(draft: &Draft<'_>, before: Option<Progress>, wanted: i32) -> Progress {
    let (ready, available) = pods(draft);
    let stable_before = before.as_ref().and_then(|before| before.stable_ready_since.clone());
    let stable_ready_since = stable_is_ready(draft).then(|| stable_before.unwrap_or_else(|| draft.now()));
    let stands = |before: &Progress| ready <= before.ready && available <= before.available && wanted <= before.wanted;
    match before {
        Some(before) if stands(&before) => Progress { stable_ready_since, ..before },
        // The highest of all looks: pods that come and go are no progress.
        Some(before) => Progress {
            since: Time(draft.seen.now),
            ready: ready.max(before.ready),
            available: available.max(before.available),
            wanted: wanted.max(before.wanted),
            stable_ready_since,
        },
        None => Progress { since: Time(draft.seen.now), ready, available, wanted, stable_ready_since },
    }
}

/// The reason for what the cluster lacks; none for what is the pods' own business.
fn word(trouble: Option<&Trouble>) -> Option<&'static str> {
    match trouble?.kind {
        Kind::NotReady | Kind::Starting => None,
        Kind::NodeLost => Some(reasons::NODE_LOST),
        Kind::ImagePull => Some(reasons::IMAGE_PULL),
        Kind::Unschedulable => Some(reasons::UNSCHEDULABLE),
        Kind::Refused => Some(reasons::PODS_REFUSED),
        Kind::QuotaExceeded => Some(reasons::QUOTA_EXCEEDED),
    }
}
