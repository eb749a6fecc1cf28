//! A cluster with Rollouts that have no pods: who creates them, changes them, and looks at them from beside.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};
use tidegate::api::{self, Rollout};
use tokio::sync::mpsc;

use crate::variable;

/// Rollouts in one namespace.
const PER_NAMESPACE: usize = 100;
/// Objects created at the same time.
const AT_ONCE: usize = 16;
/// Longest time for anything.
const PATIENCE: Duration = Duration::from_secs(900);
/// The controller's service account, whose rights `deploy/rbac.yaml` says.
const ACCOUNT: &str = "system:serviceaccount:tidegate-system:tidegate";

fn kubeconfig() -> PathBuf {
    // Set by tests/scale.
    variable("TIDEGATE_CONTROL_PLANE_KUBECONFIG").unwrap().into()
}

/// The administrator's kubeconfig with the controller's identity in it: priorities and limits are those of a real one.
pub fn controllers_kubeconfig() -> PathBuf {
    let mut config = Kubeconfig::read_from(kubeconfig()).unwrap();
    for user in &mut config.auth_infos {
        user.auth_info.as_mut().unwrap().impersonate = Some(ACCOUNT.to_owned());
    }
    let path = kubeconfig().with_extension("controller");
    // The administrator's token is in it: nobody else may read it.
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.write(true).create(true).truncate(true).open(&path).unwrap();
    serde_json::to_writer(file, &config).unwrap();
    path
}

/// The cluster.
pub struct World {
    client: Client,
    count: AtomicUsize,
}

fn namespace(number: usize) -> String {
    format!("scale-{}", number / PER_NAMESPACE)
}

fn name(number: usize) -> String {
    format!("web-{number}")
}

/// A Rollout as people have them, but for its pods.
fn rollout(number: usize) -> Value {
    let name = name(number);
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": name, "namespace": namespace(number)},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "web", "image": "registry.example.com/shop/web:2.4", "ports": [{"containerPort": 8080}],
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                }]},
            },
            "strategy": {"canary": {
                "steps": [{"setWeight": 10}, {"pause": {"duration": "2m"}}, {"setWeight": 50}, {"pause": {"duration": "5m"}}],
            }},
        },
    })
}

fn api_of(client: &Client, object: &Value) -> Api<DynamicObject> {
    let text = |key: &str| object[key].as_str().unwrap();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

async fn apply(client: &Client, object: &Value) -> kube::Result<DynamicObject> {
    let params = PatchParams::apply("tidegate-scale").force();
    api_of(client, object).patch(object["metadata"]["name"].as_str().unwrap(), &params, &Patch::Apply(object)).await
}

/// A stand-in for a kind of Gateway API: what is watched has to exist.
fn definition(kind: &str, plural: &str, scope: &str) -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.gateway.networking.k8s.io"),
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in for benches"},
        },
        "spec": {
            "group": "gateway.networking.k8s.io", "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
            }],
        },
    })
}

fn is_healthy(rollout: &Rollout) -> bool {
    rollout.status.as_ref().is_some_and(|status| status.phase == Some(api::rollout::RolloutPhase::Healthy))
}

impl World {
    /// Installs what the controller needs.
    pub async fn start() -> Self {
        rustls::crypto::ring::default_provider().install_default().unwrap();
        let file = Kubeconfig::read_from(kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        for crd in api::crds() {
            apply(&client, &serde_json::to_value(&crd).unwrap()).await.unwrap();
        }
        for (kind, plural, scope) in [
            ("HTTPRoute", "httproutes", "Namespaced"),
            ("GRPCRoute", "grpcroutes", "Namespaced"),
            ("Gateway", "gateways", "Namespaced"),
            ("GatewayClass", "gatewayclasses", "Cluster"),
        ] {
            apply(&client, &definition(kind, plural, scope)).await.unwrap();
        }
        for file in ["namespace.yaml", "rbac.yaml"] {
            let text = std::fs::read_to_string(format!("deploy/{file}")).unwrap();
            for document in text.split("\n---\n") {
                apply(&client, &serde_saphyr::from_str(document).unwrap()).await.unwrap();
            }
        }
        let rollouts: Api<Rollout> = Api::all(client.clone());
        let began = Instant::now();
        while rollouts.list(&ListParams::default().limit(1)).await.is_err() {
            assert!(began.elapsed() < PATIENCE, "the definitions are not served");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Self { client, count: AtomicUsize::new(0) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Creates `more` Rollouts; the time from the first until the last is Healthy.
    pub async fn create(&self, more: usize) -> Duration {
        let first = self.count.fetch_add(more, Ordering::SeqCst);
        for number in (first..first + more).filter(|number| number % PER_NAMESPACE == 0 || *number == first) {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace(number)}});
            apply(&self.client, &namespace).await.unwrap();
        }
        let rollouts: Api<Rollout> = Api::all(self.client.clone());
        let list = rollouts.list_metadata(&ListParams::default().limit(1)).await.unwrap();
        let (sender, mut healthy) = mpsc::unbounded_channel();
        let watching = tokio::spawn(watch(rollouts, list.metadata.resource_version.unwrap(), move |rollout| {
            if is_healthy(&rollout) {
                let _ = sender.send(rollout.name_any());
            }
        }));
        let began = Instant::now();
        let create = async {
            let all = stream::iter((first..first + more).map(|number| {
                let object: DynamicObject = serde_json::from_value(rollout(number)).unwrap();
                let api = api_of(&self.client, &rollout(number));
                async move { api.create(&PostParams::default(), &object).await.map(drop) }
            }));
            all.buffer_unordered(AT_ONCE).try_collect::<()>().await.unwrap();
        };
        let mut left: std::collections::HashSet<String> = (first..first + more).map(name).collect();
        let wait = async {
            while !left.is_empty() {
                let next = tokio::time::timeout(PATIENCE, healthy.recv()).await.unwrap().unwrap();
                left.remove(&next);
            }
        };
        tokio::join!(create, wait);
        watching.abort();
        began.elapsed()
    }

    /// Changes Rollouts at this rate for so long: the times from the answer to a change until its status says so, sorted.
    pub async fn change(&self, per_second: u32, length: Duration) -> Vec<Duration> {
        let rollouts: Api<Rollout> = Api::all(self.client.clone());
        let list = rollouts.list_metadata(&ListParams::default().limit(1)).await.unwrap();
        // By name and generation: when the change was answered, and when the status spoke of it.
        type Times = HashMap<(String, i64), (Option<Instant>, Option<Instant>)>;
        let times: Mutex<Times> = Mutex::default();
        let watching = watch(rollouts, list.metadata.resource_version.unwrap(), |rollout| {
            let seen = rollout.status.as_ref().and_then(|status| status.observed_generation);
            if let Some(generation) = seen.filter(|generation| Some(*generation) == rollout.metadata.generation) {
                let mut times = times.lock().unwrap();
                times.entry((rollout.name_any(), generation)).or_default().1.get_or_insert_with(Instant::now);
            }
        });
        let total = (f64::from(per_second) * length.as_secs_f64()) as usize;
        let changes = async {
            let start = tokio::time::Instant::now();
            let numbers = stream::iter(0..total).then(|nth| {
                let tick = tokio::time::sleep_until(start + Duration::from_secs_f64(nth as f64 / f64::from(per_second)));
                // Each another one, so that no change waits for one before it.
                let number = (nth * 7919) % self.count();
                async move {
                    tick.await;
                    (number, nth)
                }
            });
            let change = |(number, nth): (usize, usize)| {
                let api: Api<Rollout> = Api::namespaced(self.client.clone(), &namespace(number));
                let steps = json!([{"setWeight": 10}, {"pause": {"duration": format!("{}s", 60 + nth)}}]);
                let patch = Patch::Merge(json!({"spec": {"strategy": {"canary": {"steps": steps}}}}));
                let times = &times;
                async move {
                    let changed = api.patch(&name(number), &PatchParams::default(), &patch).await.unwrap();
                    let key = (changed.name_any(), changed.metadata.generation.unwrap());
                    times.lock().unwrap().entry(key).or_default().0 = Some(Instant::now());
                }
            };
            numbers.map(change).buffer_unordered(64).collect::<()>().await;
            let began = Instant::now();
            while times.lock().unwrap().values().any(|(asked, seen)| asked.is_some() && seen.is_none()) {
                assert!(began.elapsed() < PATIENCE, "a change was never looked at");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = watching => unreachable!("a watch is renewed for ever"),
            () = changes => {}
        }
        let times = times.into_inner().unwrap();
        let mut found: Vec<Duration> =
            times.values().filter_map(|(asked, seen)| Some(seen.as_ref()?.saturating_duration_since((*asked)?))).collect();
        found.sort_unstable();
        found
    }
}

/// Tells of every Rollout that changes, for ever.
async fn watch(rollouts: Api<Rollout>, mut version: String, mut heard: impl FnMut(Rollout)) {
    loop {
        let events = rollouts.watch(&WatchParams::default().timeout(290), &version).await.unwrap();
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.try_next().await.unwrap() {
            match event {
                WatchEvent::Added(rollout) | WatchEvent::Modified(rollout) => {
                    version = rollout.resource_version().unwrap();
                    heard(rollout);
                }
                WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                WatchEvent::Deleted(_) => {}
                WatchEvent::Error(error) => unreachable!("the watch failed: {error:?}"),
            }
        }
    }
}
