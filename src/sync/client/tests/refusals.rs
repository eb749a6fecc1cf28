//! What stops a sync before anything is written, and what the errors say, and do not say.

use std::time::Duration;

use serde_json::json;

use super::server::{Action, Server};
use super::{CONFIG, DEPLOYMENT, SECRET, files, input, read};
use crate::api::condition::application as reasons;
use crate::manifest::{File, parse};
use crate::sync::client::{Cluster, ServiceAccount, SyncError};
use crate::sync::inventory::Inventory;

/// The error, after which nothing at all was written.
async fn refused(server: &Server, texts: &[&str]) -> SyncError {
    let cluster = Cluster::new(server.client());
    let error = cluster.sync_once(read(&cluster, texts).await).await.unwrap_err();
    assert_eq!(server.writes(), [""; 0], "{error}");
    error
}

fn invalid(field: &str, message: &str) -> Action {
    let status = json!({"kind": "Status", "code": 422, "reason": "Invalid", "message": message,
        "details": {"causes": [{"reason": "FieldValueInvalid", "field": field, "message": message}]}});
    Action::Answer(422, status.to_string())
}

/// Protects: a typo in one of ten files. Nothing of the other nine is applied; file and line are named, whether the
/// text or the API server finds it.
#[tokio::test]
async fn a_typo_in_one_of_ten_files() {
    let text = |n: usize| format!("# file {n}\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n}}}\n");
    let mut broken: Vec<File> = (0..10).map(|n| File { path: format!("{n}.yaml"), bytes: text(n).into_bytes() }).collect();
    broken[7].bytes = b"apiVersion: v1\nkind: ConfigMap\n metadata: {name: c7}\n".to_vec();
    assert_eq!(
        parse(&broken).unwrap_err().to_string(),
        "7.yaml:3: not valid YAML: mapping values are not allowed in this context"
    );

    let server = Server::new();
    let try_7 = "shop/deployer try /api/v1/namespaces/shop/configmaps/c7";
    server.fault(try_7, invalid("spec.repliacs", "unknown field \"spec.repliacs\""));
    let texts: Vec<String> = (0..10).map(text).collect();
    let error = refused(&server, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(
        error.to_string(),
        "nothing was applied: 7.yaml:2: failed to apply ConfigMap shop/c7 as service account shop/deployer: not valid: spec.repliacs (FieldValueInvalid): unknown field \"spec.repliacs\""
    );
    assert_eq!(error.reason(), reasons::APPLY_FAILED);
}

fn misfit(rest: &str) -> Action {
    let status = json!({"kind": "Status", "code": 500, "message": format!("failed to create typed patch object {rest}")});
    Action::Answer(500, status.to_string())
}

/// Protects: a misspelt or mistyped field of a built-in kind, which the API server answers with 500, is the manifest's
/// fault and names the field; of a Secret, the field and nothing else.
#[tokio::test]
async fn a_field_that_does_not_fit() {
    let server = Server::new();
    let unknown = "(shop/web; apps/v1, Kind=Deployment): .spec.replicaz: field not declared in schema";
    server.fault("shop/deployer try /apis/apps/v1/namespaces/shop/deployments/web", misfit(unknown));
    let mistyped =
        "(shop/db; /v1, Kind=Secret): .stringData.password: expected string, got &value.valueUnstructured{Value:12345}";
    server.fault("shop/deployer try /api/v1/namespaces/shop/secrets/db", misfit(mistyped));
    assert_eq!(
        refused(&server, &[SECRET, DEPLOYMENT]).await.to_string(),
        "nothing was applied: 0.yaml:1: failed to apply Secret shop/db as service account shop/deployer: not valid: stringData.password (FieldTypeInvalid): what the API server says is not shown, because it may quote the Secret; \
         1.yaml:1: failed to apply Deployment.apps shop/web as service account shop/deployer: not valid: spec.replicaz (FieldUnknown): failed to create typed patch object (shop/web; apps/v1, Kind=Deployment): .spec.replicaz: field not declared in schema"
    );
}

/// Protects: whoever reads the error knows which right is missing, of whom, for what. All of them at once.
#[tokio::test]
async fn a_service_account_without_rights() {
    let server = Server::new();
    for path in ["/api/v1/namespaces/shop/configmaps/a", "/apis/apps/v1/namespaces/shop/deployments/web"] {
        server.state().denied.insert(path.to_owned());
    }
    let error = refused(&server, &[DEPLOYMENT, SECRET, CONFIG]).await;
    assert_eq!(
        error.to_string(),
        "nothing was applied: 2.yaml:1: failed to get ConfigMap shop/a as service account shop/deployer: not allowed: User \"system:serviceaccount:shop:deployer\" cannot get it; \
         0.yaml:1: failed to get Deployment.apps shop/web as service account shop/deployer: not allowed: User \"system:serviceaccount:shop:deployer\" cannot get it"
    );
    assert_eq!(error.reason(), reasons::FORBIDDEN);
}

/// Protects: Secrets. Whatever the server says about one, in whatever form, its values are in no error.
#[tokio::test]
async fn values_of_secrets_are_in_no_error() {
    let quoting = "Secret \"db\" is invalid: data[password]: Invalid value: \"hunter2\"";
    for (verb, action) in [
        ("try", invalid("data[password]", quoting)),
        ("try", Action::Answer(500, json!({"kind": "Status", "message": quoting}).to_string())),
        ("try", Action::Answer(400, json!({"message": "expected map, got &{hunter2}"}).to_string())),
        ("try", Action::Answer(403, json!({"message": "denied by policy: hunter2"}).to_string())),
        ("try", Action::Answer(404, json!({"message": "hunter2"}).to_string())),
        ("try", Action::Answer(502, "<html>hunter2".to_owned())),
        (
            "try",
            misfit(
                "(shop/db; /v1, Kind=Secret): .stringData.password: expected string, got &value.valueUnstructured{Value: .hunter2: 1}",
            ),
        ),
        ("get", Action::Answer(200, "{\"data\": {\"password\": \"hunter2\"".to_owned())),
    ] {
        let server = Server::new();
        server.fault(&format!("shop/deployer {verb} /api/v1/namespaces/shop/secrets/db"), action);
        let error = refused(&server, &[SECRET]).await;
        let text = format!("{error} {error:?}");
        assert!(text.contains("Secret shop/db") && !text.contains("hunter2"), "{text}");
    }
    let debug = format!("{:?}", input(files(&[SECRET]), Inventory::default()));
    assert!(debug.contains("0.yaml") && !debug.contains("hunter2"), "{debug}");
}

/// Protects: two owners are refused by name, before anything is written.
#[tokio::test]
async fn an_object_of_another_application() {
    let server = Server::new();
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"tidegate.dev/owned-by": "shop.api"}}});
    server.state().put("/api/v1/namespaces/shop/configmaps/a", theirs);
    let error = refused(&server, &[CONFIG, DEPLOYMENT]).await;
    assert_eq!(
        error.to_string(),
        "nothing was applied: 0.yaml:1: ConfigMap shop/a belongs to the Application shop.api; remove it from one of the two, or its label tidegate.dev/owned-by to hand it over"
    );
    assert_eq!(error.reason(), reasons::OWNED_BY_OTHER);
}

/// Protects: the Project's rules hold before anything is even read, and for kinds as the cluster knows them.
#[tokio::test]
async fn outside_of_the_rules() {
    let server = Server::new();
    let elsewhere = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: prod}\n";
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod, namespace: shop}\n";
    let error = refused(&server, &[elsewhere, namespace]).await;
    let rule = "(rule: an Application without a Project deploys to its own namespace only)";
    assert_eq!(
        error.to_string(),
        format!("0.yaml:1: ConfigMap prod/c goes to namespace 'prod' {rule}; 1.yaml:1: Namespace prod is cluster-scoped {rule}")
    );
    assert_eq!(error.reason(), reasons::NOT_ALLOWED);
}

/// Protects: an unknown kind is named with its file; the same object with and without its namespace is a duplicate.
#[tokio::test]
async fn unknown_kinds_and_duplicates() {
    let thing = "apiVersion: acme.dev/v1\nkind: Thing\nmetadata: {name: t}\n";
    let error = refused(&Server::new(), &[CONFIG, thing]).await;
    assert_eq!(
        error.to_string(),
        "nothing was applied: 1.yaml:1: the cluster does not know Thing of acme.dev/v1; install its CustomResourceDefinition first, or add it to the path"
    );
    let named = CONFIG.replace("name: a", "name: a, namespace: shop");
    let error = refused(&Server::new(), &[CONFIG, &named]).await;
    assert_eq!(error.to_string(), "1.yaml:1: ConfigMap shop/a stands in Git twice, also in 0.yaml:1");
}

/// Protects: a server that does not answer ends the call, not the Application.
#[tokio::test]
async fn a_server_that_hangs() {
    let server = Server::new();
    let cluster = Cluster::new(server.client()).with_deadline(Duration::from_millis(50));
    server.fault("shop/deployer get /api/v1/namespaces/shop/configmaps/a", Action::Hang);
    let error = cluster.sync_once(input(files(&[CONFIG]), Inventory::default())).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "nothing was applied: 0.yaml:1: failed to get ConfigMap shop/a as service account shop/deployer: no answer in time"
    );
    assert_eq!(error.reason(), reasons::UNREACHABLE);
}

/// Protects: a broken inventory is not read as an empty one.
#[tokio::test]
async fn a_broken_inventory() {
    let server = Server::new();
    let cluster = Cluster::new(server.client());
    cluster.sync_once(read(&cluster, &[CONFIG]).await).await.unwrap();
    server.state().edit(super::INVENTORY_PATH, |map| map["data"]["ConfigMap.v1"] = "nonsense".into());
    let error = cluster.read_inventory(&super::owner()).await.unwrap_err();
    assert!(error.to_string().starts_with("failed to read the inventory: line 1 of 'ConfigMap.v1' is not an entry"), "{error}");
}

/// Protects: an empty or ambiguous identity never becomes the controller's own, or another account's.
#[test]
fn identities() {
    assert!(ServiceAccount::new("shop", "deployer.v2").is_some());
    for (namespace, name) in [
        ("", "x"),
        ("shop", ""),
        ("shop", "a:b"),
        ("kube-system:x", "y"),
        ("shop", "x\r\nImpersonate-Group: system:masters"),
        ("shop", "a b"),
    ] {
        assert_eq!(ServiceAccount::new(namespace, name), None, "{namespace} {name}");
    }
}
