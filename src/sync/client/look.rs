//! Looks at what was applied, and writes nothing.

use futures::StreamExt;
use serde_json::Value;

use super::discovery::{Lookup, Resource};
use super::{Cluster, ClusterError, Failure, Identity, ServiceAccount, SyncError};
use crate::sync::health::health;
use crate::sync::inventory::{Entry, Inventory};
use crate::sync::state::Seen;

/// How many objects are read at a time.
const PARALLEL: usize = 8;

impl Cluster {
    /// The health of everything in the inventory, as the service account sees it.
    ///
    /// # Errors
    /// [`SyncError::Refused`] when an object cannot be read; one that does not exist is Missing, which is no error.
    pub async fn look(&self, account: &ServiceAccount, inventory: &Inventory) -> Result<Vec<Seen>, SyncError> {
        let refused = |error| SyncError::Refused(vec![Failure { source: None, error }]);
        let mut lookup = Lookup::new(self);
        let mut targets = Vec::new();
        for entry in &inventory.entries {
            targets.push((entry, lookup.resource(&entry.id).await.map_err(refused)?));
        }
        let reads: Vec<_> = targets.iter().map(|(entry, resource)| self.look_at(account, entry, resource.as_ref())).collect();
        let all: Vec<_> = futures::stream::iter(reads).buffered(PARALLEL).collect().await;
        all.into_iter().collect::<Result<Vec<_>, _>>().map_err(refused)
    }

    async fn look_at(&self, account: &ServiceAccount, entry: &Entry, resource: Option<&Resource>) -> Result<Seen, ClusterError> {
        let live = match resource {
            Some(resource) => self.get(Identity::Account(account), resource, &entry.id).await?,
            // The kind itself is gone, and every object of it with it.
            None => None,
        };
        let uid = live.as_ref().and_then(|live| live.pointer("/metadata/uid")).and_then(Value::as_str);
        let synced = live.is_some() && uid == entry.uid.as_deref();
        Ok(Seen { id: entry.id.clone(), health: health(&entry.id, live.as_ref()), synced })
    }
}
