//! Who else is in a cluster: a kubelet that makes pods ready, a gateway that confirms routes, a Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tidegate::api::rollout::RouteKind;
use tidegate::controller::rollout::observe::route_resource;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support;

/// Kubelet and gateway look this often.
const LOOK: Duration = Duration::from_millis(40);
/// The node-lifecycle controller takes a node that is silent for 40 s for lost, and its pods for not ready.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What pods and gateway do.
#[derive(Debug, Default)]
pub struct Script {
    never_ready: Mutex<BTreeSet<String>>,
    silent: AtomicBool,
    lag_milliseconds: AtomicU64,
}

impl Script {
    /// Pods of this image never become ready.
    pub fn never_ready(&self, image: &str) {
        self.never_ready.lock().unwrap().insert(image.to_owned());
    }

    /// The gateway says nothing from now on, or speaks again.
    pub fn gateway_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    /// The gateway confirms a change so much later.
    pub fn gateway_lag(&self, lag: Duration) {
        self.lag_milliseconds.store(u64::try_from(lag.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock of a kubelet")]
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Says that the node is well.
pub async fn heartbeat(client: &Client, node: &str) {
    let condition = json!({"type": "Ready", "status": "True", "reason": "Played", "message": "", "lastHeartbeatTime": now(), "lastTransitionTime": now()});
    let nodes: Api<Node> = Api::all(client.clone());
    let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
    let _ = nodes.patch_status(node, &PatchParams::default(), &patch).await;
}

/// Plays the kubelet of one namespace's node.
pub async fn kubelet(client: Client, namespace: String, script: Arc<Script>) {
    static ADDRESS: AtomicU32 = AtomicU32::new(1);
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let mut beat = Instant::now();
    loop {
        if beat.elapsed() > HEARTBEAT {
            heartbeat(&client, &namespace).await;
            beat = Instant::now();
        }
        for pod in pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
            let name = pod.name_any();
            if pod.metadata.deletion_timestamp.is_some() {
                let _ = pods.delete(&name, &DeleteParams::default().grace_period(0)).await;
                continue;
            }
            let image = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).unwrap_or_default();
            let started = pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some());
            if started || script.never_ready.lock().unwrap().contains(&image) {
                continue;
            }
            let number = ADDRESS.fetch_add(1, Ordering::SeqCst);
            let address = format!("10.{}.{}.{}", 128 + number / 65536, number / 256 % 256, number % 256);
            let conditions: Vec<Value> = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
                .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now()}))
                .to_vec();
            let status = json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions, "startTime": now()});
            let _ = pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Plays the gateway for one namespace's routes.
pub async fn gateway(client: Client, namespace: String, script: Arc<Script>) {
    let routes: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &route_resource(RouteKind::Http));
    let mut seen: BTreeMap<(String, i64), Instant> = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        if script.silent.load(Ordering::SeqCst) {
            continue;
        }
        let lag = Duration::from_millis(script.lag_milliseconds.load(Ordering::SeqCst));
        for route in routes.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
            let generation = route.metadata.generation.unwrap_or(0);
            let since = *seen.entry((route.name_any(), generation)).or_insert_with(Instant::now);
            let known = route.data.pointer("/status/parents/0/conditions/0/observedGeneration").and_then(Value::as_i64);
            if known == Some(generation) || since.elapsed() < lag {
                continue;
            }
            let conditions = ["Accepted", "ResolvedRefs"].map(|kind| json!({"type": kind, "status": "True", "reason": kind, "message": "", "observedGeneration": generation, "lastTransitionTime": now()}));
            let parent = json!({"parentRef": {"name": "gateway"}, "controllerName": CONTROLLER, "conditions": conditions});
            let patch = Patch::Merge(json!({"status": {"parents": [parent]}}));
            let _ = routes.patch_status(&route.name_any(), &PatchParams::default(), &patch).await;
        }
    }
}

pub const CONTROLLER: &str = "tests.example.com/gateway";

fn definition(kind: &str, plural: &str, namespaced: bool) -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = json!({
        "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.gateway.networking.k8s.io"),
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in for tests"},
        },
        "spec": {
            "group": "gateway.networking.k8s.io", "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()}, "versions": [version],
        },
    })
}

/// Gateway API's definitions, where the API server has none, and a class.
pub async fn install_gateway_api(client: &Client) {
    static DONE: tokio::sync::Mutex<bool> = tokio::sync::Mutex::const_new(false);
    let mut done = DONE.lock().await;
    if *done {
        return;
    }
    for (kind, plural, namespaced) in [
        ("HTTPRoute", "httproutes", true),
        ("GRPCRoute", "grpcroutes", true),
        ("Gateway", "gateways", true),
        ("GatewayClass", "gatewayclasses", false),
    ] {
        let crd = definition(kind, plural, namespaced);
        let name = crd["metadata"]["name"].as_str().unwrap();
        if support::api_of(client, &crd, None).get_opt(name).await.unwrap().is_none() {
            support::apply(client, &crd, false).await.unwrap();
        }
    }
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "tests"},
        "spec": {"controllerName": CONTROLLER},
    });
    support::eventually("the gateway's class can be created", async || support::apply(client, &class, false).await.is_ok()).await;
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"});
    let gateway = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway"});
    support::eventually("routes and gateways can be listed", async || {
        let list = async |object: &Value| support::api_of(client, object, Some("default")).list(&ListParams::default()).await;
        list(&route).await.is_ok() && list(&gateway).await.is_ok()
    })
    .await;
    *done = true;
}

/// A Gateway that is Programmed.
pub async fn create_gateway(client: &Client, namespace: &str) {
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gateway", "namespace": namespace},
        "spec": {"gatewayClassName": "tests"},
    });
    support::create(client, None, &gateway, false).await.unwrap();
    let status = json!({"status": {"conditions": [{"type": "Programmed", "status": "True", "reason": "Programmed", "message": "", "lastTransitionTime": now()}]}});
    let api = support::api_of(client, &gateway, None);
    api.patch_status("gateway", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

/// What the Prometheus says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// One series with this value.
    Value(f64),
    /// One series with NaN.
    NotANumber,
    /// No series.
    Empty,
    /// An error of the server.
    Status500,
    /// A page of HTML with status 200.
    Garbage,
    /// Nobody listens.
    Refused,
}

/// A Prometheus on loopback whose answer the test sets.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicU32>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Prometheus {
    /// One that says `answer`.
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicU32::new(0)));
        let server = Mutex::new(Some(serve(listener, &answer, &asked)));
        Self { port, answer, asked, server }
    }

    /// Where it is.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How often it was asked.
    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    /// From now on it says `answer`.
    pub async fn say(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
        let running = self.server.lock().unwrap().take();
        if answer == Answer::Refused {
            if let Some(server) = running {
                server.abort();
                let _ = server.await;
            }
        } else if let Some(server) = running {
            *self.server.lock().unwrap() = Some(server);
        } else {
            let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
            *self.server.lock().unwrap() = Some(serve(listener, &self.answer, &self.asked));
        }
    }
}

fn serve(listener: TcpListener, answer: &Arc<Mutex<Answer>>, asked: &Arc<AtomicU32>) -> JoinHandle<()> {
    let (answer, asked) = (Arc::clone(answer), Arc::clone(asked));
    let router = Router::new().fallback(move || {
        asked.fetch_add(1, Ordering::SeqCst);
        let vector = |values: Vec<&str>| {
            let result: Vec<Value> = values.iter().map(|value| json!({"metric": {}, "value": [1.0, value]})).collect();
            json!({"status": "success", "data": {"resultType": "vector", "result": result}}).to_string()
        };
        let (code, kind, body) = match *answer.lock().unwrap() {
            Answer::Value(value) => (200, "application/json", vector(vec![&value.to_string()])),
            Answer::NotANumber => (200, "application/json", vector(vec!["NaN"])),
            Answer::Empty => (200, "application/json", vector(Vec::new())),
            Answer::Status500 => (500, "text/plain", "out of order".to_owned()),
            Answer::Garbage | Answer::Refused => (200, "text/html", "<html>it works</html>".to_owned()),
        };
        // No connection outlives an answer: one that stays would still be served when nobody listens any more.
        let headers = [("content-type", kind), ("connection", "close")];
        async move { (axum::http::StatusCode::from_u16(code).unwrap(), headers, body).into_response() }
    });
    tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    })
}
