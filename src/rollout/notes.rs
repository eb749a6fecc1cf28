//! What is worth an event: changes of state that a person would want to read in `kubectl describe`. Pure.

use crate::api::condition;
use crate::api::rollout::{RolloutPhase, RolloutStatus};

/// One event to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// A Warning, not Normal.
    pub warning: bool,
    /// Stable word: a reason of the Rollout's conditions.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// The reason behind the phase, as the conditions give it.
fn reason(status: &RolloutStatus) -> &str {
    let order = [condition::STALLED, condition::PAUSED, condition::PROGRESSING, condition::READY];
    let holds = |kind: &&str| status.conditions.iter().find(|c| c.type_ == **kind && c.status == "True");
    order.iter().find_map(holds).map_or("", |condition| condition.reason.as_str())
}

/// The notes of one step from a status to the next. Counts of pods that change are not worth one.
#[must_use]
pub fn between(before: &RolloutStatus, after: &RolloutStatus) -> Vec<Note> {
    let mut notes = Vec::new();
    let moved = reason(before) != reason(after)
        || before.current_step_index != after.current_step_index
        || before.canary.as_ref().map(|c| c.revision) != after.canary.as_ref().map(|c| c.revision)
        || before.stable != after.stable;
    if moved && !reason(after).is_empty() {
        notes.push(Note {
            warning: after.phase == Some(RolloutPhase::Degraded),
            reason: reason(after).to_owned(),
            message: after.message.clone().unwrap_or_default(),
        });
    }
    let known: Vec<&str> = before.requests.iter().map(|answer| answer.id.as_str()).collect();
    for answer in after.requests.iter().filter(|answer| !known.contains(&answer.id.as_str())) {
        let message = format!("{:?} (request {}): {}", answer.outcome, answer.id, answer.message);
        notes.push(Note { warning: false, reason: format!("{:?}", answer.action), message });
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(value: serde_json::Value) -> RolloutStatus {
        serde_json::from_value(value).unwrap()
    }

    /// Protects: one event for a change that matters, none for counts of pods.
    #[test]
    fn only_what_matters() {
        let condition = |kind: &str, reason: &str| json!([{"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let stepping =
            status(json!({"phase": "Progressing", "message": "1 of 4", "conditions": condition("Progressing", "Stepping")}));
        let counted = status(
            json!({"phase": "Progressing", "message": "2 of 4", "readyReplicas": 2, "conditions": condition("Progressing", "Stepping")}),
        );
        assert_eq!(between(&stepping, &counted), []);
        let failed =
            status(json!({"phase": "Degraded", "message": "stopped: bad", "conditions": condition("Stalled", "AnalysisFailed")}));
        let note = Note { warning: true, reason: "AnalysisFailed".into(), message: "stopped: bad".into() };
        assert_eq!(between(&counted, &failed), [note]);
    }
}
