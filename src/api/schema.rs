//! Schema pieces that a Rust type alone cannot say.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A pod template as JSON: fields of Kubernetes versions newer than ours pass through unchanged.
pub(super) fn pod_template(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "The pod template, as in a Deployment. Checked by the API server before any pod moves.",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// `metav1.Condition`s, merged by type as the API conventions ask.
pub(super) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let item = generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>();
    json_schema!({
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
