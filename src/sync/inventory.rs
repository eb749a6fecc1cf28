//! Everything an Application applied, kept complete in a ConfigMap: what is not in here is never pruned.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::order;
use super::own::Owner;
use crate::api;
use crate::manifest::ObjectId;
use crate::manifest::object::clean;
use crate::manifest::parse::is_valid;

/// Largest inventory in bytes: a ConfigMap may have 1 MiB of data, keys included.
pub const MAX_BYTES: usize = (1 << 20) - 16 * 1024;
/// What stands for a uid that is not known yet.
const NO_UID: &str = "-";
/// Marks an entry that is kept although it left Git, see [`Entry::kept`].
const KEPT: &str = "kept";

/// One object that was, or is about to be, applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// What names it; with its namespace.
    pub id: ObjectId,
    /// Its uid, known after the apply.
    pub uid: Option<String>,
    /// It holds data and left Git through our own revert: only a person deletes it, whatever Git says later.
    pub kept: bool,
}

/// The inventory as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Every object.
    pub entries: Vec<Entry>,
    /// What the next write must find; none when there is no inventory yet.
    pub resource_version: Option<String>,
}

/// Why an inventory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// A line is not one of ours. Nothing is pruned on a guess.
    #[error(
        "failed to read the inventory: line {line} of '{key}' is not an entry; restore the ConfigMap, or delete it to start anew (nothing is pruned then)"
    )]
    Malformed {
        /// Key of the ConfigMap's data.
        key: String,
        /// Line from 1.
        line: usize,
    },
    /// Too many or too long names.
    #[error("failed to write the inventory: it has {bytes} bytes, a ConfigMap may have {MAX_BYTES}; split the Application")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Name of an Application's inventory.
#[must_use]
pub fn name_of(application: &str) -> String {
    format!("{application}-inventory")
}

impl Inventory {
    /// Reads an Application's inventory off its ConfigMap. One that belongs to an earlier Application of the same name
    /// (another uid) counts as empty: what that one left behind is not ours to prune.
    ///
    /// # Errors
    /// [`InventoryError::Malformed`].
    pub fn read(config_map: &Value, owner: &Owner) -> Result<Self, InventoryError> {
        let resource_version = config_map.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned);
        let owners = config_map.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let ours = owners.is_some_and(|owners| owners.iter().any(|o| o["uid"] == owner.uid.as_str()));
        let entries = match config_map.get("data").and_then(Value::as_object) {
            Some(data) if ours => decode(data.iter().map(|(key, text)| (key.as_str(), text.as_str().unwrap_or(NO_UID))))?,
            _ => Vec::new(),
        };
        Ok(Self { entries, resource_version })
    }

    /// The ConfigMap that holds `entries`, to be applied. Carries the resourceVersion of the inventory it follows, so
    /// that two controllers never write one over the other.
    ///
    /// # Errors
    /// [`InventoryError::TooLarge`].
    pub fn config_map(&self, entries: &[Entry], owner: &Owner) -> Result<Value, InventoryError> {
        let data = encode(entries);
        let bytes = data.iter().map(|(key, text)| key.len() + text.len()).sum();
        if bytes > MAX_BYTES {
            return Err(InventoryError::TooLarge { bytes });
        }
        let mut config_map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name_of(&owner.name),
                "namespace": owner.namespace,
                "ownerReferences": [{
                    "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
                    "kind": "Application",
                    "name": owner.name,
                    "uid": owner.uid,
                    "controller": true,
                }],
            },
            "data": data,
        });
        if let Some(version) = &self.resource_version {
            config_map["metadata"]["resourceVersion"] = version.as_str().into();
        }
        Ok(config_map)
    }
}

/// `Kind.version.group` (`Kind.version` for core) to lines `namespace/name uid`; `/name` has the namespace of the line
/// before. 5,000 objects with names and namespaces of 63 characters take 0.5 MB.
fn encode(entries: &[Entry]) -> BTreeMap<String, String> {
    let sorted: BTreeSet<&Entry> = entries.iter().collect();
    let mut data: BTreeMap<String, (String, &str)> = BTreeMap::new();
    for Entry { id, uid, kept } in sorted {
        let dot = if id.group.is_empty() { "" } else { "." };
        let (text, last) = data.entry(format!("{}.{}{dot}{}", id.kind, id.version, id.group)).or_default();
        // A cluster-scoped object has no namespace: its line starts with '.', which no namespace does.
        let namespace = match id.namespace.as_str() {
            "" => ".",
            same if same == *last => "",
            other => other,
        };
        *last = &id.namespace;
        let kept = if *kept { format!(" {KEPT}") } else { String::new() };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{namespace}/{} {}{kept}", id.name, uid.as_deref().unwrap_or(NO_UID));
    }
    data.into_iter().map(|(key, (text, _))| (key, text)).collect()
}

fn decode<'d>(data: impl Iterator<Item = (&'d str, &'d str)>) -> Result<Vec<Entry>, InventoryError> {
    let mut entries = Vec::new();
    for (key, text) in data {
        let mut namespace = "";
        for (index, line) in text.lines().enumerate() {
            let entry = decode_line(key, line, &mut namespace);
            entries.push(entry.ok_or_else(|| InventoryError::Malformed { key: clean(key, 100), line: index + 1 })?);
        }
    }
    entries.sort();
    Ok(entries)
}

fn decode_line<'d>(key: &str, line: &'d str, namespace: &mut &'d str) -> Option<Entry> {
    let mut parts = key.splitn(3, '.');
    let (kind, version, group) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
    let mut words = line.split(' ');
    let (place, name) = words.next()?.split_once('/')?;
    let (uid, mark) = (words.next()?, words.next());
    match place {
        "." => *namespace = "",
        "" if namespace.is_empty() => return None,
        "" => {}
        other => *namespace = other,
    }
    let kept = match mark {
        None => false,
        Some(KEPT) => true,
        Some(_) => return None,
    };
    let [group, version, kind, namespace, name] = [group, version, kind, *namespace, name].map(str::to_owned);
    let id = ObjectId { group, version, kind, namespace, name };
    // Whoever may edit ConfigMaps may have edited this one, and the parts go into request paths.
    if uid.is_empty() || words.next().is_some() || !is_valid(&id) {
        return None;
    }
    Some(Entry { id, uid: (uid != NO_UID).then(|| uid.to_owned()), kept })
}

/// What the inventory says before anything is applied: everything that is there, and everything that is about to be.
/// An object that is back in Git is no longer [`Entry::kept`].
#[must_use]
pub fn before_apply(inventory: &[Entry], wanted: &[ObjectId]) -> Vec<Entry> {
    let known: BTreeMap<_, &Entry> = inventory.iter().map(|entry| (entry.id.key(), entry)).collect();
    let uid_of = |id: &ObjectId| known.get(&id.key()).and_then(|entry| entry.uid.clone());
    let mut entries: Vec<Entry> = wanted.iter().map(|id| Entry { id: id.clone(), uid: uid_of(id), kept: false }).collect();
    entries.extend(left_git(inventory, wanted));
    entries.sort();
    entries
}

/// The entries that left Git, in the order in which they are pruned. The API version does not count: the same object
/// in another version has not left.
#[must_use]
pub fn left_git(inventory: &[Entry], wanted: &[ObjectId]) -> Vec<Entry> {
    let wanted: BTreeSet<_> = wanted.iter().map(ObjectId::key).collect();
    let mut left: Vec<Entry> = inventory.iter().filter(|entry| !wanted.contains(&entry.id.key())).cloned().collect();
    left.sort_by(|a, b| order::prune_order(&a.id, &b.id));
    left
}

/// Why an object that left Git stays in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// `spec.syncPolicy.automated.prune` is off.
    PruneOff,
    /// The object is annotated `tidegate.dev/prune: disabled`.
    PruneDisabled,
    /// It holds data and left Git through our own revert commit: a person has to delete it.
    PruneNeedsConfirmation,
    /// It is not, or no longer, ours: label, Application's uid or its own uid differ. Dropped from the inventory.
    NotOurs,
}

/// What pruning may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneRules {
    /// `spec.syncPolicy.automated.prune`.
    pub enabled: bool,
    /// A revert commit of ours is among the commits since the one that was synced last.
    pub own_revert: bool,
}

/// May the live object of an entry that left Git be deleted? None: yes.
#[must_use]
pub fn keep(entry: &Entry, live: &Value, owner: &Owner, rules: PruneRules) -> Option<Kept> {
    let annotation = live.pointer("/metadata/annotations").and_then(|a| a.get(api::names::PRUNE)).and_then(Value::as_str);
    if !super::own::is_ours(live, owner, entry.uid.as_deref()) {
        Some(Kept::NotOurs)
    } else if entry.kept || (rules.own_revert && holds_data(&entry.id)) {
        Some(Kept::PruneNeedsConfirmation)
    } else if annotation == Some("disabled") {
        Some(Kept::PruneDisabled)
    } else if rules.enabled {
        None
    } else {
        Some(Kept::PruneOff)
    }
}

/// Kinds whose deletion deletes data.
fn holds_data(id: &ObjectId) -> bool {
    matches!(
        (id.group.as_str(), id.kind.as_str()),
        ("", "PersistentVolumeClaim" | "PersistentVolume" | "Namespace")
            | ("apps", "StatefulSet")
            | ("apiextensions.k8s.io", "CustomResourceDefinition")
    )
}
