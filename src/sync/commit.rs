//! Which commit brought a Rollout's content: the annotations that sync writes on Rollouts.

use serde_json::Value;

use super::own::set_annotation;
use crate::api::names;
use crate::manifest::rollout::digest_of;

/// Sets [`names::COMMIT`] and [`names::RETRY`] on a Rollout that is about to be applied.
///
/// The commit stays what the live Rollout says as long as the template's digest stays: a commit that changes only
/// replicas, steps, or another object writes nothing here. `retry` is the commit whose `Tidegate-Retry` trailer lifts
/// a hold; without a new one the live annotation stays, because each value lifts once.
pub fn annotate(rollout: &mut Value, live: Option<&Value>, commit: &str, retry: Option<&str>) {
    let recorded = live.filter(|live| digest_of(live) == digest_of(rollout)).and_then(|live| annotation(live, names::COMMIT));
    let commit = recorded.filter(|recorded| is_commit(recorded)).unwrap_or(commit).to_owned();
    set_annotation(rollout, names::COMMIT, &commit);
    if let Some(retry) = retry.or_else(|| live.and_then(|live| annotation(live, names::RETRY))) {
        let retry = retry.to_owned();
        set_annotation(rollout, names::RETRY, &retry);
    }
}

fn annotation<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.pointer("/metadata/annotations")?.get(key)?.as_str()
}

/// A full id, SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
