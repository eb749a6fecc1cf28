use jiff::Timestamp;
use serde_json::json;

use super::*;

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn metadata(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> PodMetadata {
    PodMetadata { labels: map(labels), annotations: map(annotations) }
}

/// A ReplicaSet as the API server holds it, as it is observed.
fn observed(object: &Value) -> ReplicaSet {
    let read = |pointer: &str| -> BTreeMap<String, String> {
        object.pointer(pointer).map(|value| serde_json::from_value(value.clone()).unwrap()).unwrap_or_default()
    };
    ReplicaSet {
        name: "web-abc".to_owned(),
        uid: object["metadata"]["uid"].as_str().unwrap().to_owned(),
        resource_version: object["metadata"]["resourceVersion"].as_str().unwrap().to_owned(),
        generation: 1,
        hash: "abc".to_owned(),
        revision: 1,
        wanted: 1,
        current: 1,
        ready: 1,
        available: 1,
        deleting: false,
        worn: Worn {
            min_ready_seconds: object["spec"]["minReadySeconds"].as_i64().unwrap_or(0).try_into().unwrap(),
            labels: read("/spec/template/metadata/labels"),
            annotations: read("/spec/template/metadata/annotations"),
            affinity: object.pointer("/spec/template/spec/affinity").cloned().unwrap_or(Value::Null),
        },
    }
}

fn set(template: Value) -> Value {
    json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "spec": {"template": template}})
}

/// Brings an object to what it is to wear; then it is at rest.
fn wear(mut object: Value, dress: &Dress) -> Value {
    if let Some(patch) = replica_set(&observed(&object), dress) {
        json_patch::patch(&mut object, &patch).unwrap();
    }
    assert_eq!(replica_set(&observed(&object), dress), None, "it is at rest");
    object
}

fn undressed() -> Value {
    set(json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}))
}

/// Protects: what a role puts on comes off again, whole, when the role changes, and nothing else changes.
#[test]
fn on_and_off() {
    let canary = Dress {
        min_ready_seconds: 5,
        metadata: metadata(&[("role", "canary"), ("example.com/a", "1")], &[("note", "x")]),
        avoids: Some(("def".to_owned(), AntiAffinity::Preferred(40))),
    };
    let dressed = wear(undressed(), &canary);
    let said = serde_json::to_string(&canary.metadata).unwrap();
    let term = json!({"weight": 40, "podAffinityTerm": {
        "labelSelector": {"matchExpressions": [{"key": POD_TEMPLATE_HASH, "operator": "In", "values": ["def"]}]},
        "topologyKey": "kubernetes.io/hostname"}});
    let template = json!({
        "metadata": {
            "labels": {"app": "web", "role": "canary", "example.com/a": "1"},
            "annotations": {"note": "x", "tidegate.dev/role-metadata": said}},
        "spec": {"containers": [], "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}}
    });
    assert_eq!(dressed["spec"], json!({"minReadySeconds": 5, "template": template}));
    let stable = Dress { min_ready_seconds: 5, metadata: metadata(&[("role", "stable")], &[]), avoids: None };
    let changed = wear(dressed, &stable);
    let said = serde_json::to_string(&stable.metadata).unwrap();
    let worn = json!({"labels": {"app": "web", "role": "stable"}, "annotations": {"tidegate.dev/role-metadata": said}});
    assert_eq!(changed["spec"]["template"], json!({"metadata": worn, "spec": {"containers": []}}));
    let bare = wear(changed, &Dress::default());
    let worn = json!({"labels": {"app": "web"}, "annotations": {}});
    assert_eq!(bare["spec"], json!({"minReadySeconds": 0, "template": {"metadata": worn, "spec": {"containers": []}}}));
}

/// Protects: what others put there. Their labels of the same name, their affinities and empty ones stay, and a Rollout that
/// uses none of this writes nothing.
#[test]
fn what_is_not_ours_stays() {
    let own = json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"});
    let affinity =
        json!({"nodeAffinity": {"x": 1}, "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [own]}});
    let template = json!({
        "metadata": {"labels": {"app": "web", "role": "mine"}, "annotations": {"tidegate.dev/role-metadata": "not JSON"}},
        "spec": {"affinity": affinity}
    });
    let dress = Dress {
        metadata: metadata(&[("role", "canary")], &[]),
        avoids: Some(("def".to_owned(), AntiAffinity::Required)),
        ..Dress::default()
    };
    let dressed = wear(set(template.clone()), &dress);
    assert_eq!(dressed["spec"]["template"]["metadata"]["labels"]["role"], "mine");
    let list = "/spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    let terms = dressed.pointer(list).unwrap().as_array().unwrap();
    assert_eq!((&terms[0], terms.len()), (&own, 2));
    assert_eq!(wear(dressed, &Dress::default())["spec"]["template"]["spec"], template["spec"]);
    for spec in [json!({}), json!({"affinity": {}}), json!({"affinity": {"podAntiAffinity": {}}})] {
        let plain = set(json!({"metadata": {"labels": {"app": "web"}}, "spec": spec}));
        assert_eq!(replica_set(&observed(&plain), &Dress::default()), None);
    }
}

/// Protects: a write that comes late. Each patch tests the uid and the resourceVersion that were seen.
#[test]
fn patches_test_what_was_seen() {
    let dress = Dress { min_ready_seconds: 5, ..Dress::default() };
    let patch = replica_set(&observed(&undressed()), &dress).unwrap();
    for (field, value) in [("uid", "another"), ("resourceVersion", "8")] {
        let mut changed = undressed();
        changed["metadata"][field] = json!(value);
        assert!(json_patch::patch(&mut changed, &patch).is_err(), "{field}");
    }
    json_patch::patch(&mut undressed(), &patch).unwrap();
}

/// Protects: a template that a ReplicaSet is created from wears what a later look would put on, so that no patch follows.
#[test]
fn created_as_dressed() {
    let dress = Dress {
        min_ready_seconds: 0,
        metadata: metadata(&[("role", "canary")], &[("note", "x")]),
        avoids: Some(("def".to_owned(), AntiAffinity::Required)),
    };
    let mut created = undressed()["spec"]["template"].clone();
    template(&mut created, &dress);
    assert_eq!(replica_set(&observed(&set(created)), &dress), None);
}

/// Protects: running pods. What each wears is read off that pod, so that a crash between two of them is found.
#[test]
fn pods_each_by_itself() {
    let canary = metadata(&[("role", "canary")], &[]);
    let pod_of = |worn: Worn| Pod {
        name: "web-abc-1".to_owned(),
        uid: "p".to_owned(),
        resource_version: "9".to_owned(),
        hash: "abc".to_owned(),
        created: Timestamp::UNIX_EPOCH,
        ready: true,
        deleting: false,
        worn,
    };
    let fresh = pod_of(Worn { labels: map(&[("app", "web")]), ..Worn::default() });
    let mut object = json!({"metadata": {"uid": "p", "resourceVersion": "9", "labels": {"app": "web"}}});
    json_patch::patch(&mut object, &pod(&fresh, &canary).unwrap()).unwrap();
    let annotations: BTreeMap<String, String> = serde_json::from_value(object["metadata"]["annotations"].clone()).unwrap();
    let dressed = pod_of(Worn { labels: map(&[("app", "web"), ("role", "canary")]), annotations, ..Worn::default() });
    assert_eq!(pod(&dressed, &canary), None);
    json_patch::patch(&mut object, &pod(&dressed, &PodMetadata::default()).unwrap()).unwrap();
    assert_eq!(object["metadata"]["labels"], json!({"app": "web"}));
}
