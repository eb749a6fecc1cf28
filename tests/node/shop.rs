//! A shop in a namespace of its own: two Services, a route, a Rollout, and the people who release it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tidegate::api::AnalysisRun;
use tidegate::api::names::SYSTEM_NAMESPACE;
use tidegate::api::rollout::{Rollout, RolloutPhase, RolloutStatus};

use crate::audit;
use crate::load::Load;

/// Longest time for anything that a story waits for. Pods start within seconds; two cores may be busy.
const WITHIN: Duration = Duration::from_secs(90);

#[expect(clippy::disallowed_methods, reason = "the testbed says by environment variables where it is")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable of the testbed's environment.
pub fn given(name: &str) -> String {
    variable(name).unwrap_or_else(|| panic!("{name} is not set: source target/testbed/env"))
}

/// Looks until there is what is looked for; a look that does not find it says what there is instead.
pub async fn within<T>(what: &str, every: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = tokio::time::Instant::now() + WITHIN;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(instead) => assert!(tokio::time::Instant::now() < end, "not within {WITHIN:?}: {what}; {instead}"),
        }
        tokio::time::sleep(every).await;
    }
}

/// A shop that is open.
pub struct Shop {
    pub client: Client,
    pub namespace: String,
    kubeconfig: String,
    host: String,
}

/// How much the controller wrote while `tell` went on.
pub async fn writes_while(shop: &Shop, tell: impl AsyncFnOnce()) -> usize {
    let before: usize = shop.writes().values().sum();
    tell().await;
    let after = shop.writes();
    let count = after.values().sum::<usize>() - before;
    #[expect(clippy::print_stderr, reason = "numbers are read by people")]
    {
        eprintln!("{count} writes in {}; since it opened: {after:?}", shop.namespace);
    }
    count
}

/// Opens a shop whose Rollout is the stories' one with `patch` merged in, tells the story, and clears everything away.
pub async fn story(name: &str, patch: Value, tell: impl AsyncFnOnce(&Shop)) {
    story_in(name, async |shop: &Shop| {
        shop.open(patch).await;
        tell(shop).await;
    })
    .await;
}

/// Tells a story in a shop that it opens by itself, and clears everything away.
pub async fn story_in(name: &str, tell: impl AsyncFnOnce(&Shop)) {
    if variable("TIDEGATE_GATEWAY_URL").is_none() {
        let why = "no node: make up, and source target/testbed/env";
        assert!(variable("TIDEGATE_REQUIRE_NODE").as_deref() != Some("1"), "{why}");
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped, {why}");
        }
        return;
    }
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let namespace = format!("story-{}-{}-{name}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    // One for the whole process; a second story finds it set.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::try_default().await.unwrap();
    let shop = Shop { host: format!("{namespace}.example"), kubeconfig: given("KUBECONFIG"), client, namespace };
    let result = AssertUnwindSafe(tell(&shop)).catch_unwind().await;
    if let Err(panic) = result {
        shop.describe().await;
        shop.close().await;
        resume_unwind(panic);
    }
    shop.close().await;
}

impl Shop {
    async fn open(&self, patch: Value) {
        let mut rollout = self.rollout();
        json_patch::merge(&mut rollout, &patch);
        // Without a router one Service holds the pods of both revisions.
        self.found(!rollout["spec"]["strategy"]["canary"]["trafficRouting"].is_null()).await;
        self.apply(&rollout).await;
        self.opened().await;
    }

    /// What a Rollout needs: a namespace, Services, and a route with weights or without.
    pub async fn found(&self, routed: bool) {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}))
            .await;
        for service in ["web-stable", "web-canary"] {
            self.apply(&json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": service, "namespace": self.namespace},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}))
                .await;
        }
        self.apply(&self.route(routed)).await;
    }

    /// Waits until version 1 is served.
    pub async fn opened(&self) {
        // From Git it comes a moment later.
        within("a Rollout", Duration::from_millis(200), async || {
            self.rollouts().get_opt("web").await.unwrap().ok_or_else(|| "there is none".to_owned())
        })
        .await;
        self.until("version 1 is stable", |status| status.phase == Some(RolloutPhase::Healthy)).await;
        self.answering().await;
    }

    fn route(&self, routed: bool) -> Value {
        let gateway = given("TIDEGATE_GATEWAY");
        let (namespace, name) = gateway.split_once('/').unwrap();
        let mut backends = vec![json!({"name": "web-stable", "port": 80, "weight": 100})];
        if routed {
            backends.push(json!({"name": "web-canary", "port": 80, "weight": 0}));
        }
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "web", "namespace": self.namespace},
            "spec": {"parentRefs": [{"name": name, "namespace": namespace}], "hostnames": [self.host],
                "rules": [{"backendRefs": backends}]}
        })
    }

    /// The stories' Rollout, at version 1.
    pub fn rollout(&self) -> Value {
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "web", "namespace": self.namespace},
            "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                    "automountServiceAccountToken": false, "enableServiceLinks": false,
                    "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{
                        "name": "shop", "image": given("TIDEGATE_SHOP_IMAGE"), "imagePullPolicy": "Never",
                        "env": [{"name": "VERSION", "value": "1"}],
                        "ports": [{"containerPort": 8080}],
                        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                        // Endpoints follow a pod's end a moment later; until then it answers.
                        "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
                        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                            "capabilities": {"drop": ["ALL"]}}}]}},
                "strategy": {"canary": {
                    "stableService": "web-stable", "canaryService": "web-canary",
                    "trafficRouting": {"gatewayAPI": {"httpRoutes": [{"name": "web"}]}},
                    "scaleDownDelaySeconds": 5, "abortScaleDownDelaySeconds": 5,
                    "steps": [{"setWeight": 20}, {"pause": {"duration": "5s"}}, {"setWeight": 60}, {"pause": {}}]}}}
        })
    }

    /// Applies an object as its author.
    pub async fn apply(&self, object: &Value) {
        let api = self.api_of(object);
        let name = object["metadata"]["name"].as_str().unwrap();
        api.patch(name, &PatchParams::apply("story").force(), &Patch::Apply(object)).await.unwrap();
    }

    fn api_of(&self, object: &Value) -> Api<DynamicObject> {
        let text = |key: &str| object[key].as_str().unwrap();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")));
        match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    pub fn rollouts(&self) -> Api<Rollout> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Releases a version.
    pub async fn release(&self, version: &str) {
        self.change(json!([{"op": "replace", "path": "/spec/template/spec/containers/0/env/0/value", "value": version}])).await;
    }

    /// Changes the Rollout by a JSON patch.
    pub async fn change(&self, patch: Value) {
        let patch = Patch::Json::<()>(serde_json::from_value(patch).unwrap());
        self.rollouts().patch("web", &PatchParams::default(), &patch).await.unwrap();
    }

    /// Changes the Rollout by a JSON merge patch.
    pub async fn merge(&self, patch: &Value) {
        self.rollouts().patch("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Runs the plugin as a person would; returns its exit code and what it printed.
    pub fn kubectl(&self, args: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_kubectl-tidegate"))
            .args(args)
            .args(["-n", &self.namespace])
            .env("KUBECONFIG", &self.kubeconfig)
            .output()
            .unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap_or(-1), text)
    }

    /// Runs the plugin, which must do what it was asked.
    pub fn ask(&self, args: &[&str]) {
        let (code, text) = self.kubectl(args);
        assert_eq!(code, 0, "kubectl tidegate {args:?}: {text}");
    }

    pub async fn status(&self) -> RolloutStatus {
        self.rollouts().get("web").await.unwrap().status.unwrap_or_default()
    }

    /// Waits until the status is as the story says.
    pub async fn until(&self, what: &str, is: impl Fn(&RolloutStatus) -> bool) -> RolloutStatus {
        within(what, Duration::from_millis(100), async || {
            // The status of an earlier spec says nothing about this one.
            let rollout = self.rollouts().get("web").await.unwrap();
            let status = rollout.status.unwrap_or_default();
            if status.observed_generation == rollout.metadata.generation && is(&status) {
                return Ok(status);
            }
            Err(format!("the status is {status:#?}"))
        })
        .await
    }

    /// Waits until the step with this index is under way at a confirmed weight.
    pub async fn at_step(&self, index: i32, weight: i32) -> RolloutStatus {
        self.until(&format!("step {index} at weight {weight}"), |status| {
            let weights = status.weights.as_ref().is_some_and(|weights| weights.verified && weights.canary == weight);
            status.current_step_index == Some(index) && weights
        })
        .await
    }

    /// Waits until the step with this index pauses for a person.
    pub async fn paused_at(&self, index: i32) -> RolloutStatus {
        self.until(&format!("a pause at step {index}"), |status| {
            status.current_step_index == Some(index) && status.phase == Some(RolloutPhase::Paused)
        })
        .await
    }

    /// Bounds the autoscaler to exactly this many replicas.
    pub async fn autoscale(&self, replicas: i32) {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), &self.namespace);
        let bounds = json!({"spec": {"minReplicas": replicas, "maxReplicas": replicas}});
        api.patch("web", &PatchParams::default(), &Patch::Merge(&bounds)).await.unwrap();
    }

    /// Waits until the revision that the spec asks for is stable and nothing is left to do.
    pub async fn promoted(&self) -> RolloutStatus {
        self.until("promoted", |status| status.phase == Some(RolloutPhase::Healthy) && status.canary.is_none()).await
    }

    /// Waits until it is decided that the canary stops.
    pub async fn stopping(&self) -> RolloutStatus {
        self.until("stopping", |status| status.abort).await
    }

    /// Waits until the canary was stopped and its traffic is confirmed to be gone.
    pub async fn stopped(&self) -> RolloutStatus {
        self.until("stopped", |status| {
            let off = status.weights.as_ref().is_none_or(|weights| weights.verified && weights.canary == 0);
            status.phase == Some(RolloutPhase::Degraded) && status.abort && off
        })
        .await
    }

    /// Waits until the gateway serves what it confirmed: it may read its routes up to 2 s later, and a pod that goes answers
    /// until its preStop hook is over.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(4)).await;
    }

    /// Waits until the Rollout has this many pods in all.
    pub async fn pods(&self, count: usize) -> Vec<Pod> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        within(&format!("{count} pods"), Duration::from_millis(200), async || {
            let pods = api.list(&ListParams::default().labels("app=web")).await.unwrap().items;
            let alive = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect::<Vec<_>>();
            if alive.len() == count { Ok(alive) } else { Err(format!("there are {}", alive.len())) }
        })
        .await
    }

    /// What the controller wrote in this namespace so far.
    pub fn writes(&self) -> BTreeMap<String, usize> {
        audit::writes(&given("TIDEGATE_AUDIT_LOG"), &self.namespace)
    }

    /// An analysis of the canary as people write it: the share of good answers that the gateway counted.
    pub async fn watch_success_rate(&self) {
        let canary = format!("{}-web-canary-http-80@kubernetesgateway", self.namespace);
        let of = |more: &str| format!("sum(rate(traefik_service_requests_total{{service=\"{canary}\"{more}}}[10s]))");
        let query = format!("1 - (({} or vector(0)) / {})", of(",code=~\"5..\""), of(""));
        self.apply(&json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "AnalysisTemplate",
            "metadata": {"name": "success-rate", "namespace": self.namespace},
            "spec": {"metrics": [{
                "name": "success-rate", "interval": "3s", "failureLimit": 1, "successCondition": "result[0] >= 0.95",
                "provider": {"prometheus": {"address": given("TIDEGATE_PROMETHEUS_CLUSTER_URL"), "query": query}}}]}}))
            .await;
    }

    /// Names and phases of the AnalysisRuns, by name.
    pub async fn runs(&self) -> Vec<(String, String)> {
        let api: Api<AnalysisRun> = Api::namespaced(self.client.clone(), &self.namespace);
        let runs = api.list(&ListParams::default()).await.unwrap().items;
        let phase = |run: &AnalysisRun| run.status.as_ref().map(|status| format!("{:?}", status.phase)).unwrap_or_default();
        let mut runs: Vec<(String, String)> = runs.iter().map(|run| (run.name_any(), phase(run))).collect();
        runs.sort();
        runs
    }

    /// The running pods of a version begin to fail this share of their requests.
    pub async fn break_pods(&self, version: &str, error_rate: &str) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        for pod in api.list(&ListParams::default().labels("app=web")).await.unwrap() {
            let container = pod.spec.as_ref().unwrap().containers[0].clone();
            let is_it = container.env.iter().flatten().any(|env| env.name == "VERSION" && env.value.as_deref() == Some(version));
            let Some(ip) = pod.status.and_then(|status| status.pod_ip).filter(|_| is_it) else { continue };
            let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build().unwrap();
            let fault = format!("http://{ip}:8080/fault?errorRate={error_rate}");
            client.post(fault).send().await.unwrap().error_for_status().unwrap();
        }
    }

    pub fn load(&self, per_second: u32) -> Load {
        let program = format!("{}/load", given("TIDEGATE_TOOLS"));
        Load::start(&program, &format!("{}/", given("TIDEGATE_GATEWAY_URL")), &self.host, per_second)
    }

    /// One request through the gateway; the version that answered well.
    pub async fn version(&self, headers: &[(&str, &str)]) -> Option<String> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build().unwrap();
        let mut request = client.get(given("TIDEGATE_GATEWAY_URL")).header("host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.ok()?.error_for_status().ok()?;
        Some(answer.headers().get("x-version")?.to_str().ok()?.to_owned())
    }

    async fn answering(&self) {
        within("an answer", Duration::from_millis(200), async || {
            self.version(&[]).await.ok_or_else(|| format!("the gateway has none for {}", self.host))
        })
        .await;
    }

    /// Kills the controller's pods without a word of warning, as a lost node does.
    pub async fn kill_controller(&self) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE);
        for pod in api.list(&ListParams::default()).await.unwrap() {
            // Another story may have done so at the same time.
            let _ = api.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
        }
    }

    /// What a person would look at, when a story failed.
    #[expect(clippy::print_stderr, reason = "says why a story failed")]
    async fn describe(&self) {
        let status = self.rollouts().get_opt("web").await.ok().flatten().and_then(|rollout| rollout.status);
        eprintln!("{}: {}", self.namespace, serde_json::to_string_pretty(&status).unwrap_or_default());
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        for pod in pods.list(&ListParams::default()).await.into_iter().flatten() {
            eprintln!("pod {}: {}", pod.name_any(), serde_json::to_string(&pod.status).unwrap_or_default());
        }
    }

    async fn close(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let _ = namespaces.delete(&self.namespace, &DeleteParams::default()).await;
    }
}
