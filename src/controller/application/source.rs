//! From an Application's `spec.source` to a branch that is fetched and files that are read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::Api;

use super::polls::{self, Failed, Purpose};
use super::write_back;
use crate::api::application::{Application, SecretRef};
use crate::api::condition::application as reasons;
use crate::controller::Context;
use crate::controller::error::{Error, find};
use crate::git::client::{Access, GitObjects, Mirror, RemoteUrl};
use crate::git::revision::{BranchName, CommitId, FileKind, Objects, RepoPath, TreeId};
use crate::manifest::parse::MAX_FILE_BYTES;
use crate::manifest::{File, Object, parse};

/// Default of `spec.source.interval`.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// Shortest interval between looks at a branch.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// A problem with the source: the reason of the condition, and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Reason, from [`reasons`].
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

impl Problem {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Time between looks at the branch.
#[must_use]
pub fn interval(app: &Application) -> Duration {
    app.spec.source.interval.map_or(DEFAULT_INTERVAL, |interval| interval.std().max(SHORTEST_INTERVAL))
}

/// A branch of a remote, with what opens it.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds credentials, which have none")]
pub struct Branch {
    /// The mirror.
    pub mirror: Mirror,
    /// Credentials.
    pub access: Arc<Access>,
    /// The branch.
    pub name: BranchName,
    /// The Application's directory.
    pub path: RepoPath,
    /// Which version of which Secret `access` is from; none for anonymous access.
    pub secret: Option<String>,
    /// The term of leadership in which it was opened.
    pub(super) term: u64,
}

/// Opens the Application's branch with the given Secret; without one, anonymously.
pub async fn open(ctx: &Context, app: &Application, secret: Option<&SecretRef>) -> Result<Result<Branch, Problem>, Error> {
    let source = &app.spec.source;
    let url = match RemoteUrl::parse(&source.repo_url, ctx.args.insecure_git_http) {
        Ok(url) => url,
        Err(why) => return Ok(Err(Problem::new(reasons::INVALID_SPEC, format!("spec.source.repoURL: {why}")))),
    };
    let (name, path) = match (source.revision.branch.parse::<BranchName>(), source.path.parse::<RepoPath>()) {
        (Ok(name), Ok(path)) => (name, path),
        (Err(why), _) => return Ok(Err(Problem::new(reasons::INVALID_SPEC, format!("spec.source.revision.branch: {why}")))),
        (_, Err(why)) => return Ok(Err(Problem::new(reasons::INVALID_SPEC, format!("spec.source.path: {why}")))),
    };
    let namespace = app.metadata.namespace.as_deref().unwrap_or_default();
    let (access, secret) = match secret {
        None => (Access::anonymous(), None),
        Some(secret) => match read_access(ctx, namespace, &secret.name).await? {
            Ok((access, version)) => (access, Some(version)),
            Err(problem) => return Ok(Err(problem)),
        },
    };
    Ok(Ok(Branch { mirror: ctx.git.mirror(&url), access: Arc::new(access), name, path, secret, term: ctx.leadership.term() }))
}

/// What a Secret opens, and which version of which Secret it was.
async fn read_access(ctx: &Context, namespace: &str, name: &str) -> Result<Result<(Access, String), Problem>, Error> {
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    let Some(secret) = find(&format!("get Secret {name}"), api.get(name)).await? else {
        return Ok(Err(Problem::new(reasons::SECRET_MISSING, format!("Secret {namespace}/{name} does not exist"))));
    };
    let version = format!("{}/{}", secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default());
    let data = secret.data.unwrap_or_default();
    let access = Access::from_secret(|key| data.get(key).map(|bytes| bytes.0.as_slice()));
    let access = access.map(|access| (access, version));
    Ok(access.map_err(|why| Problem::new(reasons::SECRET_MISSING, format!("Secret {namespace}/{name}: {why}"))))
}

/// The branch's tip as the last look found it, while that counts; else as it is now. A look that failed counts, too.
pub async fn tip(ctx: &Context, app: &Application, branch: &Branch) -> Result<Result<CommitId, Failed>, Error> {
    match ctx.polls.known(app, branch, Purpose::Sync, now()) {
        Some(known) => Ok(known),
        None => fetch(ctx, app, branch, Purpose::Sync).await,
    }
}

/// The branch's tip as it is now, unless a look for the same purpose failed a moment ago.
pub async fn tip_now(
    ctx: &Context,
    app: &Application,
    branch: &Branch,
    purpose: Purpose,
) -> Result<Result<CommitId, Failed>, Error> {
    match ctx.polls.known(app, branch, purpose, now()) {
        Some(Err(failed)) => Ok(Err(failed)),
        _ => fetch(ctx, app, branch, purpose).await,
    }
}

async fn fetch(ctx: &Context, app: &Application, branch: &Branch, purpose: Purpose) -> Result<Result<CommitId, Failed>, Error> {
    let began = now();
    let (mirror, access, name) = (branch.mirror.clone(), Arc::clone(&branch.access), branch.name.clone());
    let fetched = blocking("fetch", move || mirror.fetch(&access, &name)).await?;
    ctx.metrics.git("fetch", if fetched.is_ok() { "done" } else { "failed" });
    let outcome = fetched.map_err(Failed::from).map(|fetched| {
        if fetched.forced {
            tracing::warn!(tip = %fetched.tip, "somebody pushed with force; the new tip is taken");
        }
        fetched.tip
    });
    let pause = match purpose {
        Purpose::Sync => polls::pause(app),
        Purpose::WriteBack => write_back::TRY_AGAIN,
    };
    ctx.polls.note(app, branch, purpose, outcome.clone(), pause, (began, now()));
    Ok(outcome)
}

/// The monotonic clock.
pub(super) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a look's age, on the monotonic clock")]
    Instant::now()
}

/// Runs work on the object database, or on a Git server, beside the runtime.
pub async fn blocking<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let span = tracing::Span::current();
    let joined = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    joined.map_err(|error| Error::Other { what: what.to_owned(), why: error.to_string() })
}

/// The manifests of a directory, parsed. The error says in words what does not render, with file and line.
pub fn render(objects: &GitObjects, directory: &TreeId) -> Result<Vec<Object>, String> {
    let mut files = Vec::new();
    for file in objects.files(directory).map_err(|error| error.to_string())? {
        match file.kind {
            FileKind::Symlink => {
                return Err(format!("{}: symbolic links are not allowed: they could lead out of the path", file.path));
            }
            FileKind::Submodule => {
                return Err(format!("{}: submodules are not allowed: their content is not in this repository", file.path));
            }
            FileKind::File | FileKind::Executable => {}
        }
        let lower = file.path.to_ascii_lowercase();
        if [".yaml", ".yml", ".json"].iter().any(|end| lower.ends_with(end)) {
            let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
            let bytes = objects.blob(&file.blob, limit).map_err(|error| format!("{}: {error}", file.path))?;
            files.push(File { path: file.path, bytes });
        }
    }
    parse(&files).map_err(|errors| errors.to_string())
}
