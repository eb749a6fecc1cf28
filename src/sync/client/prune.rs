//! Deleting what left Git, and only that.

use serde_json::Value;

use super::discovery::Lookup;
use super::{Cluster, ClusterError, Failure, Identity, SyncInput};
use crate::manifest::ObjectId;
use crate::sync::inventory::{Entry, Kept, keep};

/// What pruning came to.
#[derive(Debug, Default)]
pub(super) struct Pruning {
    /// Deleted, in order.
    pub pruned: Vec<ObjectId>,
    /// Left Git and stays.
    pub kept: Vec<(ObjectId, Kept)>,
    /// Entries that stay in the inventory.
    pub entries: Vec<Entry>,
}

/// Looks at every object that left Git, in the given order, and deletes those that are certainly ours and may go.
pub(super) async fn prune(
    cluster: &Cluster,
    lookup: &mut Lookup<'_>,
    input: &SyncInput,
    left: Vec<Entry>,
) -> Result<Pruning, Failure> {
    let who = Identity::Account(&input.account);
    let mut pruning = Pruning::default();
    for entry in left {
        let failed = |error| Failure { source: None, error };
        // A kind that is gone took its objects along.
        let Some(resource) = lookup.resource(&entry.id).await.map_err(failed)? else { continue };
        let Some(live) = cluster.get(who, &resource, &entry.id).await.map_err(failed)? else { continue };
        match keep(&entry, &live, &input.owner, input.prune) {
            Some(Kept::NotOurs) => pruning.kept.push((entry.id, Kept::NotOurs)),
            Some(why) => {
                pruning.kept.push((entry.id.clone(), why));
                pruning.entries.push(Entry { kept: why == Kept::PruneNeedsConfirmation, ..entry });
            }
            None => {
                let uid = live.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
                match cluster.delete(who, &resource, &entry.id, uid).await {
                    Ok(()) | Err(ClusterError::NotFound { .. }) => pruning.pruned.push(entry.id),
                    // Somebody deleted it and created another one in this moment.
                    Err(ClusterError::Conflict(_)) => pruning.kept.push((entry.id, Kept::NotOurs)),
                    Err(error) => return Err(failed(error)),
                }
            }
        }
    }
    Ok(pruning)
}
