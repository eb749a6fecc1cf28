//! The cluster under test, a namespace for each test, and Tidegate's definitions, policies and roles in it.

use std::fs;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Client, Config};
use serde_json::{Value, json};
use tidegate::api::names::SYSTEM_NAMESPACE;
use tidegate::api::{self, Rollout};
use tokio::sync::Mutex;

/// Longest time until the API server follows a change of its definitions and policies.
const SETTLES: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "tests are told by environment variables where the cluster is")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(why: &str) {
    eprintln!("skipped, {why}");
}

/// Where the administrator's kubeconfig is, if one was given.
pub fn kubeconfig() -> Option<String> {
    variable("TIDEGATE_CONTROL_PLANE_KUBECONFIG")
}

/// How to reach the cluster as its administrator; none when no cluster was given, which is said on standard error.
pub async fn config() -> Option<Config> {
    let Some(path) = kubeconfig() else {
        let why = "no API server: set TIDEGATE_CONTROL_PLANE_KUBECONFIG (make up LEVEL=control-plane)";
        assert!(variable("TIDEGATE_REQUIRE_NODE").as_deref() != Some("1"), "{why}");
        skipped(why);
        return None;
    };
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.read_timeout = Some(Duration::from_secs(30));
    Some(config)
}

/// Is every fault to be tried everywhere?
pub fn all_faults() -> bool {
    variable("TIDEGATE_FAULTS").as_deref() == Some("all")
}

/// Where the cluster's audit log is; none when nobody said, which is said on standard error.
pub fn audit_log() -> Option<String> {
    let path = variable("TIDEGATE_AUDIT_LOG");
    if path.is_none() {
        skipped("the audit log is not compared: set TIDEGATE_AUDIT_LOG");
    }
    path
}

/// The cluster, as its administrator, with Tidegate's definitions, policies and roles; none when none was given.
pub async fn cluster() -> Option<Client> {
    let client = Client::try_from(config().await?).unwrap();
    install(&client).await;
    Some(client)
}

/// The cluster as seen by `user`, who is nobody to it but by the roles that a test binds.
pub async fn as_user(user: &str) -> Client {
    let mut config = config().await.unwrap();
    config.auth_info.impersonate = Some(user.to_owned());
    Client::try_from(config).unwrap()
}

/// Runs `test` in a new namespace, which is deleted after it, also when it fails.
pub async fn in_namespace(client: &Client, test: impl AsyncFnOnce(&str)) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    #[expect(clippy::disallowed_methods, reason = "names of namespaces are unique over runs by the clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let name = format!("test-{now:x}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace =
        Namespace { metadata: kube::core::ObjectMeta { name: Some(name.clone()), ..Default::default() }, ..Default::default() };
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let result = AssertUnwindSafe(test(&name)).catch_unwind().await;
    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

/// An interface to the kind of `object`, in its namespace or else in `namespace`.
pub fn api_of(client: &Client, object: &Value, namespace: Option<&str>) -> Api<DynamicObject> {
    let text = |key: &str| object[key].as_str().unwrap();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")));
    match object["metadata"]["namespace"].as_str().or(namespace) {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Creates `object`, or only asks whether it could be.
pub async fn create(client: &Client, namespace: Option<&str>, object: &Value, dry_run: bool) -> kube::Result<DynamicObject> {
    let typed: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    api_of(client, object, namespace).create(&PostParams { dry_run, ..PostParams::default() }, &typed).await
}

/// Applies `object` from the server's side.
pub async fn apply(client: &Client, object: &Value, dry_run: bool) -> kube::Result<DynamicObject> {
    let params = PatchParams { dry_run, ..PatchParams::apply("tidegate-tests").force() };
    let name = object["metadata"]["name"].as_str().unwrap();
    api_of(client, object, None).patch(name, &params, &Patch::Apply(object)).await
}

/// The objects of a file in `deploy/`.
pub fn deployed(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(format!("deploy/{file}")).unwrap();
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

/// Gives `user` the rules in `namespace`.
pub async fn allow(client: &Client, namespace: &str, user: &str, rules: Value) {
    let meta = json!({"name": user, "namespace": namespace});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": rules});
    create(client, None, &role, false).await.unwrap();
    bind(client, namespace, user, "Role", user).await;
}

/// Binds a Role or ClusterRole to `user` in `namespace`.
pub async fn bind(client: &Client, namespace: &str, user: &str, kind: &str, role: &str) {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": format!("{user}-{role}"), "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    create(client, None, &binding, false).await.unwrap();
}

/// Runs `attempt` until it says yes; what is new in an API server is followed within seconds, not at once.
pub async fn eventually(what: &str, mut attempt: impl AsyncFnMut() -> bool) {
    let until = tokio::time::Instant::now() + SETTLES;
    while !attempt().await {
        assert!(tokio::time::Instant::now() < until, "not within {SETTLES:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Definitions, policies and roles, once per run; the Deployment is not started.
async fn install(client: &Client) {
    static DONE: Mutex<bool> = Mutex::const_new(false);
    let mut done = DONE.lock().await;
    if *done {
        return;
    }
    for crd in api::crds() {
        apply(client, &serde_json::to_value(&crd).unwrap(), false).await.unwrap();
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in api::crds() {
        let name = crd.metadata.name.unwrap();
        eventually(&format!("{name} is established"), async || {
            let conditions =
                definitions.get(&name).await.unwrap().status.and_then(|status| status.conditions).unwrap_or_default();
            conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
        })
        .await;
    }
    for file in ["namespace.yaml", "admission.yaml", "rbac.yaml", "roles.yaml"] {
        for object in deployed(file) {
            apply(client, &object, false).await.unwrap();
        }
    }
    // A command at creation is refused by the policies as soon as they are followed.
    let mut rollout = crate::examples::rollout();
    rollout["spec"]["request"] = json!({"id": "x", "action": "abort"});
    eventually("the policies are followed", async || create(client, Some(SYSTEM_NAMESPACE), &rollout, true).await.is_err()).await;
    let definition = <Rollout as kube::CustomResourceExt>::crd_name();
    let params = DeleteParams { dry_run: true, ..DeleteParams::default() };
    eventually("the definitions are kept", async || definitions.delete(definition, &params).await.is_err()).await;
    *done = true;
}

/// What the API server said when it refused.
pub fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> kube::core::Status {
    match result.unwrap_err() {
        kube::Error::Api(status) => *status,
        other => panic!("not a refusal of the API server: {other}"),
    }
}
