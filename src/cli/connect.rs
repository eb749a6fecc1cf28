//! The way to the API server: the user's kubeconfig, and a deadline on every call.
#![expect(clippy::disallowed_methods, reason = "the plugin is I/O: request ids and ages come from the clock")]

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::{Client, Config, Resource};
use serde::de::DeserializeOwned;

use super::args::Target;
use super::error::{CliError, Exit};
use super::text;

/// A command at work: where it reads and writes, and how long it waits.
pub struct Session<'a> {
    /// The cluster.
    pub client: Client,
    /// Namespace of what is named.
    pub namespace: String,
    /// Longest time for one answer.
    pub deadline: Duration,
    /// Time between two looks at an object that is waited for.
    pub poll: Duration,
    /// Where results go.
    pub out: &'a mut (dyn Write + Send),
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl<'a> Session<'a> {
    /// Connects as the kubeconfig says.
    ///
    /// # Errors
    /// `Usage` when the kubeconfig cannot be read or lacks the context.
    pub async fn connect(target: &Target, out: &'a mut (dyn Write + Send)) -> Result<Self, CliError> {
        let mut config = configuration(target).await?;
        let deadline = target.request_timeout.std();
        config.connect_timeout = Some(deadline);
        config.read_timeout = Some(deadline);
        config.write_timeout = Some(deadline);
        // A patch that the API server may have carried out is not sent again behind our back.
        config.default_retry = false;
        let namespace = target.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| CliError::from_kube("use the kubeconfig", &error))?;
        Ok(Self { client, namespace, deadline, poll: Duration::from_millis(500), out })
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Awaits a call, at most for the deadline. `doing` completes "failed to ...".
    pub(super) async fn call<T>(&self, doing: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, CliError> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(CliError::from_kube(doing, &error)),
            Err(_) => Err(CliError::no_answer(doing, self.deadline)),
        }
    }

    /// The objects of kind `K` in the session's namespace, as JSON: fields newer than this plugin stay.
    pub(super) fn api<K>(&self) -> Api<DynamicObject>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::erase::<K>(&()))
    }

    /// One object by name; when there is none, names that look like it.
    pub(super) async fn get<K>(&self, name: &str) -> Result<DynamicObject, CliError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let kind = K::kind(&()).into_owned();
        let api = self.api::<K>();
        let doing = format!("get {kind} {}/{}", text::clean(&self.namespace, 63), text::clean(name, 253));
        match self.call(&doing, api.get(name)).await {
            Err(error) if error.exit == Exit::NotFound && error.hint.is_none() => {
                Err(self.suggest(&kind, name, &api, error).await)
            }
            answer => answer,
        }
    }

    async fn suggest(&self, kind: &str, name: &str, api: &Api<DynamicObject>, error: CliError) -> CliError {
        let Ok(list) = self.call("list names", api.list_metadata(&ListParams::default().limit(500))).await else {
            return error;
        };
        let names: Vec<&str> = list.items.iter().filter_map(|item| item.metadata.name.as_deref()).collect();
        let near = text::near(name, names.iter().copied());
        let short = &self.namespace;
        if near.is_empty() {
            let count = names.len();
            error.hint(&format!(
                "namespace {short} has {count} of kind {kind}; -n chooses another namespace, -A with get shows all"
            ))
        } else {
            error.hint(&format!("did you mean {}?", near.join(", ")))
        }
    }

    /// `object` as the type that this plugin knows.
    pub(super) fn typed<K: DeserializeOwned>(object: &DynamicObject) -> Result<K, CliError> {
        let understood = serde_json::to_value(object).and_then(serde_json::from_value);
        understood.map_err(|error| {
            let name = object.metadata.name.clone().unwrap_or_default();
            CliError::new(Exit::Unexpected, &format!("failed to understand {name}: {error}"))
                .hint("the cluster may run a newer Tidegate than this plugin; -o yaml shows the object as it is")
        })
    }
}

async fn configuration(target: &Target) -> Result<Config, CliError> {
    let wrong = |error: kube::config::KubeconfigError| {
        CliError::new(Exit::Usage, &format!("failed to use the kubeconfig: {error}"))
            .hint("choose with --kubeconfig, KUBECONFIG and --context; `kubectl config get-contexts` lists what there is")
    };
    let options = KubeConfigOptions { context: target.context.clone(), ..KubeConfigOptions::default() };
    match &target.kubeconfig {
        Some(file) => {
            let kubeconfig = Kubeconfig::read_from(file).map_err(wrong)?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)
        }
        None => Config::from_kubeconfig(&options).await.map_err(wrong),
    }
}
