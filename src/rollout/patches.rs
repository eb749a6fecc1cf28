//! What our patches test and change, as JSON. Pure, so that the controller and the model of a cluster send the same.
//!
//! Each write stands behind tests of its target as it was seen: a write that comes late, by a pass that looked
//! earlier or by a controller that no longer leads, fails at the API server instead of undoing what came after.

use serde_json::{Value, json};

use crate::api::names;

fn test(path: &str, value: Value) -> Value {
    json!({"op": "test", "path": path, "value": value})
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Sets the pod-template-hash in a Service's selector, if the Service is as seen.
#[must_use]
pub fn selector(uid: &str, resource_version: &str, from: Option<&str>, to: &str) -> Value {
    let path = format!("/spec/selector/{}", escaped(names::POD_TEMPLATE_HASH));
    let seen = |key: &str, value: &str| test(&format!("/metadata/{key}"), json!(value));
    let mut operations = vec![seen("uid", uid), seen("resourceVersion", resource_version)];
    if let Some(from) = from {
        operations.push(test(&path, json!(from)));
    }
    operations.push(json!({"op": "add", "path": path, "value": to}));
    Value::Array(operations)
}

/// Changes a ReplicaSet's size, if its uid, its present size and, where given, its generation are as seen.
#[must_use]
pub fn scale(uid: &str, generation: Option<i64>, from: i32, to: i32) -> Value {
    let mut operations = vec![test("/metadata/uid", json!(uid)), test("/spec/replicas", json!(from))];
    operations.extend(generation.map(|generation| test("/metadata/generation", json!(generation))));
    operations.push(json!({"op": "replace", "path": "/spec/replicas", "value": to}));
    Value::Array(operations)
}

/// Writes a revision's number on its ReplicaSet, if its uid is as seen.
#[must_use]
pub fn number(uid: &str, revision: i64) -> Value {
    let path = format!("/metadata/labels/{}", escaped(names::REVISION));
    json!([test("/metadata/uid", json!(uid)), {"op": "add", "path": path, "value": revision.to_string()}])
}
