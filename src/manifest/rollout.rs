//! The Rollouts among the objects of an Application, and the digests of their pod templates: what the write-back
//! compares commits by.

use serde_json::Value;

use super::digest::template_digest;
use super::object::Object;
use crate::api;

/// Kind of a Rollout.
pub const KIND: &str = "Rollout";

/// A Rollout in Git and the identity of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutContent {
    /// Namespace; empty when the manifest names none.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Digest of its pod template, see [`template_digest`].
    pub digest: String,
}

/// Digest of a Rollout's pod template, from the whole object; of `null` when it has none.
#[must_use]
pub fn digest_of(rollout: &Value) -> String {
    template_digest(rollout.pointer("/spec/template").unwrap_or(&Value::Null))
}

/// Every Rollout, in the order of the objects.
#[must_use]
pub fn rollouts(objects: &[Object]) -> Vec<RolloutContent> {
    let ours = objects.iter().filter(|object| object.id.is(api::GROUP, KIND));
    ours.map(|object| RolloutContent {
        namespace: object.id.namespace.clone(),
        name: object.id.name.clone(),
        digest: digest_of(&object.value),
    })
    .collect()
}

/// Template digest of the Rollout `namespace/name`, none when the objects hold no such Rollout. A manifest that names no
/// namespace is in `default_namespace`.
#[must_use]
pub fn rollout_digest(objects: &[Object], default_namespace: &str, namespace: &str, name: &str) -> Option<String> {
    let is_it = |content: &RolloutContent| {
        let of = if content.namespace.is_empty() { default_namespace } else { &content.namespace };
        content.name == name && of == namespace
    };
    rollouts(objects).into_iter().find(is_it).map(|content| content.digest)
}
