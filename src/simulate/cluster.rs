//! The model.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::Time;
use crate::api::analysis::{AnalysisRunStatus, Metric, MetricResult, RunPhase};
use crate::api::rollout::Rollout;
use crate::manifest::digest;
use crate::rollout::effect::Effect;
use crate::rollout::invariant::{self, State, Violation};
use crate::rollout::observed::{Observed, ReplicaSet, Run, Service, TemplateCheck};
use crate::rollout::spec::{self, SpecError, ValidatedRollout};
use crate::rollout::{Decision, decide};
use crate::traffic::gateway::Gateway;

/// How the model's world behaves.
#[derive(Clone, Debug)]
pub struct World {
    /// How long a pod takes until it is ready and available.
    pub pods_start_in: Duration,
    /// Revisions (by image) whose pods never become ready.
    pub never_ready: Vec<String>,
    /// How long the gateway takes to confirm a change; none: it is silent.
    pub gateway_answers_in: Option<Duration>,
}

impl Default for World {
    fn default() -> Self {
        Self { pods_start_in: Duration::from_secs(2), never_ready: Vec::new(), gateway_answers_in: Some(Duration::from_secs(1)) }
    }
}

/// One Rollout and the objects around it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The clock.
    pub now: Timestamp,
    /// How the world behaves.
    pub world: World,
    /// The Rollout, as the API server holds it.
    pub rollout: Rollout,
    /// Metrics of the background analysis, when the Rollout has one.
    pub metrics: Vec<Metric>,
    sets: Vec<Set>,
    selectors: BTreeMap<String, Option<String>>,
    route: Option<Value>,
    route_changed: Timestamp,
    runs: Vec<Run>,
    created: u64,
    /// Everything that was applied, in words, since it was last taken.
    pub log: Vec<String>,
}

#[derive(Clone, Debug)]
struct Set {
    seen: ReplicaSet,
    image: String,
    /// When each pod was started.
    pods: Vec<Timestamp>,
}

/// Why the model's API server refused an effect.
pub type Refusal = String;

impl Cluster {
    /// A cluster with the Rollout, its Services and its route, and nothing else.
    #[must_use]
    pub fn new(mut rollout: Rollout, now: Timestamp) -> Self {
        let canary = rollout.spec.strategy.canary.clone();
        rollout.metadata.uid.get_or_insert("rollout-uid".to_owned());
        rollout.metadata.generation.get_or_insert(1);
        let names = [canary.stable_service.clone(), canary.canary_service.clone()];
        let route = json!({
            "metadata": {"name": "web", "namespace": rollout.metadata.namespace, "uid": "route-uid", "generation": 1},
            "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": [
                {"name": names[0], "port": 80, "weight": 100}, {"name": names[1], "port": 80, "weight": 0}]}]}
        });
        Self {
            now,
            world: World::default(),
            rollout,
            metrics: Vec::new(),
            sets: Vec::new(),
            selectors: names.into_iter().map(|name| (name, None)).collect(),
            route: Some(route),
            route_changed: now,
            runs: Vec::new(),
            created: 0,
            log: Vec::new(),
        }
    }

    /// The Rollout as the engine reads it.
    pub fn validated(&self) -> Result<ValidatedRollout, SpecError> {
        spec::validate(&self.rollout)
    }

    /// The snapshot that an observer takes now.
    #[must_use]
    pub fn observe(&self) -> Observed {
        let canary = &self.rollout.spec.strategy.canary;
        let background = canary.analysis.as_ref().map(|_| Ok(self.metrics.clone()));
        let step_metrics = canary.steps.iter().enumerate().filter(|(_, step)| step.analysis.is_some());
        let route = self.route.clone().map(|route| self.with_status(route));
        Observed {
            now: self.now,
            replica_sets: self.sets.iter().map(|set| self.refreshed(set)).collect(),
            stable_service: self.service(&canary.stable_service),
            canary_service: self.service(&canary.canary_service),
            routes: canary.traffic_routing.gateway_api.http_routes.iter().map(|r| (r.name.clone(), route.clone())).collect(),
            gateways: vec![Gateway {
                namespace: self.rollout.metadata.namespace.clone().unwrap_or_default(),
                name: "gateway".to_owned(),
                controller: "model".to_owned(),
                programmed: true,
            }],
            runs: self.runs.clone(),
            background,
            step_metrics: step_metrics.map(|(index, _)| (index, Ok(self.metrics.clone()))).collect(),
            template: TemplateCheck::Accepted,
        }
    }

    fn refreshed(&self, set: &Set) -> ReplicaSet {
        let never = self.world.never_ready.contains(&set.image);
        let up = |started: &&Timestamp| !never && elapsed(**started, self.now) >= self.world.pods_start_in;
        let ready = i32::try_from(set.pods.iter().filter(up).count()).unwrap_or(i32::MAX);
        let current = i32::try_from(set.pods.len()).unwrap_or(i32::MAX);
        ReplicaSet { current, ready, available: ready, ..set.seen.clone() }
    }

    fn service(&self, name: &str) -> Option<Service> {
        let hash = self.selectors.get(name)?.clone();
        let mut endpoints = BTreeMap::new();
        for set in self.sets.iter().map(|set| self.refreshed(set)) {
            if set.ready > 0 && hash.as_ref().is_none_or(|hash| *hash == set.hash) {
                endpoints.insert(set.hash.clone(), set.ready);
            }
        }
        Some(Service { name: name.to_owned(), uid: format!("{name}-uid"), hash, has_selector: true, ready_endpoints: endpoints })
    }

    fn with_status(&self, mut route: Value) -> Value {
        let generation = route["metadata"]["generation"].as_i64().unwrap_or(1);
        let answered = self.world.gateway_answers_in.is_some_and(|lag| elapsed(self.route_changed, self.now) >= lag);
        let seen = if answered { generation } else { generation - 1 };
        let condition = |kind: &str| json!({"type": kind, "status": "True", "observedGeneration": seen});
        route["status"] = json!({"parents": [{"controllerName": "model", "parentRef": {"name": "gateway"},
            "conditions": [condition("Accepted"), condition("ResolvedRefs")]}]});
        route
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        if let Ok(length) = jiff::SignedDuration::try_from(time) {
            self.now = self.now.checked_add(length).unwrap_or(self.now);
        }
    }

    /// One reconcile: observe, decide, apply each effect, judging the state after each. Stops at the first refused effect.
    pub fn reconcile(&mut self) -> Result<(Decision, Vec<Violation>), SpecError> {
        let mut before = (self.validated()?, self.observe());
        let decision = decide(&before.0, &before.1);
        let mut violations = Vec::new();
        for effect in &decision.effects {
            if self.apply(effect, &decision).is_err() {
                break;
            }
            let after = (self.validated()?, self.observe());
            let (old, new) = (State { rollout: &before.0, cluster: &before.1 }, State { rollout: &after.0, cluster: &after.1 });
            violations.extend(invariant::check(old, new, true));
            before = after;
        }
        Ok((decision, violations))
    }

    /// Applies one effect as the API server would: what it tests must hold.
    pub fn apply(&mut self, effect: &Effect, decision: &Decision) -> Result<(), Refusal> {
        match effect {
            Effect::RecordStatus => {
                self.rollout.status = Some(decision.status.clone());
                return Ok(());
            }
            Effect::SetWeight { route, from, to, patch } => {
                let live = self.route.as_mut().ok_or("the route is gone")?;
                json_patch::patch(live, patch).map_err(|error| error.to_string())?;
                let generation = live["metadata"]["generation"].as_i64().unwrap_or(1);
                live["metadata"]["generation"] = json!(generation + 1);
                self.route_changed = self.now;
                self.log.push(format!("HTTPRoute {route}: canary weight {from} -> {to}"));
            }
            Effect::SetSelector { service, from, to, .. } => {
                let live = self.selectors.get_mut(service).ok_or("no such Service")?;
                if live != from {
                    return Err("the selector is another by now".to_owned());
                }
                *live = Some(to.clone());
                self.log.push(format!("Service {service}: selects {}", self.label(to)));
            }
            Effect::CreateReplicaSet { hash, revision, replicas } => self.create_set(hash, *revision, *replicas)?,
            Effect::NumberReplicaSet { name, revision, .. } => {
                self.set_mut(name)?.seen.revision = *revision;
                self.log.push(format!("ReplicaSet {name}: revision {revision}"));
            }
            Effect::ScaleReplicaSet { name, from, to, .. } => {
                let now = self.now;
                let set = self.set_mut(name)?;
                if set.seen.wanted != *from {
                    return Err("the size is another by now".to_owned());
                }
                set.seen.wanted = *to;
                set.pods.resize(usize::try_from(*to).unwrap_or(0), now);
                let label = self.label(&name[name.rfind('-').map_or(0, |at| at + 1)..]);
                self.log.push(format!("ReplicaSet of {label}: {from} -> {to} pods"));
            }
            Effect::DeleteReplicaSet { name, .. } => {
                self.sets.retain(|set| set.seen.name != *name);
                self.log.push(format!("ReplicaSet {name}: deleted"));
            }
            Effect::CreateRun { name, spec } => self.create_run(name, spec.subject.clone())?,
            Effect::TerminateRun { name, reason, .. } => {
                let at = Time(self.now);
                let run = self.runs.iter_mut().find(|run| run.name == *name).ok_or("no such run")?;
                run.terminating = true;
                run.status.phase = RunPhase::Cancelled;
                run.status.completed_at = Some(at);
                self.log.push(format!("AnalysisRun {name}: cancelled, {reason}"));
            }
            Effect::DeleteRun { name, .. } => self.runs.retain(|run| run.name != *name),
        }
        Ok(())
    }

    fn create_set(&mut self, hash: &str, revision: i64, replicas: i32) -> Result<(), Refusal> {
        let name = format!("{}-{hash}", self.rollout.metadata.name.clone().unwrap_or_default());
        if self.sets.iter().any(|set| set.seen.name == name) {
            return Err("it exists".to_owned());
        }
        self.created += 1;
        let image = self.image();
        let seen = ReplicaSet {
            uid: format!("uid-{}", self.created),
            resource_version: self.created.to_string(),
            hash: hash.to_owned(),
            revision,
            wanted: replicas,
            current: 0,
            ready: 0,
            available: 0,
            deleting: false,
            name,
        };
        let pods = vec![self.now; usize::try_from(replicas).unwrap_or(0)];
        self.sets.push(Set { seen, image: image.clone(), pods });
        self.log.push(format!("ReplicaSet of {image}: created with {replicas} pods, revision {revision}"));
        Ok(())
    }

    fn create_run(&mut self, name: &str, subject: crate::api::analysis::Subject) -> Result<(), Refusal> {
        if self.runs.iter().any(|run| run.name == name) {
            return Err("it exists".to_owned());
        }
        let results = self.metrics.iter().map(|metric| MetricResult {
            name: metric.name.clone(),
            phase: RunPhase::Running,
            message: None,
            successful: 0,
            failed: 0,
            inconclusive: 0,
            error: 0,
            consecutive_error: 0,
            last_usable_at: None,
            measurements: Vec::new(),
        });
        let status = AnalysisRunStatus {
            phase: RunPhase::Running,
            started_at: Some(Time(self.now)),
            metric_results: results.collect(),
            ..AnalysisRunStatus::default()
        };
        let uid = format!("uid-{name}");
        self.runs.push(Run { name: name.to_owned(), uid, created: self.now, subject, terminating: false, status });
        self.log.push(format!("AnalysisRun {name}: created"));
        Ok(())
    }

    fn set_mut(&mut self, name: &str) -> Result<&mut Set, Refusal> {
        self.sets.iter_mut().find(|set| set.seen.name == name).ok_or_else(|| format!("no ReplicaSet {name}"))
    }

    /// The image of a revision, for people.
    fn label(&self, hash: &str) -> String {
        self.sets.iter().find(|set| set.seen.hash == hash).map_or_else(|| hash.to_owned(), |set| set.image.clone())
    }

    fn image(&self) -> String {
        let image = self.rollout.spec.template.pointer("/spec/containers/0/image").and_then(Value::as_str);
        image.unwrap_or("").to_owned()
    }

    // What happens to a cluster from outside.

    /// Somebody changes the image.
    pub fn set_image(&mut self, image: &str) {
        self.rollout.spec.template["spec"]["containers"][0]["image"] = json!(image);
        self.rollout.metadata.generation = self.rollout.metadata.generation.map(|generation| generation + 1);
    }

    /// Somebody writes weights into the route by hand.
    pub fn edit_weight(&mut self, canary: i32) {
        if let Some(route) = &mut self.route {
            let backends = &mut route["spec"]["rules"][0]["backendRefs"];
            backends[0]["weight"] = json!(100 - canary);
            backends[1]["weight"] = json!(canary);
            let generation = route["metadata"]["generation"].as_i64().unwrap_or(1);
            route["metadata"]["generation"] = json!(generation + 1);
            self.route_changed = self.now;
        }
    }

    /// Somebody deletes the route.
    pub fn delete_route(&mut self) {
        self.route = None;
    }

    /// All pods of the stable revision but `left` are lost and start again.
    pub fn lose_stable_pods(&mut self, left: usize) {
        let stable = self.rollout.status.as_ref().and_then(|status| status.stable.clone()).map(|stable| stable.hash);
        let now = self.now;
        for set in self.sets.iter_mut().filter(|set| Some(&set.seen.hash) == stable.as_ref()) {
            for pod in set.pods.iter_mut().skip(left) {
                *pod = now;
            }
        }
    }

    /// Every unfinished run of the present attempt takes a usable, good measurement.
    pub fn measure_good(&mut self) {
        let at = Time(self.now);
        for run in self.runs.iter_mut().filter(|run| run.status.completed_at.is_none()) {
            run.status.phase = RunPhase::Running;
            run.status.message = None;
            for result in &mut run.status.metric_results {
                result.last_usable_at = Some(at.clone());
                result.successful += 1;
            }
        }
    }

    /// Every unfinished run gets this verdict, or for Error this state.
    pub fn verdict(&mut self, phase: RunPhase, message: &str) {
        let at = Time(self.now);
        for run in self.runs.iter_mut().filter(|run| run.status.completed_at.is_none()) {
            run.status.phase = phase;
            run.status.message = Some(message.to_owned());
            if phase != RunPhase::Error {
                run.status.completed_at = Some(at.clone());
                run.status.metric_results.iter_mut().for_each(|result| result.phase = phase);
            }
        }
    }

    /// Digest of the template that the spec asks for.
    #[must_use]
    pub fn digest(&self) -> String {
        digest::template_digest(&self.rollout.spec.template)
    }
}

fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}
