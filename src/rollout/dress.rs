//! What a Rollout puts on its pods beside the template: `minReadySeconds`, metadata by role, and anti-affinity. None of it is
//! part of a revision's identity, and none of it restarts a pod. Pure.
//!
//! Where metadata was put on, an annotation beside it says so: only that is ever taken off again, and what a crash left
//! half done is found on each pod by itself.

use std::collections::BTreeMap;

use json_patch::Patch;
use serde_json::{Map, Value, json};

use super::observed::{Pod, ReplicaSet, Worn};
use crate::api::names::{POD_TEMPLATE_HASH, ROLE_METADATA};
use crate::api::rollout::PodMetadata;

/// Where nodes are told apart, as in Argo Rollouts.
const TOPOLOGY: &str = "kubernetes.io/hostname";

/// Whether pods of two revisions may share a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AntiAffinity {
    /// They never do.
    Required,
    /// They do where it cannot be helped; the weight is 1..=100.
    Preferred(i32),
}

/// What one ReplicaSet and its pods are to wear.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dress {
    /// Seconds that a pod must be ready to be available.
    pub min_ready_seconds: i32,
    /// Labels and annotations of its role.
    pub metadata: PodMetadata,
    /// The revision whose nodes its pods avoid.
    pub avoids: Option<(String, AntiAffinity)>,
}

fn test(path: &str, value: Value) -> Value {
    json!({"op": "test", "path": path, "value": value})
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// What was put on, as its annotation says it. Anybody can write that annotation; what is no such thing counts as nothing.
fn put_on(annotations: &BTreeMap<String, String>) -> PodMetadata {
    annotations.get(ROLE_METADATA).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The annotations of a role, with the one that says what was put on.
fn marked(metadata: &PodMetadata) -> BTreeMap<String, String> {
    let mut annotations = metadata.annotations.clone();
    if *metadata != PodMetadata::default() {
        annotations.insert(ROLE_METADATA.to_owned(), serde_json::to_string(metadata).unwrap_or_default());
    }
    annotations
}

/// Operations that bring a map at `path` from what it is to what is wanted. `ours` are the keys that were put on before;
/// another key of the same name is somebody else's and stays.
fn map_operations(path: &str, is: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>, ours: &[&String]) -> Vec<Value> {
    let mut operations = Vec::new();
    for key in ours.iter().filter(|key| !wanted.contains_key(**key) && is.contains_key(**key)) {
        operations.push(json!({"op": "remove", "path": format!("{path}/{}", escaped(key))}));
    }
    let free = |key: &String| !is.contains_key(key) || ours.contains(&key);
    let sets: Vec<_> = wanted.iter().filter(|(key, value)| is.get(*key) != Some(value) && free(key)).collect();
    if is.is_empty() && !sets.is_empty() {
        operations.push(json!({"op": "add", "path": path, "value": {}}));
    }
    for (key, value) in sets {
        operations.push(json!({"op": "add", "path": format!("{path}/{}", escaped(key)), "value": value}));
    }
    operations
}

/// Operations that bring labels and annotations at `path` to what a role wants.
fn metadata_operations(path: &str, worn: &Worn, wanted: &PodMetadata) -> Vec<Value> {
    let before = put_on(&worn.annotations);
    // What has another value by now is somebody else's.
    let same = |is: &BTreeMap<String, String>, key: &String, value: &String| is.get(key) == Some(value);
    let labels: Vec<&String> = before.labels.iter().filter(|(k, v)| same(&worn.labels, k, v)).map(|(k, _)| k).collect();
    let marker = ROLE_METADATA.to_owned();
    let own = before.annotations.iter().filter(|(k, v)| same(&worn.annotations, k, v)).map(|(k, _)| k);
    let annotations: Vec<&String> = own.chain([&marker]).collect();
    let mut operations = map_operations(&format!("{path}/labels"), &worn.labels, &wanted.labels, &labels);
    operations.extend(map_operations(&format!("{path}/annotations"), &worn.annotations, &marked(wanted), &annotations));
    operations
}

fn tested(uid: &str, resource_version: &str, operations: Vec<Value>) -> Option<Patch> {
    if operations.is_empty() {
        return None;
    }
    let mut all = vec![test("/metadata/uid", json!(uid)), test("/metadata/resourceVersion", json!(resource_version))];
    all.extend(operations);
    serde_json::from_value(Value::Array(all)).ok()
}

/// What brings a ReplicaSet to what it is to wear, if it has not changed since it was seen; none when it wears it.
#[must_use]
pub fn replica_set(set: &ReplicaSet, dress: &Dress) -> Option<Patch> {
    let mut operations = Vec::new();
    if set.worn.min_ready_seconds != dress.min_ready_seconds {
        operations.push(json!({"op": "add", "path": "/spec/minReadySeconds", "value": dress.min_ready_seconds}));
    }
    operations.extend(metadata_operations("/spec/template/metadata", &set.worn, &dress.metadata));
    let affinity = affinity(&set.worn.affinity, dress.avoids.as_ref());
    if affinity != set.worn.affinity {
        let path = "/spec/template/spec/affinity";
        operations.push(match affinity {
            Value::Null => json!({"op": "remove", "path": path}),
            affinity => json!({"op": "add", "path": path, "value": affinity}),
        });
    }
    tested(&set.uid, &set.resource_version, operations)
}

/// What brings a running pod to its role's metadata; none when it has it.
#[must_use]
pub fn pod(pod: &Pod, metadata: &PodMetadata) -> Option<Patch> {
    tested(&pod.uid, &pod.resource_version, metadata_operations("/metadata", &pod.worn, metadata))
}

/// Puts what a ReplicaSet wears on a template that it is created from.
pub fn template(template: &mut Value, dress: &Dress) {
    let Some(template) = template.as_object_mut() else { return };
    for (field, wanted) in [("labels", dress.metadata.labels.clone()), ("annotations", marked(&dress.metadata))] {
        if wanted.is_empty() {
            continue;
        }
        let metadata = template.entry("metadata").or_insert_with(|| json!({})).as_object_mut();
        let Some(metadata) = metadata else { return };
        if let Some(map) = metadata.entry(field).or_insert_with(|| json!({})).as_object_mut() {
            for (key, value) in wanted {
                map.entry(key).or_insert(Value::String(value));
            }
        }
    }
    if let (Some(avoids), Some(spec)) = (&dress.avoids, template.get_mut("spec").and_then(Value::as_object_mut)) {
        let present = spec.get("affinity").cloned().unwrap_or(Value::Null);
        spec.insert("affinity".to_owned(), affinity(&present, Some(avoids)));
    }
}

/// Is this a term of ours? No other speaks of the pod-template-hash.
fn is_ours(term: &Value) -> bool {
    let expressions = term.pointer("/labelSelector/matchExpressions").and_then(Value::as_array);
    expressions.into_iter().flatten().any(|expression| expression.get("key").and_then(Value::as_str) == Some(POD_TEMPLATE_HASH))
}

/// An affinity with our term, and without any that was ours before; all else stays as it is.
fn affinity(present: &Value, avoids: Option<&(String, AntiAffinity)>) -> Value {
    let mut affinity = present.as_object().cloned().unwrap_or_default();
    let anti = affinity.remove("podAntiAffinity");
    let mut anti: Map<String, Value> = anti.and_then(|anti| anti.as_object().cloned()).unwrap_or_default();
    let term_of_ours = |list: &Value| {
        list.as_array().is_some_and(|terms| terms.iter().any(|term| is_ours(term) || is_ours(&term["podAffinityTerm"])))
    };
    if avoids.is_none() && !anti.values().any(term_of_ours) {
        return present.clone();
    }
    let (required, preferred) =
        ("requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution");
    for (list, term_of) in [(required, None), (preferred, Some("podAffinityTerm"))] {
        let Some(terms) = anti.get_mut(list).and_then(Value::as_array_mut) else { continue };
        let before = terms.len();
        terms.retain(|term| !is_ours(term_of.map_or(term, |key| &term[key])));
        if terms.is_empty() && before > 0 {
            anti.remove(list);
        }
    }
    if let Some((hash, how)) = avoids {
        let selector = json!({"matchExpressions": [{"key": POD_TEMPLATE_HASH, "operator": "In", "values": [hash]}]});
        let term = json!({"labelSelector": selector, "topologyKey": TOPOLOGY});
        let (list, term) = match how {
            AntiAffinity::Required => (required, term),
            AntiAffinity::Preferred(weight) => (preferred, json!({"weight": weight, "podAffinityTerm": term})),
        };
        if let Some(terms) = anti.entry(list).or_insert_with(|| json!([])).as_array_mut() {
            terms.push(term);
        }
    }
    if !anti.is_empty() {
        affinity.insert("podAntiAffinity".to_owned(), Value::Object(anti));
    }
    if affinity.is_empty() { Value::Null } else { Value::Object(affinity) }
}

#[cfg(test)]
mod tests;
