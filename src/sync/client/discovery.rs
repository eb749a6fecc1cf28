//! From apiVersion and kind to the resource's path, asked of the API server once and remembered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::{Call, Cluster, ClusterError, Identity};
use crate::manifest::{Object, ObjectId};

/// How a kind is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// `deployments`.
    pub plural: String,
    /// Does it live in namespaces?
    pub namespaced: bool,
}

/// Kinds of one API version.
type Kinds = BTreeMap<String, Resource>;

/// What the API server said about its kinds. A kind that it does not know is asked again in the next sync: its
/// CustomResourceDefinition may have come meanwhile.
#[derive(Clone, Debug, Default)]
pub(super) struct Discovery(Arc<Mutex<HashMap<String, Arc<Kinds>>>>);

impl Discovery {
    fn known(&self, api_version: &str) -> Option<Arc<Kinds>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(api_version).cloned()
    }

    fn remember(&self, api_version: &str, kinds: Arc<Kinds>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(api_version.to_owned(), kinds);
    }
}

/// Looks kinds up for one sync; asks for each API version at most once more than is remembered.
#[derive(Debug)]
pub(super) struct Lookup<'c> {
    cluster: &'c Cluster,
    asked: BTreeSet<String>,
}

impl<'c> Lookup<'c> {
    pub(super) const fn new(cluster: &'c Cluster) -> Self {
        Self { cluster, asked: BTreeSet::new() }
    }

    /// The resource of an object's kind; none when the cluster does not know it.
    pub(super) async fn resource(&mut self, id: &ObjectId) -> Result<Option<Resource>, ClusterError> {
        let api_version = id.api_version();
        let mut kinds = self.cluster.discovery.known(&api_version).unwrap_or_default();
        if !kinds.contains_key(&id.kind) && self.asked.insert(api_version.clone()) {
            kinds = Arc::new(self.ask(&api_version).await?);
            self.cluster.discovery.remember(&api_version, Arc::clone(&kinds));
        }
        Ok(kinds.get(&id.kind).cloned())
    }

    async fn ask(&self, api_version: &str) -> Result<Kinds, ClusterError> {
        let path = super::api_path(api_version);
        let call = Call { verb: "discover", object: api_version.to_owned(), account: None, secret: false };
        match self.cluster.get_path(Identity::Own, &path, call).await? {
            Some(list) => Ok(kinds_of(&list)),
            None => Ok(Kinds::new()),
        }
    }
}

fn kinds_of(list: &Value) -> Kinds {
    let resources = list.get("resources").and_then(Value::as_array).into_iter().flatten();
    // `deployments/status` and the like are not kinds of their own.
    let whole = resources.filter(|r| r["name"].as_str().is_some_and(|name| !name.contains('/')));
    whole
        .filter_map(|r| {
            let resource = Resource { plural: r["name"].as_str()?.to_owned(), namespaced: r["namespaced"].as_bool()? };
            Some((r["kind"].as_str()?.to_owned(), resource))
        })
        .collect()
}

/// Kinds that CustomResourceDefinitions among the objects are about to bring, by (apiVersion, kind).
pub(super) fn defined_by(objects: &[Object]) -> HashMap<(String, String), Resource> {
    let definitions = objects.iter().filter(|o| o.id.is("apiextensions.k8s.io", "CustomResourceDefinition"));
    let mut kinds = HashMap::new();
    for definition in definitions {
        let text = |pointer: &str| definition.value.pointer(pointer).and_then(Value::as_str);
        let (Some(group), Some(kind), Some(plural)) = (text("/spec/group"), text("/spec/names/kind"), text("/spec/names/plural"))
        else {
            continue;
        };
        let resource = Resource { plural: plural.to_owned(), namespaced: text("/spec/scope") == Some("Namespaced") };
        let versions = definition.value.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
        for version in versions.filter_map(|v| v["name"].as_str()) {
            kinds.insert((format!("{group}/{version}"), kind.to_owned()), resource.clone());
        }
    }
    kinds
}
