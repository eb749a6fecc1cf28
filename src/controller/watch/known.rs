//! Which Rollouts there are, and what each of them names: so that an event about a Service or a route finds its Rollouts
//! without a look at all the others. Names only; the objects themselves are read when it is their turn.

use std::collections::HashMap;
use std::sync::Arc;

use kube::ResourceExt;

use crate::api::rollout::Rollout;
use crate::controller::queue::{Key, Why};

/// Kinds that a Rollout names, by their plural.
pub const SERVICES: &str = "services";

/// What a Rollout names, in its own namespace.
type Name = (&'static str, Key);

/// The Rollouts.
#[derive(Debug, Default)]
pub struct Known {
    rollouts: HashMap<Key, Entry>,
    named_by: HashMap<Name, Vec<Key>>,
}

#[derive(Debug)]
struct Entry {
    names: Box<[Name]>,
    settled: bool,
}

/// Does its record say that nothing is under way and nothing is asked for?
#[must_use]
pub fn is_settled(rollout: &Rollout) -> bool {
    let resting = |status: &crate::api::rollout::RolloutStatus| {
        status.phase.is_some() && status.waiting_on.is_none() && status.scale_downs.is_empty() && status.promoting.is_none()
    };
    !asks(rollout) && rollout.status.as_ref().is_some_and(resting)
}

/// Does it ask for something that its record does not answer yet: another spec, or a command?
fn asks(rollout: &Rollout) -> bool {
    let Some(status) = &rollout.status else { return true };
    let unanswered = |id: &str| status.requests.iter().all(|answer| answer.id != id);
    status.observed_generation != rollout.metadata.generation
        || rollout.spec.request.as_ref().is_some_and(|request| unanswered(&request.id))
}

/// Why to look at a Rollout that changed.
#[must_use]
pub fn why(rollout: &Rollout) -> Why {
    if asks(rollout) { Why::Spec } else { Why::Event }
}

/// What a Rollout names. An event about one of these wakes it.
fn names(rollout: &Rollout, namespace: &Arc<str>) -> Box<[Name]> {
    let canary = &rollout.spec.strategy.canary;
    let services = [&canary.stable_service, &canary.canary_service].into_iter().flatten().map(|name| (SERVICES, name));
    let services = services.map(|(kind, name)| (kind, name.clone()));
    let routes = canary.routes().map(|route| (route.kind.plural(), route.name));
    let key = |name: String| Key { namespace: Arc::clone(namespace), name: name.as_str().into() };
    services.chain(routes).map(|(kind, name)| (kind, key(name))).collect()
}

impl Known {
    /// A Rollout as it is now.
    pub fn note(&mut self, rollout: &Rollout) -> Key {
        let key = Key::new(&rollout.namespace().unwrap_or_default(), &rollout.name_any());
        let entry = Entry { names: names(rollout, &key.namespace), settled: is_settled(rollout) };
        if let Some(before) = self.rollouts.get_mut(&key)
            && before.names == entry.names
        {
            before.settled = entry.settled;
            return key;
        }
        self.forget(&key);
        for name in &entry.names {
            self.named_by.entry(name.clone()).or_default().push(key.clone());
        }
        self.rollouts.insert(key.clone(), entry);
        key
    }

    /// A Rollout that is gone.
    pub fn forget(&mut self, key: &Key) {
        let Some(entry) = self.rollouts.remove(key) else { return };
        for name in &entry.names {
            if let Some(by) = self.named_by.get_mut(name) {
                by.retain(|other| other != key);
                if by.is_empty() {
                    self.named_by.remove(name);
                }
            }
        }
    }

    /// The Rollouts that name this object.
    #[must_use]
    pub fn who(&self, kind: &'static str, object: &Key) -> Vec<Key> {
        self.named_by.get(&(kind, object.clone())).cloned().unwrap_or_default()
    }

    /// All Rollouts, each with whether it is settled.
    pub fn all(&self) -> impl Iterator<Item = (&Key, bool)> {
        self.rollouts.iter().map(|(key, entry)| (key, entry.settled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rollout(name: &str, stable: &str, route: &str, status: &Value) -> Rollout {
        let mut value = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": name, "namespace": "shop", "generation": 2},
            "spec": {
                "selector": {"matchLabels": {"app": name}}, "template": {},
                "strategy": {"canary": {
                    "stableService": stable, "canaryService": format!("{name}-canary"),
                    "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": route}]}},
                }},
            },
        });
        value["status"] = status.clone();
        serde_json::from_value(value).unwrap()
    }

    /// Protects: an event about a Service or route wakes the Rollouts that name it now, and no others: not those that
    /// named it before, nor those that are gone, nor those of other namespaces.
    #[test]
    fn who_is_concerned() {
        let mut known = Known::default();
        let a = known.note(&rollout("a", "a-stable", "shared", &Value::Null));
        let b = known.note(&rollout("b", "b-stable", "shared", &Value::Null));
        let who = |known: &Known, kind, name: &str| known.who(kind, &Key::new("shop", name));
        assert_eq!(who(&known, "httproutes", "shared"), [a.clone(), b.clone()]);
        assert_eq!(who(&known, SERVICES, "a-stable"), vec![a.clone()]);
        assert_eq!(who(&known, SERVICES, "shared"), []);
        assert_eq!(known.who(SERVICES, &Key::new("other", "a-stable")), []);
        known.note(&rollout("a", "a-new", "own", &Value::Null));
        assert_eq!(who(&known, SERVICES, "a-stable"), []);
        assert_eq!(who(&known, SERVICES, "a-canary"), vec![a.clone()]);
        assert_eq!((who(&known, "httproutes", "shared"), who(&known, "httproutes", "own")), (vec![b.clone()], vec![a.clone()]));
        known.forget(&a);
        assert_eq!((who(&known, "httproutes", "own"), known.all().count()), (vec![], 1));
        known.forget(&b);
        assert!(known.named_by.is_empty(), "nothing is left behind");
    }

    /// Protects: what is looked at first after a start. A Rollout with anything under way, or with a spec or a command
    /// that nobody answered yet, is not settled.
    #[test]
    fn settled() {
        let of = |status: Value| rollout("a", "a-stable", "a", &status);
        let resting = json!({"phase": "Healthy", "observedGeneration": 2});
        assert_eq!((is_settled(&of(resting.clone())), why(&of(resting.clone()))), (true, Why::Event));
        for (field, value) in [
            ("observedGeneration", json!(1)),
            ("waitingOn", json!({"reason": "Pause", "since": "2026-01-01T00:00:00Z", "detail": ""})),
            ("scaleDowns", json!([{"hash": "x", "at": "2026-01-01T00:00:00Z"}])),
            ("promoting", json!({"hash": "x", "at": "2026-01-01T00:00:00Z"})),
            ("phase", Value::Null),
        ] {
            let mut status = resting.clone();
            status[field] = value;
            assert!(!is_settled(&of(status)), "{field}");
        }
        let mut asked = of(resting);
        asked.spec.request = serde_json::from_value(json!({"id": "1", "action": "abort"})).unwrap();
        assert_eq!((is_settled(&asked), why(&asked)), (false, Why::Spec));
        assert_eq!(why(&of(Value::Null)), Why::Spec, "a new one");
    }
}
