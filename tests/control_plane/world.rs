//! A cluster around one test: its namespace with a node, a gateway and a Prometheus that the test plays, Rollouts in it,
//! and the controller in the test's own process, as its service account.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::client::ClientBuilder;
use serde_json::{Value, json};
use tidegate::api::names::{POD_TEMPLATE_HASH, ROLLOUT, SYSTEM_NAMESPACE};
use tidegate::api::{AnalysisRun, Project, Rollout};
use tidegate::controller::flags::ControllerArgs;
use tidegate::controller::leader::fence::FenceLayer;
use tidegate::controller::{self, Context, Surroundings, watch};
use tidegate::manifest::digest::{template_digest, template_hash};
use tokio::sync::watch as signal;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::faults::{Journal, Judge, OnWire, Wire};
use crate::play::{self, Answer, Prometheus, Script};
use crate::support;
use crate::unruly::Unruly;

/// Longest time that anything may take here.
const PATIENCE: Duration = Duration::from_secs(30);
/// So long without a write means that the controller is at rest; it looks again at anything under way every 10 s.
const REST: Duration = Duration::from_millis(400);

/// The world of one test.
pub struct World {
    /// The cluster's administrator.
    pub admin: Client,
    /// The test's namespace.
    pub namespace: String,
    /// What pods and gateway do.
    pub script: Arc<Script>,
    /// The metric server. It says 0 at first.
    pub prometheus: Prometheus,
    images: Mutex<BTreeMap<String, String>>,
}

/// Runs `test` in a world of its own, if a cluster was given.
pub async fn in_world(test: impl AsyncFnOnce(&World)) {
    let Some(admin) = support::cluster().await else { return };
    play::install_gateway_api(&admin).await;
    support::in_namespace(&admin, async |namespace| {
        let world = World::start(admin.clone(), namespace).await;
        let kubelet = tokio::spawn(play::kubelet(admin.clone(), namespace.to_owned(), Arc::clone(&world.script)));
        let gateway = tokio::spawn(play::gateway(admin.clone(), namespace.to_owned(), Arc::clone(&world.script)));
        let cleanup = Cleanup { admin: admin.clone(), namespace: namespace.to_owned() };
        let result = std::panic::AssertUnwindSafe(test(&world));
        let result = futures::FutureExt::catch_unwind(result).await;
        kubelet.abort();
        gateway.abort();
        cleanup.run().await;
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    })
    .await;
}

struct Cleanup {
    admin: Client,
    namespace: String,
}

impl Cleanup {
    /// What is not in the namespace goes too.
    async fn run(self) {
        let params = DeleteParams::default();
        let _ = Api::<Node>::all(self.admin.clone()).delete(&self.namespace, &params).await;
        let _ = Api::<Project>::all(self.admin.clone()).delete(&self.namespace, &params).await;
        let _ = Api::<ValidatingAdmissionPolicy>::all(self.admin.clone()).delete(&self.namespace, &params).await;
        let _ = Api::<ValidatingAdmissionPolicyBinding>::all(self.admin.clone()).delete(&self.namespace, &params).await;
    }
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ControllerArgs,
}

/// The controller at work in this process.
pub struct Running {
    /// What it has in memory.
    pub ctx: Arc<Context>,
    task: JoinHandle<()>,
    _stop: signal::Sender<bool>,
}

impl Running {
    /// Ends it as SIGKILL would: in the middle of whatever it does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

impl World {
    async fn start(admin: Client, namespace: &str) -> Self {
        let prometheus = Prometheus::start(Answer::Value(0.0)).await;
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": namespace}});
        support::create(&admin, None, &node, false).await.unwrap();
        play::heartbeat(&admin, namespace).await;
        play::create_gateway(&admin, namespace).await;
        let spec = json!({"applicationNamespaces": [namespace], "metricAddresses": ["127.0.0.1"]});
        let project =
            json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Project", "metadata": {"name": namespace}, "spec": spec});
        support::create(&admin, None, &project, false).await.unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
        support::eventually("pods can be created", async || accounts.get("default").await.is_ok()).await;
        let (namespace, script, images) = (namespace.to_owned(), Arc::default(), Mutex::default());
        Self { admin, namespace, script, prometheus, images }
    }

    /// A Rollout of `image` with two pods, and no steps yet. Delays are as short as they may be.
    pub fn rollout(&self, name: &str, image: &str) -> Value {
        let containers = json!([{"name": "main", "image": image}]);
        let template = json!({
            "metadata": {"labels": {"app": name}},
            "spec": {"nodeName": self.namespace, "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false, "containers": containers},
        });
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template,
                "strategy": {"canary": {
                    "stableService": format!("{name}-stable"), "canaryService": format!("{name}-canary"),
                    "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": name}]}},
                    "scaleDownDelaySeconds": 1, "abortScaleDownDelaySeconds": 1,
                }},
            },
        })
    }

    /// A route with the two Services in one rule, and a rule that is none of ours.
    pub fn route(&self, name: &str) -> Value {
        let backends = json!([{"name": format!("{name}-stable"), "port": 80, "weight": 100}, {"name": format!("{name}-canary"), "port": 80, "weight": 0}]);
        let other = json!({"matches": [{"path": {"value": "/other"}}], "backendRefs": [{"name": "other", "port": 80, "weight": 7}], "later": {"field": 1}});
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": backends}, other]},
        })
    }

    /// A Service of all pods of `app`.
    pub fn service(&self, name: &str, app: &str) -> Value {
        let spec = json!({"selector": {"app": app}, "ports": [{"port": 80}]});
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": self.namespace}, "spec": spec})
    }

    /// Creates what a Rollout needs beside itself.
    pub async fn surroundings(&self, name: &str) {
        self.create(&self.service(&format!("{name}-stable"), name)).await;
        self.create(&self.service(&format!("{name}-canary"), name)).await;
        self.create(&self.route(name)).await;
    }

    /// Creates an object.
    pub async fn create(&self, object: &Value) {
        self.remember(object);
        support::create(&self.admin, None, object, false).await.unwrap();
    }

    fn remember(&self, object: &Value) {
        if object["kind"] == "Rollout" {
            let image = object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or("").to_owned();
            let hash = template_hash(&template_digest(&object["spec"]["template"]));
            self.images.lock().unwrap().insert(hash, image);
        }
    }

    /// Creates an AnalysisTemplate over a metric server: `errors` below 0.05 is good, asked every second, no data may last 2 s.
    pub async fn error_template(&self, name: &str, prometheus: &Prometheus) {
        let metric = json!({
            "name": "errors", "interval": "1s", "successCondition": "result[0] < 0.05", "noDataDeadline": "2s",
            "provider": {"prometheus": {"address": prometheus.address(), "query": "errors"}},
        });
        self.create(&json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisTemplate",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": {"metrics": [metric]},
        }))
        .await;
    }

    /// Lets the cluster's policy refuse ReplicaSets of an image, as people's own admission policies do: with 403.
    pub async fn forbid_image(&self, image: &str) {
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["replicasets"], "operations": ["CREATE"]});
        let expression = format!("object.spec.template.spec.containers.all(c, !has(c.image) || c.image != '{image}')");
        let validation = json!({"expression": expression, "message": "this image is forbidden here", "reason": "Forbidden"});
        let here = json!({"matchLabels": {"kubernetes.io/metadata.name": self.namespace}});
        let (version, meta) = ("admissionregistration.k8s.io/v1", json!({"name": self.namespace}));
        let policy = json!({
            "apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": meta,
            "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]},
        });
        let binding = json!({
            "apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": meta,
            "spec": {"policyName": self.namespace, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": here}},
        });
        for object in [policy, binding] {
            support::create(&self.admin, None, &object, false).await.unwrap();
        }
        let spec = self.rollout("trial", image)["spec"].clone();
        let trial = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "trial", "namespace": self.namespace},
            "spec": {"selector": spec["selector"], "template": spec["template"]},
        });
        support::eventually("the policy is followed", async || support::create(&self.admin, None, &trial, true).await.is_err())
            .await;
    }

    /// Changes a Rollout by a merge patch.
    pub async fn edit(&self, name: &str, patch: Value) -> Rollout {
        let rollouts: Api<Rollout> = Api::namespaced(self.admin.clone(), &self.namespace);
        let rollout = rollouts.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        self.remember(&serde_json::to_value(&rollout).unwrap());
        rollout
    }

    /// Gives a Rollout another image.
    pub async fn deploy(&self, name: &str, image: &str) {
        let mut template = serde_json::to_value(self.get(name).await.spec.template).unwrap();
        template["spec"]["containers"][0]["image"] = json!(image);
        self.edit(name, json!({"spec": {"template": template}})).await;
    }

    /// Gives a Rollout another template, whole.
    pub async fn replace_template(&self, name: &str, template: &Value) {
        let rollouts: Api<Rollout> = Api::namespaced(self.admin.clone(), &self.namespace);
        let patch = serde_json::from_value(json!([{"op": "replace", "path": "/spec/template", "value": template}])).unwrap();
        let rollout = rollouts.patch(name, &PatchParams::default(), &Patch::Json::<()>(patch)).await.unwrap();
        self.remember(&serde_json::to_value(&rollout).unwrap());
    }

    /// Writes a command.
    pub async fn request(&self, name: &str, id: &str, action: &str) {
        self.edit(name, json!({"spec": {"request": {"id": id, "action": action}}})).await;
    }

    /// The Rollout as it is.
    pub async fn get(&self, name: &str) -> Rollout {
        Api::namespaced(self.admin.clone(), &self.namespace).get(name).await.unwrap()
    }

    /// Waits until a Rollout is as it should be.
    pub async fn until(&self, name: &str, what: &str, ready: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = serde_json::to_value(self.get(name).await.status).unwrap();
            if ready(&status) {
                return status;
            }
            assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}; the status is {status:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the Rollout is Healthy with this image.
    pub async fn until_healthy(&self, name: &str, image: &str) -> Value {
        let what = format!("{image} is stable and nothing is left to do");
        self.until(name, &what, |status| {
            let stable = status["stable"]["hash"].as_str().map(|hash| self.image(hash));
            status["phase"] == "Healthy" && stable.as_deref() == Some(image) && status["scaleDowns"].is_null()
        })
        .await
    }

    /// Waits until the Rollout pauses at a step until a person promotes.
    pub async fn until_paused(&self, name: &str, step: i32) -> Value {
        self.until(name, &format!("paused at step {step}"), |status| {
            status["currentStepIndex"] == step && status["waitingOn"]["reason"] == "UserPromotion"
        })
        .await
    }

    /// Waits until the Rollout is Degraded for this reason, with this message.
    pub async fn until_stalled(&self, name: &str, reason: &str, message: &str) -> Value {
        self.until(name, &format!("{reason}: {message}"), |status| {
            (stalled(status).as_str(), status["message"].as_str(), &status["phase"])
                == (reason, Some(message), &json!("Degraded"))
        })
        .await
    }

    /// Image of a hash.
    pub fn image(&self, hash: &str) -> String {
        self.images.lock().unwrap().get(hash).cloned().unwrap_or_else(|| hash.to_owned())
    }

    /// A text with images for hashes.
    pub fn in_words(&self, text: &str) -> String {
        self.images.lock().unwrap().iter().fold(text.to_owned(), |text, (hash, image)| text.replace(hash, image))
    }

    /// What the controller did, in words.
    pub fn story(&self, journal: &Journal) -> Vec<String> {
        journal.story(&self.images.lock().unwrap())
    }

    /// The judge of a Rollout.
    pub fn judge(&self, rollout: &str) -> Option<Judge> {
        Some(Judge { admin: self.admin.clone(), namespace: self.namespace.clone(), rollout: rollout.to_owned() })
    }

    /// The controller with nothing in memory, as its service account, over `wire`.
    pub async fn controller(&self, wire: &Arc<Wire>) -> Arc<Context> {
        self.replica(wire, Surroundings::default()).await
    }

    /// One replica of the controller; the leadership and the clock are the test's.
    pub async fn replica(&self, wire: &Arc<Wire>, surroundings: Surroundings) -> Arc<Context> {
        self.replica_against(&Unruly::default(), wire, surroundings).await
    }

    /// The same with an API server that behaves badly.
    pub async fn replica_against(&self, unruly: &Unruly, wire: &Arc<Wire>, surroundings: Surroundings) -> Arc<Context> {
        let mut config = support::config().await.unwrap();
        // As the controller connects.
        config.read_timeout = Some(watch::WATCH_TIMEOUT + Duration::from_secs(15));
        config.default_retry = false;
        config.auth_info.impersonate = Some(account());
        let fence = FenceLayer(surroundings.leadership.clone());
        let builder = ClientBuilder::try_from(config).unwrap().with_layer(&OnWire(Arc::clone(wire)));
        let client = builder.with_layer(unruly).with_layer(&fence).build();
        let args = Line::try_parse_from(["tidegate", "--namespace", &self.namespace]).unwrap().args;
        Arc::new(Context::within(client, args, surroundings).unwrap())
    }

    /// Starts the controller's loops.
    pub async fn run(&self, wire: &Arc<Wire>) -> Running {
        self.run_against(&Unruly::default(), wire, Surroundings::default()).await
    }

    /// Starts the controller's loops, with an API server that behaves badly.
    pub async fn run_against(&self, unruly: &Unruly, wire: &Arc<Wire>, surroundings: Surroundings) -> Running {
        let ctx = self.replica_against(unruly, wire, surroundings).await;
        let (stop, stopped) = signal::channel(false);
        let own = Arc::clone(&ctx);
        Running { ctx, task: tokio::spawn(async move { watch::loops(&own, stopped).await }), _stop: stop }
    }

    /// Looks at a Rollout and its runs by hand, once each.
    pub async fn look(&self, ctx: &Context, name: &str) -> Result<(), controller::error::Error> {
        // Boxed: passes are large futures for a test's stack.
        Box::pin(controller::rollout::reconcile(ctx, &self.namespace, name)).await?;
        for run in self.runs(name).await {
            Box::pin(controller::analysis::reconcile(ctx, &self.namespace, &run.metadata.name.unwrap())).await?;
        }
        Ok(())
    }

    /// Looks by hand until the Rollout is as it should be.
    pub async fn drive(&self, ctx: &Context, name: &str, what: &str, ready: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let looked = self.look(ctx, name).await;
            let status = serde_json::to_value(self.get(name).await.status).unwrap();
            if ready(&status) {
                return status;
            }
            assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}; {looked:?}; the status is {status:#}");
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }

    /// Waits until the controller has neither written nor asked for anything for a while.
    pub async fn rest(&self, journal: &Journal) {
        let (mut known, mut since) = (journal.len(), Instant::now());
        let until = Instant::now() + PATIENCE;
        while since.elapsed() < REST {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if journal.len() != known || !journal.is_silent() {
                (known, since) = (journal.len(), Instant::now());
            }
            assert!(Instant::now() < until, "the controller does not come to rest");
        }
    }

    /// The AnalysisRuns of a Rollout by name.
    pub async fn runs(&self, rollout: &str) -> Vec<AnalysisRun> {
        let api: Api<AnalysisRun> = Api::namespaced(self.admin.clone(), &self.namespace);
        let list = api.list(&ListParams::default().labels(&format!("{ROLLOUT}={rollout}"))).await.unwrap();
        let mut runs = list.items;
        runs.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        runs
    }

    /// The controller's writes in this namespace as the API server's audit log has them, without trials and events; none
    /// when there is no such log, which is said.
    pub fn audited(&self) -> Option<Vec<String>> {
        let text = std::fs::read_to_string(support::audit_log()?).unwrap();
        let events = text.lines().filter(|line| line.contains(&self.namespace)).map(|line| serde_json::from_str(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let own = events.filter(|event: &Value| {
            let object = &event["objectRef"];
            event["impersonatedUser"]["username"] == account()
                && object["namespace"] == self.namespace.as_str()
                && object["resource"] != "events"
                && !text(&event["requestURI"]).contains("dryRun")
                && event["responseStatus"]["code"].as_i64().unwrap_or(0) < 300
        });
        let line = |event: Value| {
            let object = &event["objectRef"];
            let sub = text(&object["subresource"]);
            format!("{} {} {} {sub}", text(&event["verb"]), text(&object["resource"]), text(&object["name"])).trim().to_owned()
        };
        Some(own.map(line).collect())
    }

    /// An object, as the API server has it.
    pub async fn object(&self, object: &Value) -> DynamicObject {
        support::api_of(&self.admin, object, None).get(object["metadata"]["name"].as_str().unwrap()).await.unwrap()
    }

    /// Where the traffic goes and what runs: weights, selectors and sizes, with images for hashes.
    pub async fn picture(&self, name: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let route = self.object(&self.route(name)).await;
        let weight = |index: usize| route.data["spec"]["rules"][0]["backendRefs"][index]["weight"].clone();
        lines.push(format!("stable {}, canary {}", weight(0), weight(1)));
        for service in ["stable", "canary"] {
            let service = self.object(&self.service(&format!("{name}-{service}"), name)).await;
            let hash = service.data["spec"]["selector"][POD_TEMPLATE_HASH].as_str().map(|hash| self.image(hash));
            lines.push(format!("{} selects {}", service.metadata.name.unwrap(), hash.unwrap_or_else(|| "all".to_owned())));
        }
        let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"namespace": self.namespace}});
        let sets = support::api_of(&self.admin, &set, None);
        let list = sets.list(&ListParams::default().labels(&format!("{ROLLOUT}={name}"))).await.unwrap();
        let mut pods: Vec<String> = list
            .items
            .iter()
            .map(|set| {
                let hash = set.metadata.labels.as_ref().unwrap()[POD_TEMPLATE_HASH].clone();
                format!("{}: {} pods", self.image(&hash), set.data["spec"]["replicas"])
            })
            .collect();
        pods.sort();
        lines.extend(pods);
        lines
    }
}

/// Why a Rollout is Degraded, in one word; empty when it is not.
pub fn stalled(status: &Value) -> String {
    reason(status, "Stalled")
}

/// Reason of a condition that is True; empty when it is not.
pub fn reason(status: &Value, condition: &str) -> String {
    let none = Vec::new();
    let conditions = status["conditions"].as_array().unwrap_or(&none);
    let found = conditions.iter().find(|c| c["type"] == condition && c["status"] == "True");
    found.and_then(|condition| condition["reason"].as_str()).unwrap_or("").to_owned()
}

/// Name and phase of a run.
pub fn run(run: &AnalysisRun) -> String {
    let phase = run.status.clone().unwrap_or_default().phase;
    format!("{} {phase:?}", run.metadata.name.clone().unwrap_or_default())
}

/// The controller's service account, whose rights `deploy/rbac.yaml` says.
pub fn account() -> String {
    format!("system:serviceaccount:{SYSTEM_NAMESPACE}:tidegate")
}

/// `{name}-{hash}` with the image for the hash, and so on: lines of a test's expectation.
pub fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
