//! Files that are generated from the types and committed, and the installation in `deploy/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tidegate::api::names;
use tidegate::cli::{crds, reference};

/// The folder holds exactly these files.
fn same(folder: &str, wanted: Vec<(String, String)>, how: &str) {
    let names: BTreeSet<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, wanted.iter().map(|(name, _)| name.clone()).collect(), "files of {folder}; {how}");
    for (name, text) in wanted {
        let found = fs::read_to_string(Path::new(folder).join(&name)).unwrap();
        assert!(found == text, "{folder}/{name} is not what the types say; {how}");
    }
}

/// Protects: what is installed is what the controller was compiled with.
#[test]
fn crds_are_committed() {
    same("crds", crds::files().unwrap(), "run: cargo run --bin tidegate -- crds --dir crds");
}

/// Protects: the reference speaks of the fields that exist.
#[test]
fn reference_is_committed() {
    same("docs/reference", reference::pages(), "run: cargo run --bin tidegate -- crds --reference docs/reference");
}

fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

/// Protects: what `tidegate crds` prints can be applied as it is: no status, no nulls, the same kinds as the files.
#[test]
fn printed_crds_can_be_applied() {
    let stream = crds::stream().unwrap();
    let printed = documents(stream.strip_prefix("---\n").unwrap());
    let files = crds::files().unwrap();
    let files: Vec<Value> =
        files.iter().filter(|(name, _)| name != "kustomization.yaml").flat_map(|(_, text)| documents(text)).collect();
    assert_eq!(printed, files);
    for crd in &printed {
        assert_eq!(crd["status"], Value::Null);
        assert!(!crd.to_string().contains("null"), "{} has a null", crd["metadata"]["name"]);
        // A nullable field would pass `has()` in a rule while the controller reads it as absent.
        assert!(!crd.to_string().contains("\"nullable\""), "{} has a nullable field", crd["metadata"]["name"]);
    }
}

/// All objects of `deploy/`, and that every file there is listed.
fn deployed() -> Vec<Value> {
    let list: Value = serde_saphyr::from_str(&fs::read_to_string("deploy/kustomization.yaml").unwrap()).unwrap();
    let listed: BTreeSet<&str> = list["resources"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let mut there: BTreeSet<String> =
        fs::read_dir("deploy").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(there.remove("kustomization.yaml"));
    assert!(there.insert("../crds".to_owned()));
    assert_eq!(listed, there.iter().map(String::as_str).collect());
    let files = there.iter().filter(|name| *name != "../crds");
    files.flat_map(|name| documents(&fs::read_to_string(Path::new("deploy").join(name)).unwrap())).collect()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name).unwrap()
}

/// Protects: least rights. No wildcard anywhere; Secrets one by one; impersonation of service accounts and nobody
/// else; nothing that could widen its own rights; the specs of our kinds stay the users', but for a Rollout's `undo`.
#[test]
fn rights_are_listed_one_by_one() {
    let objects = deployed();
    let mut triples = BTreeSet::new();
    for role in objects.iter().filter(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role") {
        assert!(!role.to_string().contains('*'), "a wildcard in {}", role["metadata"]["name"]);
    }
    for rule in find(&objects, "ClusterRole", "tidegate")["rules"].as_array().unwrap() {
        let words =
            |key: &str| rule[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>();
        for resource in words("resources") {
            for verb in words("verbs") {
                triples.insert((resource.clone(), verb));
            }
        }
    }
    let verbs = |resource: &str| triples.iter().filter(|(r, _)| r == resource).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
    assert_eq!(verbs("secrets"), ["get"]);
    assert_eq!(verbs("rollouts"), ["get", "list", "patch", "watch"]);
    assert_eq!(verbs("applications"), ["get", "list", "watch"]);
    assert_eq!(verbs("services"), ["get", "list", "patch", "watch"]);
    let impersonated: Vec<&str> = triples.iter().filter(|(_, verb)| verb == "impersonate").map(|(r, _)| r.as_str()).collect();
    assert_eq!(impersonated, ["serviceaccounts"]);
    let widening =
        triples.iter().find(|(resource, verb)| resource.contains("role") || ["escalate", "bind"].contains(&verb.as_str()));
    assert_eq!(widening, None);
    let of = |role: &str| find(&objects, "ClusterRole", role).to_string();
    for verb in ["promote", "abort", "retry", "pause", "resume", "undo", "restart"] {
        let held =
            ["tidegate-viewer", "tidegate-deployer", "tidegate-operator"].map(|role| of(role).contains(&format!("\"{verb}\"")));
        assert_eq!(held, [false, false, true], "{verb}");
    }
}

/// Protects: a leader at any time. Two replicas that replace each other without a gap, on two nodes where there are two, kept
/// through drains; each may hold the one Lease, here and by its name, and no other.
#[test]
fn two_replicas_and_their_lease() {
    let objects = deployed();
    let spec = &find(&objects, "Deployment", "tidegate")["spec"];
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    assert_eq!((&spec["replicas"], &spec["strategy"]), (&json!(2), &rolling));
    let pod = &spec["template"];
    let spread = json!([{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": spec["selector"]}]);
    assert_eq!(pod["spec"]["topologySpreadConstraints"], spread);
    let budget = json!({"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": spec["selector"]});
    assert_eq!(find(&objects, "PodDisruptionBudget", "tidegate")["spec"], budget);
    let leases: Vec<&Value> = objects.iter().filter(|object| object.to_string().contains("coordination.k8s.io")).collect();
    let lease = |verbs: Value, names: Value| {
        let mut rule = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs});
        if !names.is_null() {
            rule["resourceNames"] = names;
        }
        rule
    };
    let rules = json!([lease(json!(["create"]), Value::Null), lease(json!(["get", "patch"]), json!([names::LEASE]))]);
    let found: Vec<(&Value, &Value, &Value)> =
        leases.iter().map(|role| (&role["kind"], &role["metadata"]["namespace"], &role["rules"])).collect();
    assert_eq!(found, [(&json!("Role"), &json!(names::SYSTEM_NAMESPACE), &rules)]);
    let binding = find(&objects, "RoleBinding", "tidegate-leader");
    let account = json!([{"kind": "ServiceAccount", "name": "tidegate", "namespace": "tidegate-system"}]);
    assert_eq!((&binding["metadata"]["namespace"], &binding["subjects"]), (&json!("tidegate-system"), &account));
}

/// Protects: the pod passes Pod Security "restricted", has its probes and its limits.
#[test]
fn the_pod_is_restricted() {
    let objects = deployed();
    let labels = &find(&objects, "Namespace", "tidegate-system")["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    let spec = &find(&objects, "Deployment", "tidegate")["spec"];
    let pod = &spec["template"]["spec"];
    let user = json!({"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}});
    assert_eq!(pod["securityContext"], user);
    let container = &pod["containers"][0];
    let context = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    assert_eq!(container["securityContext"], context);
    let resources = json!({"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}});
    assert_eq!(container["resources"], resources);
    let probes =
        ["startupProbe", "livenessProbe", "readinessProbe"].map(|probe| container[probe]["httpGet"]["path"].as_str().unwrap());
    assert_eq!(probes, ["/healthz", "/healthz", "/readyz"]);
    assert_eq!(container["image"], format!("ghcr.io/tidegate/tidegate:{}", env!("CARGO_PKG_VERSION")));
}

/// Protects: the Deployment's arguments are flags that this version has.
#[test]
fn the_pods_arguments_are_understood() {
    let objects = deployed();
    let args = &find(&objects, "Deployment", "tidegate")["spec"]["template"]["spec"]["containers"][0]["args"];
    let mut args: Vec<&str> = args.as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    // Parsed to the end, then the help is shown instead of starting a controller.
    args.push("--help");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate")).args(&args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
