//! The objects that effects create, as JSON. Pure, so that a test can compare them whole.

use serde_json::{Map, Value, json};

use super::dress::{self, Dress};
use super::spec::ValidatedRollout;
use crate::api::analysis::AnalysisRunSpec;
use crate::api::{GROUP, VERSION, names};
use crate::manifest::digest;

/// Longest template that a ReplicaSet keeps as an annotation, in bytes; all of an object's annotations may have 256 KiB.
const LARGEST_KEPT: usize = 128 * 1024;

/// The owner reference of a Rollout's ReplicaSets and AnalysisRuns: they go when it goes, as with a Deployment.
#[must_use]
pub fn owner(rollout: &ValidatedRollout) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "Rollout", "name": rollout.name, "uid": rollout.uid,
        "controller": true, "blockOwnerDeletion": true
    })
}

/// The ReplicaSet of the spec's template: the template as written, with the pod-template-hash added to its labels, and what it
/// wears beside it.
#[must_use]
pub fn replica_set(rollout: &ValidatedRollout, hash: &str, revision: i64, replicas: i32, dress: &Dress) -> Value {
    let mut template = rollout.template.clone();
    dress::template(&mut template, dress);
    if let Some(template) = template.as_object_mut() {
        let metadata = template.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut()
            && let Some(labels) = metadata.entry("labels").or_insert_with(|| json!({})).as_object_mut()
        {
            labels.insert(names::POD_TEMPLATE_HASH.to_owned(), json!(hash));
        }
    }
    let mut selector: Map<String, Value> = rollout.selector.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    selector.insert(names::POD_TEMPLATE_HASH.to_owned(), json!(hash));
    let mut spec = json!({"replicas": replicas, "selector": {"matchLabels": selector}, "template": template});
    if dress.min_ready_seconds > 0 {
        spec["minReadySeconds"] = json!(dress.min_ready_seconds);
    }
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": rollout.replica_set_name(hash), "namespace": rollout.namespace,
            "labels": {
                names::ROLLOUT: rollout.name, names::POD_TEMPLATE_HASH: hash, names::REVISION: revision.to_string()
            },
            "ownerReferences": [owner(rollout)]
        },
        "spec": spec
    });
    // What the API server keeps of the template has its defaults filled in, and another digest than what was written.
    let written = rollout.template.to_string();
    if rollout.life.application.is_none() && written.len() <= LARGEST_KEPT {
        set["metadata"]["annotations"] = json!({names::TEMPLATE: written});
    }
    set
}

/// The template as it was written, which its ReplicaSet keeps for `undo`; none when it is not that of `hash`.
#[must_use]
pub fn written_template(annotation: &str, hash: &str) -> Option<Value> {
    let template: Value = serde_json::from_str(annotation).ok()?;
    (digest::template_hash(&digest::template_digest(&template)) == hash).then_some(template)
}

/// The AnalysisRun of a name.
#[must_use]
pub fn analysis_run(rollout: &ValidatedRollout, name: &str, spec: &AnalysisRunSpec) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "AnalysisRun",
        "metadata": {
            "name": name, "namespace": rollout.namespace,
            "labels": {names::ROLLOUT: rollout.name, names::REVISION: spec.subject.revision.to_string()},
            "ownerReferences": [owner(rollout)]
        },
        "spec": spec
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::spec::validate;

    /// Protects: the ReplicaSet as it is created, whole: fields that we do not know pass through, the hash is added to
    /// labels and selector, and nothing else.
    #[test]
    fn replica_set_is_the_template_and_a_hash() {
        let rollout = serde_json::from_value(json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"fieldOfTomorrow": true, "containers": [{"name": "web"}]}},
                "strategy": {"canary": {"stableService": "s", "canaryService": "c",
                    "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}]}}}}}
        }))
        .unwrap();
        let valid = validate(&rollout).unwrap();
        assert_eq!(
            replica_set(&valid, "abc", 3, 2, &Dress::default()),
            json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {
                    "name": "web-abc", "namespace": "shop",
                    "labels": {"tidegate.dev/rollout": "web", "tidegate.dev/pod-template-hash": "abc", "tidegate.dev/revision": "3"},
                    "annotations": {"tidegate.dev/template": valid.template.to_string()},
                    "ownerReferences": [{"apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "name": "web", "uid": "u",
                        "controller": true, "blockOwnerDeletion": true}]},
                "spec": {
                    "replicas": 2, "selector": {"matchLabels": {"app": "web", "tidegate.dev/pod-template-hash": "abc"}},
                    "template": {
                        "metadata": {"labels": {"app": "web", "tidegate.dev/pod-template-hash": "abc"}},
                        "spec": {"fieldOfTomorrow": true, "containers": [{"name": "web"}]}}}
            })
        );
    }
}
