//! The inventory: complete, readable, small enough, and never a reason to prune on a guess.

use serde_json::json;

use super::{id, owner};
use crate::manifest::ObjectId;
use crate::sync::inventory::{Entry, Inventory, InventoryError, Kept, MAX_BYTES, PruneRules, before_apply, keep, left_git};
use crate::sync::own::{Owner, stamp};

fn entry(text: &str, uid: Option<&str>) -> Entry {
    Entry { id: id(text), uid: uid.map(str::to_owned), kept: false }
}

/// Protects: what was written is read back whole; the format stands in clusters.
#[test]
fn round_trip_and_golden_format() {
    let mut entries = vec![
        entry("v1 Namespace /shop", Some("u1")),
        entry("v1 ConfigMap shop/a", Some("u2")),
        entry("v1 ConfigMap shop/b", None),
        entry("v1 ConfigMap other/a", Some("u3")),
        entry("gateway.networking.k8s.io/v1 HTTPRoute shop/web", Some("u4")),
        Entry { kept: true, ..entry("v1 PersistentVolumeClaim shop/data", Some("u5")) },
        entry("rbac.authorization.k8s.io/v1 ClusterRole /system:x", Some("u6")),
    ];
    let map = Inventory { entries: Vec::new(), resource_version: Some("7".to_owned()) }.config_map(&entries, &owner()).unwrap();
    assert_eq!(
        map,
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "web-inventory",
                "namespace": "shop",
                "resourceVersion": "7",
                "ownerReferences": [{"apiVersion": "tidegate.dev/v1alpha1", "kind": "Application", "name": "web", "uid": "app-1", "controller": true}],
            },
            "data": {
                "ClusterRole.v1.rbac.authorization.k8s.io": "./system:x u6\n",
                "ConfigMap.v1": "other/a u3\nshop/a u2\n/b -\n",
                "HTTPRoute.v1.gateway.networking.k8s.io": "shop/web u4\n",
                "Namespace.v1": "./shop u1\n",
                "PersistentVolumeClaim.v1": "shop/data u5 kept\n",
            },
        })
    );
    entries.sort();
    assert_eq!(Inventory::read(&map, &owner()).unwrap(), Inventory { entries, resource_version: Some("7".to_owned()) });
    let stranger = Owner { uid: "app-0".to_owned(), ..owner() };
    assert_eq!(
        Inventory::read(&map, &stranger).unwrap(),
        Inventory { entries: Vec::new(), resource_version: Some("7".to_owned()) }
    );
}

/// Protects: a broken inventory stops the sync; a name in it cannot lead a request elsewhere.
#[test]
fn malformed_lines_are_refused() {
    let base = Inventory::default().config_map(&[], &owner()).unwrap();
    for (key, line) in [
        ("ConfigMap.v1", ""),
        ("ConfigMap.v1", "shop/a"),
        ("ConfigMap.v1", "/a u1"),
        ("ConfigMap.v1", "shop/a u1 what"),
        ("ConfigMap.v1", "shop/a u1 kept more"),
        ("ConfigMap.v1", "shop/.. u1"),
        ("ConfigMap.v1", "shop/a/b u1"),
        ("ConfigMap.v1", "../a u1"),
        ("ConfigMap.v1", "shop/a "),
        ("ConfigMap", "shop/a u1"),
        ("Config-Map.v1", "shop/a u1"),
        ("ConfigMap.v1.a..b", "shop/a u1"),
    ] {
        let mut map = base.clone();
        map["data"] = json!({key: format!("{line}\nshop/ok u0\n")});
        let wanted = InventoryError::Malformed { key: key.to_owned(), line: 1 };
        assert_eq!(Inventory::read(&map, &owner()), Err(wanted), "{key}: {line}");
    }
    let mut map = base;
    map["data"] = json!({"ConfigMap.v1": "shop/ok u0\n/ok2 u1\nnonsense\n"});
    assert_eq!(Inventory::read(&map, &owner()), Err(InventoryError::Malformed { key: "ConfigMap.v1".to_owned(), line: 3 }));
}

/// Protects: 5,000 objects fit into a ConfigMap; what does not is refused before anything is applied.
#[test]
fn five_thousand_objects_fit() {
    let many = |name_length: usize| -> Vec<Entry> {
        let uid = "01234567-89ab-cdef-0123-456789abcdef";
        let name = |n: usize| format!("{n:04}{}", "x".repeat(name_length - 4));
        (0..5000).map(|n| entry(&format!("apps/v1 Deployment {}/{}", "n".repeat(63), name(n)), Some(uid))).collect()
    };
    let size = |entries: &[Entry]| {
        let map = Inventory::default().config_map(entries, &owner()).unwrap();
        map["data"].as_object().unwrap().values().map(|text| text.as_str().unwrap().len()).sum::<usize>()
    };
    assert_eq!(size(&many(63)), 63 + 5000 * (1 + 63 + 1 + 36 + 1));
    assert!(size(&many(160)) < MAX_BYTES);
    assert_eq!(
        Inventory::default().config_map(&many(253), &owner()),
        Err(InventoryError::TooLarge { bytes: "Deployment.v1.apps".len() + 63 + 5000 * (1 + 253 + 1 + 36 + 1) })
    );
}

/// Protects: ids are recorded before the apply that adds them, known uids stay, and what is back in Git is no longer kept.
#[test]
fn recorded_before_the_apply() {
    let known = [
        entry("v1 ConfigMap shop/a", Some("u1")),
        entry("v1 Secret shop/gone", Some("u2")),
        Entry { kept: true, ..entry("v1 PersistentVolumeClaim shop/data", Some("u3")) },
        entry("apps/v1beta1 Deployment shop/web", Some("u4")),
    ];
    let wanted: Vec<ObjectId> =
        ["v1 ConfigMap shop/new", "v1 ConfigMap shop/a", "v1 PersistentVolumeClaim shop/data", "apps/v1 Deployment shop/web"]
            .map(id)
            .to_vec();
    let mut expected = vec![
        entry("v1 ConfigMap shop/a", Some("u1")),
        entry("v1 ConfigMap shop/new", None),
        entry("v1 Secret shop/gone", Some("u2")),
        entry("v1 PersistentVolumeClaim shop/data", Some("u3")),
        entry("apps/v1 Deployment shop/web", Some("u4")),
    ];
    expected.sort();
    assert_eq!(before_apply(&known, &wanted), expected);
    assert_eq!(left_git(&known, &wanted), [entry("v1 Secret shop/gone", Some("u2"))]);
    let names: Vec<String> = left_git(&known, &[]).into_iter().map(|e| e.id.to_string()).collect();
    assert_eq!(names, ["Deployment.apps shop/web", "Secret shop/gone", "PersistentVolumeClaim shop/data", "ConfigMap shop/a"]);
}

/// Protects: what may be deleted. Data outlives our own revert, and what is not ours is not touched.
#[test]
fn what_may_be_pruned() {
    let all = PruneRules { enabled: true, own_revert: false };
    let revert = PruneRules { enabled: true, own_revert: true };
    let off = PruneRules { enabled: false, own_revert: false };
    let config = entry("v1 ConfigMap shop/a", Some("u1"));
    let data = entry("v1 PersistentVolumeClaim shop/a", Some("u1"));
    let kept = Entry { kept: true, ..data.clone() };
    let other_uid = entry("v1 ConfigMap shop/a", Some("u9"));
    let mut live = stamp(&json!({"metadata": {"name": "a"}}), "shop", &owner());
    live["metadata"]["uid"] = "u1".into();
    let mut disabled = live.clone();
    disabled["metadata"]["annotations"]["tidegate.dev/prune"] = "disabled".into();
    let mut stranger = live.clone();
    stranger["metadata"]["labels"]["tidegate.dev/owned-by"] = "shop.api".into();
    for (entry, live, rules, wanted) in [
        (&config, &live, all, None),
        (&config, &live, revert, None),
        (&config, &live, off, Some(Kept::PruneOff)),
        (&config, &disabled, all, Some(Kept::PruneDisabled)),
        (&config, &stranger, all, Some(Kept::NotOurs)),
        (&other_uid, &live, all, Some(Kept::NotOurs)),
        (&data, &live, all, None),
        (&data, &live, revert, Some(Kept::PruneNeedsConfirmation)),
        (&kept, &live, all, Some(Kept::PruneNeedsConfirmation)),
    ] {
        assert_eq!(keep(entry, live, &owner(), rules), wanted, "{entry:?} {rules:?}");
    }
    for text in [
        "v1 PersistentVolume /a",
        "v1 Namespace /a",
        "apps/v1 StatefulSet shop/a",
        "apiextensions.k8s.io/v1 CustomResourceDefinition /a",
    ] {
        assert_eq!(keep(&entry(text, Some("u1")), &live, &owner(), revert), Some(Kept::PruneNeedsConfirmation), "{text}");
    }
}
