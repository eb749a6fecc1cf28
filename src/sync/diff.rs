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
    same_fields(live, dry_run, &[], &|key, live, dry_run| match key {
        "metadata" => same_fields(live, dry_run, IGNORED, &|_, live, dry_run| live == dry_run),
        _ => live == dry_run,
    })
}

/// Have two maps the same fields, `ignored` aside? The order of the fields does not count.
fn same_fields(a: &Value, b: &Value, ignored: &[&str], same: &dyn Fn(&str, &Value, &Value) -> bool) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    let counts = |key: &&String| !ignored.contains(&key.as_str());
    a.keys().filter(counts).count() == b.keys().filter(counts).count()
        && a.keys().filter(counts).all(|key| b.get(key).is_some_and(|other| same(key, &a[key], other)))
}

/// What the API server says we own: API version and fields.
fn owned(value: &Value) -> Option<(&Value, &Value)> {
    let entries = value.pointer("/metadata/managedFields")?.as_array()?;
    let ours =
        entries.iter().find(|e| e["manager"] == MANAGER_SYNC && e["operation"] == "Apply" && e.get("subresource").is_none());
    ours.map(|entry| (&entry["apiVersion"], &entry["fieldsV1"]))
}
