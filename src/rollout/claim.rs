//! Services that two Rollouts name. Each would turn the selector to its own pods: one of them has it, the other is refused.

use jiff::Timestamp;

use crate::api::rollout::{Rollout, RolloutStatus};

/// Does `own` have to leave a Service alone that `other` names as well? `selects` is the pod-template-hash in the
/// Service's selector. Whoever's revision is served has the Service, so that nobody takes it from a Rollout that works;
/// where that tells nothing, the older one does. Exactly one of two has to.
#[must_use]
pub fn yields(own: &Rollout, other: &Rollout, selects: Option<&str>) -> bool {
    let serves = |rollout: &Rollout| {
        let served = |status: &RolloutStatus| {
            let revisions = [&status.stable, &status.canary];
            revisions.into_iter().flatten().any(|revision| Some(revision.hash.as_str()) == selects)
        };
        rollout.status.as_ref().is_some_and(served)
    };
    match (serves(own), serves(other)) {
        (true, false) => false,
        (false, true) => true,
        _ => age(other) < age(own),
    }
}

fn age(rollout: &Rollout) -> (Option<Timestamp>, &str) {
    let created = rollout.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created, rollout.metadata.uid.as_deref().unwrap_or_default())
}

/// Does it name this Service? If so, the field that does.
#[must_use]
pub fn field(rollout: &Rollout, service: &str) -> Option<&'static str> {
    let canary = &rollout.spec.strategy.canary;
    let fields = [("stableService", &canary.stable_service), ("canaryService", &canary.canary_service)];
    fields.into_iter().find_map(|(field, name)| (name.as_deref() == Some(service)).then_some(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout(uid: &str, created: &str, stable: &str) -> Rollout {
        serde_json::from_value(json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": uid, "namespace": "shop", "uid": uid, "creationTimestamp": created},
            "spec": {"selector": {"matchLabels": {"app": uid}}, "template": {},
                "strategy": {"canary": {"stableService": "web", "canaryService": "web-canary"}}},
            "status": {"stable": {"hash": stable, "revision": 1, "digest": "d"}}
        }))
        .unwrap()
    }

    /// Protects: a Rollout that works from another that names its Service later, or by an edit; and both of them from
    /// standing still because each yields.
    #[test]
    fn one_of_two_yields() {
        let (old, young) = (rollout("a", "2026-01-01T00:00:00Z", "1"), rollout("b", "2026-01-02T00:00:00Z", "2"));
        let same_second = rollout("c", "2026-01-01T00:00:00Z", "3");
        for (own, other, selects, wanted) in [
            (&old, &young, Some("1"), false),
            (&old, &young, Some("2"), true),
            (&old, &young, None, false),
            (&old, &young, Some("9"), false),
            (&same_second, &old, None, true),
        ] {
            assert_eq!(yields(own, other, selects), wanted, "{selects:?}");
            assert_eq!(yields(other, own, selects), !wanted, "the other way round, {selects:?}");
        }
    }

    /// Protects: what the person is told to change.
    #[test]
    fn fields() {
        let rollout = rollout("a", "2026-01-01T00:00:00Z", "1");
        assert_eq!(
            ["web", "web-canary", "other"].map(|name| field(&rollout, name)),
            [Some("stableService"), Some("canaryService"), None]
        );
    }
}
