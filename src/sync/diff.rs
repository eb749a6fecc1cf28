//! Does applying change anything? Compares the live object with what a dry run of the apply answered.

use serde_json::Value;

use crate::api::names::MANAGER_SYNC;

/// Fields of `metadata` that differ between a dry run and the live object although nothing would change.
const IGNORED: &[&str] = &["managedFields", "resourceVersion", "generation"];

/// Would applying change the object?
///
/// Besides the content, the fields that we own count, or a field that somebody else set to the same value would stay
/// when it leaves Git. Not so when weights or selectors were `steered`: these fields are the Rollout's, and each of
/// its steps takes their ownership.
#[must_use]
pub fn changes(live: &Value, dry_run: &Value, steered: bool) -> bool {
    !same_content(live, dry_run) || (!steered && owned(live) != owned(dry_run))
}

fn same_content(live: &Value, dry_run: &Value) -> bool {
    let (Some(live), Some(dry_run)) = (live.as_object(), dry_run.as_object()) else { return live == dry_run };
    live.len() == dry_run.len()
        && live.iter().all(|(key, value)| match (key.as_str(), dry_run.get(key)) {
            (_, None) => false,
            ("metadata", Some(other)) => same_metadata(value, other),
            (_, Some(other)) => value == other,
        })
}

fn same_metadata(live: &Value, dry_run: &Value) -> bool {
    let counted = |value: &Value| -> Vec<(String, Value)> {
        let fields = value.as_object().into_iter().flatten();
        fields.filter(|(key, _)| !IGNORED.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    counted(live) == counted(dry_run)
}

/// What the API server says we own: API version and fields.
fn owned(value: &Value) -> Option<(&Value, &Value)> {
    let entries = value.pointer("/metadata/managedFields")?.as_array()?;
    let ours =
        entries.iter().find(|e| e["manager"] == MANAGER_SYNC && e["operation"] == "Apply" && e.get("subresource").is_none());
    ours.map(|entry| (&entry["apiVersion"], &entry["fieldsV1"]))
}
