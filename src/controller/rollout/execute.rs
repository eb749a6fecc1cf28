//! Carries out effects in their order. Makes no choices: stops at the first that fails, and the next pass looks again.

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::observe::{replica_set_resource, route_resource};
use crate::api::analysis::AnalysisRun;
use crate::api::names;
use crate::api::rollout::{Rollout, RolloutStatus};
use crate::controller::error::{Error, status_code, within};
use crate::rollout::effect::Effect;
use crate::rollout::spec::ValidatedRollout;
use crate::rollout::{objects, patches};

/// What one pass writes to.
#[expect(missing_debug_implementations, reason = "holds a client, whose debug output says nothing")]
pub struct Executor<'a> {
    /// The API server.
    pub client: &'a Client,
    /// The Rollout as validated.
    pub rollout: &'a ValidatedRollout,
    /// Its resourceVersion when it was read: the status is recorded by compare-and-swap on it.
    pub resource_version: &'a str,
}

impl Executor<'_> {
    /// Carries out one effect.
    pub async fn run(&self, effect: &Effect, status: &RolloutStatus) -> Result<(), Error> {
        let namespace = &self.rollout.namespace;
        match effect {
            Effect::RecordStatus => self.record(status).await,
            Effect::SetWeight { route, patch, to, .. } => {
                let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &route_resource(route.kind));
                patch_json(&api, &route.name, patch.clone(), &format!("set weight {to} in {route}")).await
            }
            Effect::SetSelector { service, uid, resource_version, from, to } => {
                let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
                let patch = patches::selector(uid, resource_version, from.as_deref(), to);
                patch_json(&api, service, parse(patch)?, &format!("point Service {service} at {to}")).await
            }
            Effect::CreateReplicaSet { hash, revision, replicas, dress } => {
                let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &replica_set_resource());
                let wanted = objects::replica_set(self.rollout, hash, *revision, *replicas, dress);
                self.create(&api, wanted, "create a ReplicaSet").await
            }
            Effect::NumberReplicaSet { name, uid, revision } => {
                self.patch_set(name, patches::number(uid, *revision), "number a ReplicaSet").await
            }
            Effect::ScaleReplicaSet { name, uid, generation, from, to } => {
                let patch = patches::scale(uid, *generation, *from, *to);
                self.patch_set(name, patch, &format!("scale ReplicaSet {name} to {to}")).await
            }
            Effect::DressReplicaSet { name, patch } => {
                let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &replica_set_resource());
                patch_json(
                    &api,
                    name,
                    patch.clone(),
                    &format!("change metadata, affinity or minReadySeconds of ReplicaSet {name}"),
                )
                .await
            }
            Effect::DressPod { name, patch } => {
                let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
                patch_json(&api, name, patch.clone(), &format!("change the metadata of pod {name}")).await
            }
            Effect::EvictPod { name, uid } => {
                let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
                evict(&api, name, uid).await
            }
            Effect::DeleteReplicaSet { name, uid, resource_version } => {
                let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &replica_set_resource());
                delete(&api, name, uid, Some(resource_version)).await
            }
            Effect::RestoreTemplate { generation, template, .. } => {
                let api: Api<Rollout> = Api::namespaced(self.client.clone(), namespace);
                let patch = json!([test("/metadata/uid", json!(self.rollout.uid)), test("/metadata/generation", json!(generation)),
                    {"op": "replace", "path": "/spec/template", "value": template}]);
                patch_json(&api, &self.rollout.name, parse(patch)?, "write an earlier template into the Rollout").await
            }
            Effect::CreateRun { name, spec } => {
                let api: Api<AnalysisRun> = Api::namespaced(self.client.clone(), namespace);
                let wanted = objects::analysis_run(self.rollout, name, spec);
                self.create(&api, wanted, &format!("create AnalysisRun {name}")).await
            }
            Effect::TerminateRun { name, uid, generation, reason } => {
                let api: Api<AnalysisRun> = Api::namespaced(self.client.clone(), namespace);
                let patch = json!([test("/metadata/uid", json!(uid)), test("/metadata/generation", json!(generation)),
                    {"op": "add", "path": "/spec/terminate", "value": reason}]);
                patch_json(&api, name, parse(patch)?, &format!("end AnalysisRun {name}")).await
            }
            Effect::DeleteRun { name, uid } => {
                let api: Api<AnalysisRun> = Api::namespaced(self.client.clone(), namespace);
                delete(&api, name, uid, None).await
            }
        }
    }

    /// Writes the whole status by compare-and-swap: a pass that looked at an older object loses.
    async fn record(&self, status: &RolloutStatus) -> Result<(), Error> {
        let api: Api<Rollout> = Api::namespaced(self.client.clone(), &self.rollout.namespace);
        record_status(&api, &self.rollout.name, self.resource_version, status).await
    }

    async fn patch_set(&self, name: &str, patch: Value, what: &str) -> Result<(), Error> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.rollout.namespace, &replica_set_resource());
        patch_json(&api, name, parse(patch)?, what).await
    }

    async fn create<K>(&self, api: &Api<K>, wanted: Value, what: &str) -> Result<(), Error>
    where
        K: kube::Resource + serde::Serialize + DeserializeOwned + Clone + std::fmt::Debug,
    {
        let object: K =
            serde_json::from_value(wanted).map_err(|error| Error::Other { what: what.to_owned(), why: error.to_string() })?;
        let params = PostParams { dry_run: false, field_manager: Some(names::MANAGER_ROLLOUT.to_owned()) };
        match within(what, api.create(&params, &object)).await {
            Ok(_) => Ok(()),
            // Created by a pass whose answer was lost, or by somebody else for good: the next look tells, and as it may
            // say the same again, it comes after a pause that grows.
            Err(Error::Kube { source, .. }) if status_code(&source) == Some(409) => {
                Err(Error::Other { what: what.to_owned(), why: "an object of this name exists".to_owned() })
            }
            Err(error) => Err(error),
        }
    }
}

/// Replaces an object's status if its resourceVersion is still the one that was read.
pub async fn record_status<K, S>(api: &Api<K>, name: &str, resource_version: &str, status: &S) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
    S: serde::Serialize,
{
    let patch =
        json!([test("/metadata/resourceVersion", json!(resource_version)), {"op": "add", "path": "/status", "value": status}]);
    let what = format!("record the status of {name}");
    let patch = Patch::Json::<()>(parse(patch)?);
    let params = PatchParams { field_manager: Some(names::MANAGER_ROLLOUT.to_owned()), ..PatchParams::default() };
    changed_on_failed_test(within(&what, api.patch_status(name, &params, &patch)).await.map(drop), &what)
}

fn test(path: &str, value: Value) -> Value {
    json!({"op": "test", "path": path, "value": value})
}

fn parse(patch: Value) -> Result<json_patch::Patch, Error> {
    serde_json::from_value(patch).map_err(|error| Error::Other { what: "write a patch".to_owned(), why: error.to_string() })
}

async fn patch_json<K>(api: &Api<K>, name: &str, patch: json_patch::Patch, what: &str) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let params = PatchParams { field_manager: Some(names::MANAGER_ROLLOUT.to_owned()), ..PatchParams::default() };
    changed_on_failed_test(within(what, api.patch(name, &params, &Patch::Json::<()>(patch))).await.map(drop), what)
}

/// The API server answers a failed `test` with 422: somebody changed the object since it was seen.
fn changed_on_failed_test(result: Result<(), Error>, what: &str) -> Result<(), Error> {
    match result {
        Err(Error::Kube { source, .. })
            if matches!(&*source, kube::Error::Api(status) if status.code == 409
                || (status.code == 422 && status.message.contains("the server rejected our request"))) =>
        {
            Err(Error::Changed { what: what.to_owned() })
        }
        other => other,
    }
}

/// Asks for a pod's eviction. A PodDisruptionBudget that says no, and a pod that is gone or another by now, are no failures:
/// the next look tells.
async fn evict(api: &Api<Pod>, name: &str, uid: &str) -> Result<(), Error> {
    // Not `Api::evict`, which writes the precondition under a name that the API server does not know.
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name},
        "deleteOptions": {"preconditions": {"uid": uid}}
    });
    let params = PostParams { dry_run: false, field_manager: Some(names::MANAGER_ROLLOUT.to_owned()) };
    let asked = api.create_subresource::<Value, Value>("eviction", name, &params, &eviction);
    match within(&format!("evict pod {name}"), asked).await {
        Ok(_) => Ok(()),
        Err(Error::Kube { source, .. }) if matches!(status_code(&source), Some(404 | 409 | 429)) => {
            tracing::info!(pod = name, why = %source, "not evicted now");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

async fn delete<K>(api: &Api<K>, name: &str, uid: &str, resource_version: Option<&str>) -> Result<(), Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: resource_version.map(str::to_owned) };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
    match within(&format!("delete {name}"), api.delete(name, &params)).await {
        Ok(_) => Ok(()),
        Err(Error::Kube { source, .. }) if status_code(&source) == Some(404) => Ok(()),
        Err(error) => Err(error),
    }
}
