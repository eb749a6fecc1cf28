//! What happens to a cluster from outside: people, metrics, lost pods.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cluster::{Cluster, Route, ServiceObject};
use crate::api::Time;
use crate::api::analysis::RunPhase;
use crate::api::names;
use crate::api::rollout::Rollout;
use crate::api::slo::{SloCounts, SloResult};
use crate::rollout::managers::Contender;
use crate::rollout::observed::Run;

impl Cluster {
    /// Somebody edits the Rollout's spec.
    pub fn edit(&mut self, change: impl FnOnce(&mut Rollout)) {
        let before = self.rollout.spec.clone();
        change(&mut self.rollout);
        if self.rollout.spec != before {
            self.rollout.metadata.generation = self.rollout.metadata.generation.map(|generation| generation + 1);
        }
        self.rollout.metadata.resource_version = Some(self.next_version().to_string());
    }

    /// Somebody changes the image.
    pub fn set_image(&mut self, image: &str) {
        self.edit(|rollout| rollout.spec.template["spec"]["containers"][0]["image"] = json!(image));
    }

    /// Somebody merges a patch into the Rollout's spec; an error when the result is no Rollout.
    pub fn merge_spec(&mut self, patch: &Value) -> Result<(), String> {
        let mut spec = serde_json::to_value(&self.rollout.spec).map_err(|error| error.to_string())?;
        json_patch::merge(&mut spec, patch);
        let spec = serde_json::from_value(spec).map_err(|error| error.to_string())?;
        self.edit(|rollout| rollout.spec = spec);
        Ok(())
    }

    /// A Service without a revision in its selector; an existing one stays as it is.
    pub fn create_service(&mut self, name: &str) {
        let version = self.meddle();
        let object = json!({
            "metadata": {"name": name, "uid": format!("uid-{version}"), "generation": 1, "resourceVersion": version.to_string()},
            "spec": {"selector": {"app": "web"}}
        });
        self.services.entry(name.to_owned()).or_insert(ServiceObject { object, moved: None });
    }

    /// Somebody deletes a Service.
    pub fn delete_service(&mut self, name: &str) {
        self.services.remove(name);
        self.meddle();
    }

    /// Somebody points a Service at the revision of an image, or at no revision.
    pub fn edit_selector(&mut self, name: &str, image: Option<&str>) {
        let hash = image.and_then(|image| self.sets.iter().find(|set| set.image == image)).map(|set| set.hash.clone());
        let (uptime, version) = (self.uptime, self.meddle());
        if let Some(service) = self.services.get_mut(name) {
            let contender = Contender { manager: "helm".to_owned(), version: version.to_string() };
            self.contenders.insert(format!("Service {name}"), contender);
            service.moved = Some((uptime, service.hash()));
            service.object["spec"]["selector"] = match hash {
                Some(hash) => json!({"app": "web", names::POD_TEMPLATE_HASH: hash}),
                None => json!({"app": "web"}),
            };
            service.object["metadata"]["resourceVersion"] = json!(version.to_string());
        }
    }

    /// A route with so many rules between the two Services, all on stable, and one rule that is none of ours; an existing
    /// one stays as it is.
    pub fn create_route(&mut self, name: &str, rules: usize) {
        if self.routes.contains_key(name) {
            return;
        }
        let canary = &self.rollout.spec.strategy.canary;
        let rule = json!({"backendRefs": [{"name": canary.stable_service, "port": 80, "weight": canary.whole()},
            {"name": canary.canary_service, "port": 80, "weight": 0}]});
        let mut all = vec![rule; rules];
        all.push(json!({"backendRefs": [{"name": "another", "port": 80}]}));
        let version = self.meddle();
        let object = json!({
            "metadata": {"name": name, "namespace": self.namespace(), "uid": format!("uid-{version}"), "generation": 1,
                "resourceVersion": version.to_string()},
            "spec": {"parentRefs": [{"name": "gateway"}], "rules": all}
        });
        let confirmed = json!({"metadata": {"generation": 0}, "spec": {}});
        self.routes.insert(name.to_owned(), Route { object, written: self.uptime, confirmed });
        self.gateways_answer();
    }

    /// Names of the routes that the spec asks for. In the model no two have the same name, whatever their kind.
    #[must_use]
    pub fn route_names(&self) -> Vec<String> {
        self.rollout.spec.strategy.canary.routes().map(|route| route.name).collect()
    }

    /// Somebody writes weights into the routes by hand; into one rule of one only, where it is named.
    pub fn edit_weight(&mut self, canary: i32, only: Option<(&str, usize)>) {
        let strategy = &self.rollout.spec.strategy.canary;
        let (uptime, ids, whole) = (self.uptime, strategy.routes().collect::<Vec<_>>(), strategy.whole());
        let canary = canary.clamp(0, whole);
        for (name, route) in &mut self.routes {
            let Some(id) = ids.iter().find(|id| id.name == *name) else { continue };
            let before = route.object["spec"].clone();
            let rules = route.object["spec"]["rules"].as_array_mut();
            for (index, rule) in rules.into_iter().flatten().enumerate() {
                let meant = only.is_none_or(|(route, rule)| route == name && rule == index);
                if meant && rule["backendRefs"].as_array().is_some_and(|backends| backends.len() == 2) {
                    rule["backendRefs"][0]["weight"] = json!(whole - canary);
                    rule["backendRefs"][1]["weight"] = json!(canary);
                }
            }
            if route.object["spec"] != before {
                let generation = route.object["metadata"]["generation"].as_i64().unwrap_or(1);
                route.object["metadata"]["generation"] = json!(generation + 1);
                let contender = Contender { manager: "kubectl-edit".to_owned(), version: (generation + 1).to_string() };
                self.contenders.insert(id.to_string(), contender);
                route.written = uptime;
            }
        }
        self.meddle();
        self.gateways_answer();
    }

    /// Somebody deletes a route.
    pub fn delete_route(&mut self, name: &str) {
        self.routes.remove(name);
        self.meddle();
    }

    /// Somebody deletes the ReplicaSet of an image; its pods go with it.
    pub fn delete_set_of(&mut self, image: &str) {
        self.sets.retain(|set| set.image != image);
        self.meddle();
    }

    /// Somebody scales the ReplicaSet of an image.
    pub fn scale_set_of(&mut self, image: &str, to: usize) {
        let (uptime, now, version) = (self.uptime, self.now, self.meddle());
        for set in self.sets.iter_mut().filter(|set| set.image == image) {
            set.object["spec"]["replicas"] = json!(to);
            set.object["metadata"]["resourceVersion"] = json!(version.to_string());
            set.follow(uptime, now);
        }
    }

    /// All pods of the stable revision but `left` are lost and start again.
    pub fn lose_stable_pods(&mut self, left: usize) {
        let stable = self.rollout.status.as_ref().and_then(|status| status.stable.clone()).map(|stable| stable.hash);
        self.lose_pods(left, |set| Some(set) == stable.as_deref());
    }

    /// All pods but `left` of the revisions of which `which` says so are lost and start again.
    fn lose_pods(&mut self, left: usize, which: impl Fn(&str) -> bool) {
        let uptime = self.uptime;
        self.next_version();
        for set in self.sets.iter_mut().filter(|set| which(&set.hash)) {
            for pod in set.pods.iter_mut().skip(left) {
                pod.started = uptime;
            }
        }
    }

    /// All pods of the revision that the spec asks for but `left` are lost and start again.
    pub fn lose_canary_pods(&mut self, left: usize) {
        let hash = crate::manifest::digest::template_hash(&self.digest());
        self.lose_pods(left, |set| set == hash);
    }

    /// Every unfinished run takes a usable, good measurement; `at` by the controller's clock.
    pub fn measure_good(&mut self, at: Timestamp) {
        if self.runs.iter().any(|run| run.status.completed_at.is_none()) {
            self.next_version();
        }
        let at = Time(at);
        for run in self.runs.iter_mut().filter(|run| run.status.completed_at.is_none()) {
            run.status.phase = RunPhase::Running;
            run.status.message = None;
            for result in &mut run.status.metric_results {
                result.last_usable_at = Some(at.clone());
                result.successful += 1;
            }
        }
    }

    /// The evidence of all unfinished runs says that canary and stable are over budget, or no longer.
    pub fn set_outage(&mut self, on: bool) {
        self.next_version();
        for run in self.runs.iter_mut().filter(|run| run.status.completed_at.is_none() && run.subject.evidence) {
            for result in &mut run.status.metric_results {
                let counts = SloCounts::default();
                result.slo = Some(SloResult {
                    canary: counts,
                    stable: counts,
                    evidence: "1".to_owned(),
                    needed: "100".to_owned(),
                    dispersion: String::new(),
                    accepted_at: None,
                    shared_outage: on,
                    first_sample_at: None,
                    last_sample_at: None,
                    curve: String::new(),
                    ledger: String::new(),
                });
            }
        }
    }

    /// Every unfinished run, or only that of a step, gets this verdict, or for Error this state.
    pub fn verdict(&mut self, phase: RunPhase, message: &str, at: Timestamp, step: Option<i32>) {
        if self.runs.iter().any(|run| run.status.completed_at.is_none()) {
            self.next_version();
        }
        let at = Time(at);
        // A run of evidence has no end but a verdict Failed: it is steps that do not wait for it for ever.
        let never = |run: &Run| run.subject.evidence && phase == RunPhase::Inconclusive;
        let meant =
            |run: &&mut Run| run.status.completed_at.is_none() && (step.is_none() || run.subject.step == step) && !never(run);
        for run in self.runs.iter_mut().filter(meant) {
            run.status.phase = phase;
            run.status.message = Some(message.to_owned());
            if phase != RunPhase::Error {
                run.status.completed_at = Some(at.clone());
                run.status.metric_results.iter_mut().for_each(|result| result.phase = phase);
            }
        }
    }
}
