//! One watch, renewed for ever: what it says is reduced to what changed.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ListParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::seen::{Seen, Versions};
use crate::controller::error::within;

/// A watch is renewed this often; a dead connection is noticed that soon.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(50);
/// Objects in one page of a list: what is in memory at the same time while thousands are listed.
const PAGE: u32 = 200;

/// How a kind is watched.
pub fn config() -> watcher::Config {
    watcher::Config::default().timeout(u32::try_from(WATCH_TIMEOUT.as_secs()).unwrap_or(50)).page_size(PAGE)
}

/// What a watch says.
#[derive(Debug)]
pub enum Change<K> {
    /// It is in the first list.
    Appeared(K),
    /// It is new, or another version than was known.
    Changed(K),
    /// It was deleted.
    Gone(K),
    /// A list is complete.
    Listed {
        /// Something is not in it that was known before.
        vanished: bool,
    },
    /// The watch failed, and is tried again after a while.
    Failed,
}

/// Follows a kind until the end of time; its list comes again this often. `heard` is told of each change, with what is known
/// after it.
pub async fn follow<K>(
    seen: &Seen,
    plural: &'static str,
    api: Api<K>,
    config: watcher::Config,
    list_again: Duration,
    mut heard: impl FnMut(Change<K>, &Versions),
) where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut versions = Versions::default();
    let mut complete = false;
    loop {
        let mut events = pin!(watcher(api.clone(), config.clone()).default_backoff().take_until(tokio::time::sleep(list_again)));
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => {
                    newest(seen, plural, &api).await;
                    versions.begin_list();
                }
                Ok(Event::InitApply(object)) if !complete => {
                    if note(seen, plural, &mut versions, &object) {
                        heard(Change::Appeared(object), &versions);
                    }
                }
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    if note(seen, plural, &mut versions, &object) {
                        heard(Change::Changed(object), &versions);
                    }
                }
                Ok(Event::Delete(object)) => {
                    note(seen, plural, &mut versions, &object);
                    versions.forget(&object.namespace().unwrap_or_default(), &object.name_any());
                    heard(Change::Gone(object), &versions);
                }
                Ok(Event::InitDone) => {
                    complete = true;
                    let vanished = versions.end_list();
                    if vanished {
                        newest(seen, plural, &api).await;
                    }
                    heard(Change::Listed { vanished }, &versions);
                }
                // It is renewed by itself, with backoff.
                Err(error) => {
                    tracing::warn!(%error, kind = plural, "watch interrupted; it is renewed");
                    heard(Change::Failed, &versions);
                }
            }
        }
    }
}

/// Notes an object's version; true when it was not known.
fn note(seen: &Seen, plural: &'static str, versions: &mut Versions, object: &impl ResourceExt) -> bool {
    // Kubernetes' are numbers that grow. Where they are not, each object counts as changed, and reads are live.
    let Some(version) = object.resource_version().and_then(|version| version.parse().ok()) else { return true };
    seen.reached(plural, version);
    versions.note(&object.namespace().unwrap_or_default(), &object.name_any(), version)
}

/// How new the kind is now. Objects alone do not tell: what was deleted is in no list.
async fn newest<K>(seen: &Seen, plural: &'static str, api: &Api<K>)
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let list = within("list one object", api.list(&ListParams::default().limit(1))).await;
    // Without it the kind is read live, or as it was seen before; the watch itself says what is wrong.
    if let Some(version) = list.ok().and_then(|list| list.metadata.resource_version?.parse().ok()) {
        seen.reached(plural, version);
    }
}
