//! Tables for the pure files of this room.

mod health;
mod inventory;
mod merge;
mod project;
mod state;

use serde_json::{Value, json};

use super::own::{self, Owner};
use super::{commit, diff, order};
use crate::manifest::digest::template_digest;
use crate::manifest::{File, Object, ObjectId, parse};

pub(super) fn owner() -> Owner {
    Owner { namespace: "shop".to_owned(), name: "web".to_owned(), uid: "app-1".to_owned() }
}

/// `group/version Kind namespace/name`; an empty namespace for a cluster-scoped object.
pub(super) fn id(text: &str) -> ObjectId {
    let words: Vec<&str> = text.split(' ').collect();
    let (group, version) = words[0].split_once('/').unwrap_or(("", words[0]));
    let (namespace, name) = words[2].split_once('/').unwrap();
    let [group, version, kind, namespace, name] = [group, version, words[1], namespace, name].map(str::to_owned);
    ObjectId { group, version, kind, namespace, name }
}

pub(super) fn objects(text: &str) -> Vec<Object> {
    parse(&[File { path: "all.yaml".to_owned(), bytes: text.as_bytes().to_vec() }]).unwrap()
}

/// Protects: what others need comes first; pruning goes exactly the other way.
#[test]
fn order_of_applying_and_pruning() {
    let wanted = [
        "v1 Namespace /a",
        "v1 Namespace /shop",
        "apiextensions.k8s.io/v1 CustomResourceDefinition /x",
        "v1 ServiceAccount shop/web",
        "rbac.authorization.k8s.io/v1 RoleBinding shop/web",
        "v1 ConfigMap shop/web",
        "v1 PersistentVolumeClaim shop/web",
        "v1 Secret shop/web",
        "tidegate.dev/v1alpha1 AnalysisTemplate shop/web",
        "v1 Service shop/web",
        "apps/v1 Deployment shop/web",
        "batch/v1 Job shop/web",
        "autoscaling/v2 HorizontalPodAutoscaler shop/web",
        "gateway.networking.k8s.io/v1 Gateway shop/web",
        "gateway.networking.k8s.io/v1 HTTPRoute shop/web",
        "networking.k8s.io/v1 Ingress shop/web",
        "acme.dev/v1 Thing shop/web",
        "tidegate.dev/v1alpha1 Rollout shop/web",
        "admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration /web",
    ];
    let wanted: Vec<ObjectId> = wanted.iter().map(|text| id(text)).collect();
    let mut sorted = wanted.clone();
    sorted.reverse();
    sorted.swap(3, 11);
    sorted.sort_by(order::apply_order);
    assert_eq!(sorted, wanted);
    sorted.sort_by(order::prune_order);
    sorted.reverse();
    assert_eq!(sorted, wanted);
}

/// Protects: an object is marked with its owner, and nothing that only the API server may say is applied.
#[test]
fn stamped_for_its_owner() {
    let git = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "c", "namespace": "elsewhere", "labels": null, "uid": "x", "resourceVersion": "1", "generation": 2,
            "managedFields": [], "creationTimestamp": null, "annotations": {"a": "b"}, "finalizers": ["f"],
        },
        "data": {"k": "v"},
    });
    let mut wanted = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "c", "namespace": "shop", "labels": {"tidegate.dev/owned-by": "shop.web"},
            "annotations": {"a": "b", "tidegate.dev/owner-uid": "app-1"}, "finalizers": ["f"],
        },
        "data": {"k": "v"},
    });
    assert_eq!(own::stamp(&git, "shop", &owner()), wanted);
    wanted["metadata"].as_object_mut().unwrap().remove("namespace");
    assert_eq!(own::stamp(&git, "", &owner()), wanted);
}

/// Protects: labels end at 63 characters, and two long names stay two owners.
#[test]
fn owner_labels() {
    let label = |namespace: &str, name: &str| Owner { namespace: namespace.to_owned(), name: name.to_owned(), ..owner() }.label();
    assert_eq!(label("shop", "web"), "shop.web");
    assert_eq!(label(&"n".repeat(31), &"a".repeat(31)).len(), 63);
    assert_eq!(label("n", &"a".repeat(61)), format!("n.{}", "a".repeat(61)));
    let long = label(&"n".repeat(63), "a");
    assert_eq!(long, format!("{}.050866531a4c6971", "n".repeat(46)));
    assert_ne!(long, label(&"n".repeat(63), "b"));
}

/// Protects: two owners are refused by name; only what is certainly ours is ever deleted.
#[test]
fn ownership() {
    let config = id("v1 ConfigMap shop/c");
    let live = |label: Option<&str>, owner_uid: &str, uid: &str| {
        let mut live = json!({"metadata": {"uid": uid, "annotations": {"tidegate.dev/owner-uid": owner_uid}, "labels": {}}});
        if let Some(label) = label {
            live["metadata"]["labels"]["tidegate.dev/owned-by"] = label.into();
        }
        live
    };
    for (label, owner_uid, uid, may_apply, ours) in [
        (Some("shop.web"), "app-1", "u1", true, true),
        (Some("shop.web"), "app-1", "u2", true, false),
        (Some("shop.web"), "app-0", "u1", true, false),
        (None, "app-1", "u1", true, false),
        (Some("shop.api"), "app-1", "u1", false, false),
    ] {
        let live = live(label, owner_uid, uid);
        assert_eq!(own::check(&config, &live, &owner()).is_ok(), may_apply, "{live}");
        assert_eq!(own::is_ours(&live, &owner(), Some("u1")), ours, "{live}");
    }
    assert!(own::is_ours(&live(Some("shop.web"), "app-1", "any"), &owner(), None));
    let refused = own::check(&config, &live(Some("shop.api\u{1b}[1m"), "", ""), &owner()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "ConfigMap shop/c belongs to the Application shop.api[1m; remove it from one of the two, or its label tidegate.dev/owned-by to hand it over"
    );
}

/// Protects: `tidegate.dev/commit` moves with the template's digest and with nothing else.
#[test]
fn commit_of_a_rollout() {
    let (old, new, third) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
    let rollout = |image: &str, replicas: u32| json!({"metadata": {"name": "w"}, "spec": {"replicas": replicas, "template": {"image": image}}});
    let live = |image: &str, annotations: Value| {
        let mut live = rollout(image, 1);
        live["metadata"]["annotations"] = annotations;
        live
    };
    let annotated = |git: &Value, live: Option<&Value>, retry: Option<&str>| {
        let mut value = git.clone();
        commit::annotate(&mut value, live, &new, retry);
        assert_eq!(template_digest(&value["spec"]["template"]), template_digest(&git["spec"]["template"]));
        value["metadata"]["annotations"].clone()
    };
    let commit = |commit: &str| json!({"tidegate.dev/commit": commit});
    let both = |commit: &str, retry: &str| json!({"tidegate.dev/commit": commit, "tidegate.dev/retry": retry});
    assert_eq!(annotated(&rollout("1", 1), None, None), commit(&new));
    assert_eq!(annotated(&rollout("1", 9), Some(&live("1", commit(&old))), None), commit(&old));
    assert_eq!(annotated(&rollout("2", 1), Some(&live("1", commit(&old))), None), commit(&new));
    assert_eq!(annotated(&rollout("1", 1), Some(&live("1", json!({}))), None), commit(&new));
    assert_eq!(annotated(&rollout("1", 1), Some(&live("1", commit("made up"))), None), commit(&new));
    assert_eq!(annotated(&rollout("1", 1), Some(&live("1", both(&old, &old))), None), both(&old, &old));
    assert_eq!(annotated(&rollout("1", 1), Some(&live("1", both(&old, &old))), Some(&third)), both(&old, &third));
}

/// Protects: nothing is written when nothing changed, and a lost ownership of a field is a change.
#[test]
fn what_counts_as_a_change() {
    let object = |data: &str, version: &str, fields: &Value| {
        json!({"metadata": {"name": "c", "resourceVersion": version, "generation": version.len(), "labels": {"l": data},
                "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:data": {version: {}}}},
                                  {"manager": "tidegate-sync", "operation": "Apply", "apiVersion": "v1", "time": version, "fieldsV1": fields}]},
            "data": {"k": data}})
    };
    let (all, some) = (json!({"f:data": {"f:k": {}}}), json!({}));
    let live = object("v", "1", &all);
    for (dry_run, steered, wanted) in [
        (object("v", "22", &all), false, false),
        (object("v", "1", &some), false, true),
        (object("v", "1", &some), true, false),
        (object("w", "1", &all), false, true),
        (object("w", "1", &all), true, true),
    ] {
        assert_eq!(diff::changes(&live, &dry_run, steered), wanted, "{dry_run}");
    }
    let mut more = live.clone();
    more["immutable"] = true.into();
    assert!(diff::changes(&live, &more, true) && diff::changes(&more, &live, true));
}
