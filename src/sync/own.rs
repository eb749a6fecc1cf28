//! Who owns an object: marks on what we apply, and the refusal to touch what another Application applied.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::api::names;
use crate::manifest::ObjectId;
use crate::manifest::object::clean;

/// Longest label value that Kubernetes allows.
const MAX_LABEL: usize = 63;
/// Hex digits of the digest in a shortened owner: 64 bits.
const DIGEST_LENGTH: usize = 16;

/// The Application that applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Owner {
    /// Value of the label [`names::OWNED_BY`]: `<namespace>.<application>`. Label values end at 63 characters and the
    /// two names may have 117: a longer one keeps its first 46 characters, followed by `.` and 16 hex digits of its
    /// SHA-256, so that two long names stay apart.
    #[must_use]
    pub fn label(&self) -> String {
        let full = format!("{}.{}", self.namespace, self.name);
        if full.len() <= MAX_LABEL {
            return full;
        }
        let digest: String = Sha256::digest(full.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let kept: String = full.chars().take(MAX_LABEL - DIGEST_LENGTH - 1).collect();
        format!("{}.{}", kept, &digest[..DIGEST_LENGTH])
    }
}

/// The live object belongs to another Application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{object} belongs to the Application {owner}; remove it from one of the two, or its label tidegate.dev/owned-by to hand it over"
)]
pub struct OwnedByOther {
    /// The object, in words.
    pub object: String,
    /// What its label says: `<namespace>.<application>`.
    pub owner: String,
}

/// May `owner` apply this object, as far as the live one says?
///
/// An object of a deleted and re-created Application of the same name is taken over: it is the same team's.
///
/// # Errors
/// [`OwnedByOther`] when the live object carries another Application's label.
pub fn check(id: &ObjectId, live: &Value, owner: &Owner) -> Result<(), OwnedByOther> {
    match label_of(live) {
        Some(label) if label != owner.label() => Err(OwnedByOther { object: id.to_string(), owner: clean(label, MAX_LABEL) }),
        _ => Ok(()),
    }
}

/// Is the live object certainly this very Application's? Asked before deleting: label, the Application's uid, and the
/// object's own uid where it was recorded all have to agree.
#[must_use]
pub fn is_ours(live: &Value, owner: &Owner, recorded_uid: Option<&str>) -> bool {
    let uid = live.pointer("/metadata/uid").and_then(Value::as_str);
    let owner_uid = live.pointer("/metadata/annotations").and_then(|a| a.get(names::OWNER_UID)).and_then(Value::as_str);
    label_of(live) == Some(owner.label().as_str())
        && owner_uid == Some(owner.uid.as_str())
        && (recorded_uid.is_none() || recorded_uid == uid)
}

fn label_of(live: &Value) -> Option<&str> {
    live.pointer("/metadata/labels")?.get(names::OWNED_BY)?.as_str()
}

/// Fields of `metadata` that the API server writes. An exported manifest carries them; applied, they would be
/// preconditions (`uid`, `resourceVersion`) or refused (`managedFields`).
const SERVER_FIELDS: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Git's version of an object as it is applied: in its namespace, with the owner's marks, without what only the API
/// server may say.
#[must_use]
pub fn stamp(value: &Value, namespace: &str, owner: &Owner) -> Value {
    let mut stamped = value.clone();
    edit(&mut stamped, "metadata", |metadata| {
        metadata.retain(|field, _| !SERVER_FIELDS.contains(&field.as_str()));
        if namespace.is_empty() {
            metadata.remove("namespace");
        } else {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
    });
    set(&mut stamped, "labels", names::OWNED_BY, &owner.label());
    set(&mut stamped, "annotations", names::OWNER_UID, &owner.uid);
    stamped
}

/// Sets an annotation on an object.
pub fn set_annotation(value: &mut Value, key: &str, text: &str) {
    set(value, "annotations", key, text);
}

/// Sets a field of `metadata` on an object.
pub fn set_metadata(value: &mut Value, key: &str, text: &str) {
    edit(value, "metadata", |metadata| {
        metadata.insert(key.to_owned(), text.into());
    });
}

fn set(value: &mut Value, map: &str, key: &str, text: &str) {
    edit(value, "metadata", |metadata| {
        let mut metadata_value = Value::Object(std::mem::take(metadata));
        edit(&mut metadata_value, map, |entries| {
            entries.insert(key.to_owned(), text.into());
        });
        *metadata = into_map(metadata_value);
    });
}

/// Changes the map at `key` of a map; what is missing, or no map, counts as an empty one.
fn edit(value: &mut Value, key: &str, change: impl FnOnce(&mut Map<String, Value>)) {
    let mut fields = into_map(value.take());
    let mut inner = into_map(fields.remove(key).unwrap_or_default());
    change(&mut inner);
    fields.insert(key.to_owned(), Value::Object(inner));
    *value = Value::Object(fields);
}

fn into_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
