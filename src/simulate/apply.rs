//! One effect, as the API server carries it out: with the very patches that the controller sends, tests included.

use serde_json::{Value, json};

use super::cluster::{Cluster, Kind, image_of};
use super::pods::{self, Set};
use crate::analysis::run;
use crate::api::Time;
use crate::api::analysis::{AnalysisRunSpec, AnalysisRunStatus, RunPhase};
use crate::api::rollout::{Rollout, RolloutStatus};
use crate::rollout::dress::{self, Dress};
use crate::rollout::effect::{Effect, weight_in_words};
use crate::rollout::observed::Run;
use crate::rollout::patches;

/// Why the model's API server refused an effect.
pub type Refusal = String;

/// The kind of object that an effect writes to.
#[must_use]
pub(super) fn kind_of(effect: &Effect) -> Kind {
    match effect {
        Effect::RecordStatus | Effect::RestoreTemplate { .. } => Kind::Rollout,
        Effect::SetWeight { .. } => Kind::Routes,
        Effect::SetSelector { .. } => Kind::Services,
        Effect::CreateReplicaSet { .. }
        | Effect::NumberReplicaSet { .. }
        | Effect::ScaleReplicaSet { .. }
        | Effect::DressReplicaSet { .. }
        | Effect::DressPod { .. }
        | Effect::EvictPod { .. }
        | Effect::DeleteReplicaSet { .. } => Kind::ReplicaSets,
        Effect::CreateRun { .. } | Effect::TerminateRun { .. } | Effect::DeleteRun { .. } => Kind::Runs,
    }
}

impl Cluster {
    /// Applies one effect of a pass that looked at `rollout` and decided on `status`.
    pub(super) fn apply(&mut self, effect: &Effect, rollout: &Rollout, status: &RolloutStatus) -> Result<(), Refusal> {
        if self.world.refused.contains(&kind_of(effect)) {
            return Err("forbidden".to_owned());
        }
        match effect {
            Effect::RecordStatus => self.record(rollout, status)?,
            Effect::SetWeight { route, from, to, rules, patch } => {
                let uptime = self.uptime;
                let live = self.routes.get_mut(&route.name).ok_or("the route is gone")?;
                patched(&mut live.object, patch)?;
                live.written = uptime;
                self.contenders.remove(&route.to_string());
                self.log.push(weight_in_words(route, *from, *to, rules));
            }
            Effect::SetSelector { service, uid, resource_version, from, to } => {
                let uptime = self.uptime;
                let live = self.services.get_mut(service).ok_or("no such Service")?;
                let before = live.hash();
                patched(&mut live.object, &parsed(patches::selector(uid, resource_version, from.as_deref(), to))?)?;
                live.moved = Some((uptime, before));
                self.contenders.remove(&format!("Service {service}"));
                self.log.push(format!("Service {service}: selects {}", self.label(to)));
            }
            Effect::CreateReplicaSet { hash, revision, replicas, dress } => {
                self.create_set(rollout, (hash, *revision, *replicas), dress)?;
            }
            Effect::DressReplicaSet { name, patch } => self.dress_set(name, patch)?,
            Effect::DressPod { name, patch } => self.dress_pod(name, patch)?,
            Effect::EvictPod { name, uid } => {
                if !self.evict(name, uid) {
                    return Ok(());
                }
            }
            Effect::NumberReplicaSet { name, uid, revision } => {
                patched(&mut self.set_mut(name)?.object, &parsed(patches::number(uid, *revision))?)?;
                self.log.push(format!("ReplicaSet {name}: revision {revision}"));
            }
            Effect::ScaleReplicaSet { name, uid, generation, from, to } => {
                self.scale_set(name, &patches::scale(uid, *generation, *from, *to), (*from, *to))?;
            }
            Effect::DeleteReplicaSet { name, uid, resource_version } => self.delete_set(name, uid, resource_version)?,
            Effect::RestoreTemplate { generation, template, .. } => {
                if self.rollout.metadata.generation != Some(*generation) {
                    return Err("the spec changed since it was read".to_owned());
                }
                self.edit(|rollout| rollout.spec.template.clone_from(template));
                self.log.push(format!("Rollout: template of {} written", image_of(&self.rollout)));
            }
            Effect::CreateRun { name, spec } => self.create_run(name, spec)?,
            Effect::TerminateRun { name, uid, generation, reason } => {
                let at = Time(self.now);
                let run = self.runs.iter_mut().find(|run| run.name == *name && run.uid == *uid).ok_or("no such run")?;
                if run.generation != *generation {
                    return Err(format!("AnalysisRun {name} has another generation"));
                }
                run.terminating = true;
                run.generation += 1;
                // The loop that measures ends it, unless it has its verdict already.
                if run.status.completed_at.is_none() {
                    run.status.phase = RunPhase::Cancelled;
                    run.status.completed_at = Some(at);
                }
                self.log.push(format!("AnalysisRun {name}: cancelled, {reason}"));
            }
            Effect::DeleteRun { name, uid } => {
                self.runs.retain(|run| run.name != *name || run.uid != *uid);
                *self.counts.runs_deleted.entry(name.clone()).or_default() += 1;
            }
        }
        self.next_version();
        self.gateways_answer();
        Ok(())
    }

    /// Compare-and-swap on the resourceVersion that the pass looked at.
    fn record(&mut self, rollout: &Rollout, status: &RolloutStatus) -> Result<(), Refusal> {
        if self.rollout.metadata.resource_version != rollout.metadata.resource_version {
            return Err("the Rollout changed since it was read".to_owned());
        }
        // As the API server stores it: what does not survive JSON does not survive a restart either.
        let stored = serde_json::to_value(status).and_then(serde_json::from_value).map_err(|error| error.to_string())?;
        self.rollout.status = Some(stored);
        self.rollout.metadata.resource_version = Some(self.next_version().to_string());
        self.note_pause();
        Ok(())
    }

    fn create_set(
        &mut self,
        rollout: &Rollout,
        (hash, revision, replicas): (&str, i64, i32),
        dress: &Dress,
    ) -> Result<(), Refusal> {
        let name = format!("{}-{hash}", rollout.metadata.name.clone().unwrap_or_default());
        if self.sets.iter().any(|set| set.name() == name) {
            return Err("it exists".to_owned());
        }
        let version = self.next_version();
        let image = image_of(rollout);
        let mut template = rollout.spec.template.clone();
        dress::template(&mut template, dress);
        let object = json!({
            "metadata": {"name": name, "uid": format!("uid-{version}"), "generation": 1, "resourceVersion": version.to_string(),
                "labels": pods::labels(hash, revision)},
            "spec": {"replicas": replicas, "minReadySeconds": dress.min_ready_seconds, "template": template}
        });
        let mut set = Set::new(object, hash, &image);
        set.written.clone_from(&rollout.spec.template);
        set.follow(self.uptime, self.now);
        self.sets.push(set);
        *self.counts.sets_created.entry(name).or_default() += 1;
        self.log.push(format!("ReplicaSet of {image}: created with {replicas} pods, revision {revision}"));
        Ok(())
    }

    fn scale_set(&mut self, name: &str, patch: &Value, (from, to): (i32, i32)) -> Result<(), Refusal> {
        let (uptime, now) = (self.uptime, self.now);
        let set = self.set_mut(name)?;
        patched(&mut set.object, &parsed(patch.clone())?)?;
        set.follow(uptime, now);
        let label = set.image.clone();
        self.log.push(format!("ReplicaSet of {label}: {from} -> {to} pods"));
        Ok(())
    }

    fn dress_set(&mut self, name: &str, patch: &json_patch::Patch) -> Result<(), Refusal> {
        // A ReplicaSet's status changes its resourceVersion, too.
        let seen = self.observe().replica_sets.into_iter().find(|set| set.name == name);
        let version = seen.map(|set| set.resource_version).ok_or("no such ReplicaSet")?;
        let set = self.set_mut(name)?;
        let own = set.object["metadata"]["resourceVersion"].clone();
        let mut object = set.object.clone();
        object["metadata"]["resourceVersion"] = json!(version);
        json_patch::patch(&mut object, patch).map_err(|error| error.to_string())?;
        object["metadata"]["resourceVersion"] = own;
        if object["spec"] != set.object["spec"] {
            object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        set.object = object;
        let (next, label) = (self.next_version(), self.set_mut(name)?.image.clone());
        self.set_mut(name)?.object["metadata"]["resourceVersion"] = json!(next.to_string());
        self.log.push(format!("ReplicaSet of {label}: metadata, affinity or minReadySeconds changed"));
        Ok(())
    }

    fn dress_pod(&mut self, name: &str, patch: &json_patch::Patch) -> Result<(), Refusal> {
        let mut pods = self.sets.iter_mut().flat_map(|set| &mut set.pods);
        let pod = pods.find(|pod| pod.object["metadata"]["name"] == name).ok_or("no such pod")?;
        patched(&mut pod.object, patch)
    }

    fn delete_set(&mut self, name: &str, uid: &str, resource_version: &str) -> Result<(), Refusal> {
        let seen = self.observe().replica_sets.into_iter().find(|set| set.name == name);
        match seen {
            // As the controller takes it: what is gone is deleted.
            None => return Ok(()),
            Some(set) if set.uid != uid || set.resource_version != resource_version => {
                return Err("the ReplicaSet changed since it was read".to_owned());
            }
            Some(_) => {}
        }
        self.sets.retain(|set| set.name() != name);
        *self.counts.sets_deleted.entry(name.to_owned()).or_default() += 1;
        self.log.push(format!("ReplicaSet {name}: deleted"));
        Ok(())
    }

    fn create_run(&mut self, name: &str, spec: &AnalysisRunSpec) -> Result<(), Refusal> {
        if self.runs.iter().any(|run| run.name == name) {
            return Err("it exists".to_owned());
        }
        let results = spec.metrics.iter().map(run::unmeasured);
        let status = AnalysisRunStatus {
            phase: RunPhase::Running,
            started_at: Some(Time(self.now)),
            metric_results: results.collect(),
            ..AnalysisRunStatus::default()
        };
        let uid = format!("uid-{}", self.next_version());
        let (subject, created) = (spec.subject.clone(), self.now);
        self.runs.push(Run {
            name: name.to_owned(),
            uid,
            created,
            subject,
            dry_run: spec.dry_run.clone(),
            generation: 1,
            terminating: false,
            status,
        });
        *self.counts.runs_created.entry(name.to_owned()).or_default() += 1;
        self.log.push(format!("AnalysisRun {name}: created"));
        Ok(())
    }

    fn set_mut(&mut self, name: &str) -> Result<&mut Set, Refusal> {
        self.sets.iter_mut().find(|set| set.name() == name).ok_or_else(|| format!("no ReplicaSet {name}"))
    }
}

fn parsed(patch: Value) -> Result<json_patch::Patch, Refusal> {
    serde_json::from_value(patch).map_err(|error| error.to_string())
}

/// Patches an object: all or nothing; its versions go on as the API server moves them.
pub(super) fn patched(object: &mut Value, patch: &json_patch::Patch) -> Result<(), Refusal> {
    let before = object.clone();
    json_patch::patch(object, patch).map_err(|error| error.to_string())?;
    if *object != before {
        let next = |value: &Value| value.as_str().and_then(|v| v.parse::<u64>().ok()).or(value.as_u64()).unwrap_or(0) + 1;
        if object["spec"] != before["spec"] {
            object["metadata"]["generation"] = json!(next(&before["metadata"]["generation"]));
        }
        object["metadata"]["resourceVersion"] = json!(next(&before["metadata"]["resourceVersion"]).to_string());
    }
    Ok(())
}
