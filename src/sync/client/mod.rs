//! Carries a sync out: every read and write of Git's objects is made as the Application's service account.
//!
//! ```text
//! sync_once: resolve kinds -> project rules -> read, merge, dry run everything -> inventory (ids) -> apply in order
//!            -> prune -> inventory (uids)
//! ```
//! Nothing is written before everything was read and dry-run; nothing is written when nothing changed.

mod discovery;
mod error;
mod look;
mod prune;
mod run;

use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

pub use error::{Call, ClusterError, Failure, FieldProblem, SyncError};
pub use run::{SyncInput, SyncOutcome};

use crate::api::names::MANAGER_SYNC;
use crate::manifest::ObjectId;
use crate::sync::inventory::{self, Inventory};
use crate::sync::own::Owner;
use discovery::{Discovery, Resource};

/// No call takes longer: a black-holed connection must not stop an Application for ever.
const DEADLINE: Duration = Duration::from_secs(30);
/// Largest answer that is read; a list of all Rollouts of a namespace is the largest we ask for.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The service account that an Application applies as. Its rights are the limit of what Git can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    namespace: String,
    name: String,
}

impl ServiceAccount {
    /// None when either name is empty or could be read as something else in an identity
    /// (`system:serviceaccount:<namespace>:<name>`): an empty identity would be the controller's own.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Option<Self> {
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        (plain(namespace) && plain(name)).then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    fn label(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// As whom a call is made.
#[derive(Clone, Copy, Debug)]
enum Identity<'a> {
    /// The controller: discovery, Rollouts, inventories.
    Own,
    /// The Application's service account: everything that comes from Git.
    Account(&'a ServiceAccount),
}

/// How an apply is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Apply {
    /// Only asks what would come of it.
    DryRun,
    /// Writes.
    Persist,
}

/// The cluster that Applications are applied to. Cheap to clone; what it learned about kinds is shared.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    discovery: Discovery,
    deadline: Duration,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Over a client with the controller's own identity, which must be allowed to impersonate service accounts.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, discovery: Discovery::default(), deadline: DEADLINE }
    }

    /// With another deadline for each call than 30 s.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Reads an Application's inventory; an empty one when there is none yet.
    ///
    /// # Errors
    /// [`SyncError::Inventory`] when it cannot be understood, [`SyncError::Refused`] when it cannot be read.
    pub async fn read_inventory(&self, owner: &Owner) -> Result<Inventory, SyncError> {
        let id = inventory_id(owner);
        let found = self.get(Identity::Own, &config_maps(), &id).await;
        match found.map_err(|error| SyncError::Refused(vec![Failure { source: None, error }]))? {
            Some(config_map) => Ok(Inventory::read(&config_map, owner)?),
            None => Ok(Inventory::default()),
        }
    }

    /// The object, none when there is none.
    async fn get(&self, who: Identity<'_>, resource: &Resource, id: &ObjectId) -> Result<Option<Value>, ClusterError> {
        self.get_path(who, &object_path(resource, id), call("get", id, who)).await
    }

    async fn get_path(&self, who: Identity<'_>, path: &str, call: Call) -> Result<Option<Value>, ClusterError> {
        match self.send(who, Method::GET, path, None, call).await {
            Err(ClusterError::NotFound { .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Server-side apply; the answer is the object as it is, or in a dry run would be, afterwards.
    async fn apply(
        &self,
        who: Identity<'_>,
        how: Apply,
        resource: &Resource,
        id: &ObjectId,
        value: &Value,
    ) -> Result<Value, ClusterError> {
        // Strict, as `kubectl apply` does: a misspelt field is an error and not silently dropped.
        let dry_run = if how == Apply::DryRun { "&dryRun=All" } else { "" };
        let query = format!("fieldManager={MANAGER_SYNC}&force=true&fieldValidation=Strict{dry_run}");
        let path = format!("{}?{query}", object_path(resource, id));
        self.send(who, Method::PATCH, &path, Some(value), call("apply", id, who)).await
    }

    /// Deletes the object if it still has this uid.
    async fn delete(&self, who: Identity<'_>, resource: &Resource, id: &ObjectId, uid: &str) -> Result<(), ClusterError> {
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        });
        let call = call("delete", id, who);
        self.send(who, Method::DELETE, &object_path(resource, id), Some(&options), call).await.map(|_| ())
    }

    async fn send(
        &self,
        who: Identity<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
        call: Call,
    ) -> Result<Value, ClusterError> {
        let mut request = Request::builder().method(&method).uri(path).header("Accept", "application/json");
        if let Identity::Account(ServiceAccount { namespace, name }) = who {
            // The API server adds a service account's own groups by itself; naming them would need a right to groups.
            request = request.header("Impersonate-User", format!("system:serviceaccount:{namespace}:{name}"));
        }
        if body.is_some() {
            let content = if method == Method::PATCH { "application/apply-patch+yaml" } else { "application/json" };
            request = request.header("Content-Type", content);
        }
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let Ok(request) = request.body(Body::from(bytes)) else { return Err(ClusterError::Unreadable(call)) };
        match tokio::time::timeout(self.deadline, self.answer(request)).await {
            Err(_) => Err(ClusterError::Timeout(call)),
            Ok(Err(Lost::Connection)) => Err(ClusterError::Unreachable(call)),
            Ok(Err(Lost::Body)) => Err(ClusterError::Unreadable(call)),
            Ok(Ok((code @ 200..=299, bytes))) => serde_json::from_slice(&bytes).map_err(|_| {
                tracing::warn!(code, bytes = bytes.len(), "an answer of the API server is not JSON: {call}");
                ClusterError::Unreadable(call)
            }),
            Ok(Ok((code, bytes))) => {
                let status = serde_json::from_slice(&bytes).unwrap_or_default();
                Err(error::refusal(call, code, status))
            }
        }
    }

    /// Status code and body. Not through `Client::request`: that one logs bodies it cannot read, Secrets included.
    async fn answer(&self, request: Request<Body>) -> Result<(u16, Vec<u8>), Lost> {
        let response = self.client.send(request).await.map_err(|_| Lost::Connection)?;
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        let bytes = body.collect().await.map_err(|_| Lost::Body)?.to_bytes();
        Ok((code, bytes.to_vec()))
    }
}

enum Lost {
    Connection,
    Body,
}

fn call(verb: &'static str, id: &ObjectId, who: Identity<'_>) -> Call {
    let account = match who {
        Identity::Own => None,
        Identity::Account(account) => Some(account.label()),
    };
    Call { verb, object: id.to_string(), account, secret: id.is("", "Secret") }
}

fn inventory_id(owner: &Owner) -> ObjectId {
    ObjectId {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        namespace: owner.namespace.clone(),
        name: inventory::name_of(&owner.name),
    }
}

fn config_maps() -> Resource {
    Resource { plural: "configmaps".to_owned(), namespaced: true }
}

fn api_path(api_version: &str) -> String {
    match api_version.split_once('/') {
        Some((group, version)) => format!("/apis/{}/{}", segment(group), segment(version)),
        None => format!("/api/{}", segment(api_version)),
    }
}

fn collection_path(resource: &Resource, id: &ObjectId) -> String {
    let api = api_path(&id.api_version());
    let plural = segment(&resource.plural);
    if resource.namespaced { format!("{api}/namespaces/{}/{plural}", segment(&id.namespace)) } else { format!("{api}/{plural}") }
}

fn object_path(resource: &Resource, id: &ObjectId) -> String {
    format!("{}/{}", collection_path(resource, id), segment(&id.name))
}

/// One part of a path. Names were checked where they came in, in manifests and inventories; a few allowed characters
/// (`@`, `+`, `=`) need an escape.
fn segment(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests;
