//! A Git server, an API server, and the Application loop between them, one pass at a time.
//!
//! The loop has the controller's own service account, and a tap on its connection that records every call, holds one
//! back, or ends the process after one.
#![expect(clippy::disallowed_methods, reason = "runs git, which needs PATH, and stamps status with the time")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::client::ClientBuilder;
use kube::config::AuthInfo;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::api::application::{Application, ApplicationStatus, WriteBackPhase, WriteBackState};
use tidegate::api::names::SYSTEM_NAMESPACE;
use tidegate::api::rollout::Rollout;
use tidegate::controller::error::{CALL_DEADLINE, Error};
use tidegate::controller::flags::{ControllerArgs, LogFormat, WriteBackFlag};
use tidegate::controller::{Context, application};
use tidegate::manifest::rollout::digest_of;

use crate::git::{Fault, Server};
use crate::support;
use crate::tap::Tap;

/// The secret that no text may ever show.
pub const PLANTED: &str = "planted-token-4711";
/// Base64 of `ada:planted-token-4711`, as it stands in the header.
pub const PLANTED_BASIC: &str = "YWRhOnBsYW50ZWQtdG9rZW4tNDcxMQ==";
/// First lines of requests to the Git server.
pub const LS: &str = "info/refs?service=git-upload-pack";
pub const LS_PUSH: &str = "info/refs?service=git-receive-pack";
pub const PUSH: &str = "POST /team/shop.git/git-receive-pack";

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.com")])
        .envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.com")])
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A bare repository with a branch `main`, and a colleague's clone of it.
pub struct Forge {
    folder: TempDir,
}

impl Forge {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", "team/shop.git"]);
        git(folder.path(), &["init", "-q", "-b", "main", "clone"]);
        git(&folder.path().join("clone"), &["remote", "add", "origin", "../team/shop.git"]);
        Self { folder }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn bare(&self) -> PathBuf {
        self.folder.path().join("team/shop.git")
    }

    fn clone(&self) -> PathBuf {
        self.folder.path().join("clone")
    }

    /// Writes files on top of the branch's tip, or removes those without text, and pushes the commit. Answers its id.
    pub fn commit(&self, message: &str, files: &[(&str, Option<&str>)]) -> String {
        commit(&self.clone(), message, files)
    }

    /// A commit by somebody else, to be made later and elsewhere.
    pub fn somebody(&self, file: &str) -> Box<dyn Fn() + Send> {
        let (clone, file) = (self.clone(), file.to_owned());
        Box::new(move || {
            commit(&clone, &format!("Add {file}"), &[(&file, Some("theirs\n"))]);
        })
    }

    pub fn tip(&self) -> String {
        git(&self.bare(), &["rev-parse", "refs/heads/main"])
    }

    /// Subjects on `main`, newest first.
    pub fn subjects(&self) -> Vec<String> {
        git(&self.bare(), &["log", "--format=%s", "refs/heads/main"]).lines().map(str::to_owned).collect()
    }

    /// Commits on `main` by Tidegate.
    pub fn ours(&self) -> Vec<String> {
        git(&self.bare(), &["log", "--author=Tidegate", "--format=%H", "refs/heads/main"]).lines().map(str::to_owned).collect()
    }

    pub fn message(&self, commit: &str) -> String {
        git(&self.bare(), &["log", "-1", "--format=%B", commit])
    }

    /// Files that differ between two commits.
    pub fn changed(&self, one: &str, other: &str) -> Vec<String> {
        git(&self.bare(), &["diff", "--no-renames", "--name-only", one, other]).lines().map(str::to_owned).collect()
    }

    /// Every branch and tag.
    pub fn refs(&self) -> Vec<String> {
        git(&self.bare(), &["for-each-ref", "--format=%(refname)"]).lines().map(str::to_owned).collect()
    }

    /// Everything that all commits say.
    pub fn all_texts(&self) -> String {
        git(&self.bare(), &["log", "-p", "--all", "--format=fuller"])
    }
}

fn commit(clone: &Path, message: &str, files: &[(&str, Option<&str>)]) -> String {
    if !git(clone, &["ls-remote", "--heads", "origin"]).is_empty() {
        git(clone, &["fetch", "-q", "origin"]);
        git(clone, &["reset", "-q", "--hard", "origin/main"]);
    }
    for (file, text) in files {
        let path = clone.join(file);
        match text {
            Some(text) => {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            None => std::fs::remove_file(path).unwrap(),
        }
    }
    git(clone, &["add", "-A"]);
    git(clone, &["commit", "-q", "--allow-empty", "-m", message]);
    git(clone, &["push", "-q", "origin", "main"]);
    git(clone, &["rev-parse", "HEAD"])
}

/// A Rollout's manifest. Lines between its image and its replicas keep edits of the two apart.
pub fn rollout(name: &str, image: &str, replicas: u32) -> String {
    let middle: String = (0..10).map(|line| format!("  # line {line}\n")).collect();
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  \
         template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      containers:\n      - name: app\n        image: {image}\n{middle}  \
         replicas: {replicas}\n  strategy:\n    canary:\n      stableService: {name}-stable\n      canaryService: {name}-canary\n      \
         trafficRouting: {{gatewayAPI: {{httpRoutes: [{{name: {name}}}]}}}}\n"
    )
}

pub fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{key: \"{value}\"}}\n")
}

/// Everything that the tests of this run logged.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What was logged so far, by all tests, as much as Tidegate and the API client can say.
pub fn logs() -> String {
    static LOGS: std::sync::OnceLock<Logs> = std::sync::OnceLock::new();
    let logs = LOGS.get_or_init(|| {
        let logs = Logs::default();
        let writer = logs.clone();
        let filter = tracing_subscriber::EnvFilter::new("tidegate=trace,kube=trace,kube_client=trace,info");
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(move || writer.clone()).init();
        logs
    });
    String::from_utf8_lossy(&logs.0.lock().unwrap()).into_owned()
}

/// A namespace with an Application `shop` of `apps/shop`, a forge, and the loop.
pub struct World {
    pub admin: Client,
    pub namespace: String,
    pub forge: Forge,
    pub server: Server,
    pub tap: Tap,
    pub ctx: Arc<Context>,
    data: TempDir,
}

impl World {
    /// Runs `test` in a new world, unless there is no API server.
    pub async fn run(test: impl AsyncFnOnce(&mut Self)) {
        let Some(admin) = support::cluster().await else { return };
        support::in_namespace(&admin, async |namespace| test(&mut Self::new(&admin, namespace).await).await).await;
    }

    async fn new(admin: &Client, namespace: &str) -> Self {
        logs();
        let forge = Forge::new();
        let server = Server::http(forge.folder.path());
        server.require(&format!("Basic {PLANTED_BASIC}"));
        let tap = Tap::default();
        let data = tempfile::tempdir().unwrap();
        let ctx = context(admin, namespace, &tap, data.path(), WriteBackFlag::On).await;
        let world = Self { admin: admin.clone(), namespace: namespace.to_owned(), forge, server, tap, ctx, data };
        world.account("deployer").await;
        for name in ["deploy-read", "deploy-write"] {
            world.secret(name, &[("username", "ada"), ("password", PLANTED)]).await;
        }
        world.create(&world.application("shop")).await;
        world
    }

    /// A service account that may deploy what the tests deploy.
    async fn account(&self, name: &str) {
        let everything = json!(["get", "list", "create", "patch", "delete"]);
        let rules = json!([
            {"apiGroups": [""], "resources": ["configmaps", "services", "persistentvolumeclaims"], "verbs": everything},
            {"apiGroups": ["tidegate.dev"], "resources": ["rollouts"], "verbs": everything},
            {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["httproutes"], "verbs": everything},
        ]);
        let user = format!("system:serviceaccount:{}:{name}", self.namespace);
        let rbac = "rbac.authorization.k8s.io";
        for object in [
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}),
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": name}, "rules": rules}),
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}]}),
        ] {
            self.create(&object).await;
        }
        let config_maps: Api<k8s_openapi::api::core::v1::ConfigMap> =
            Api::namespaced(support::as_user(&user).await, &self.namespace);
        support::eventually("the account's role is followed", async || config_maps.list(&ListParams::default()).await.is_ok())
            .await;
    }

    /// The manifest of an Application of this forge and `apps/shop`, which may push. Looks at the branch when told only.
    pub fn application(&self, name: &str) -> Value {
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Application", "metadata": {"name": name},
            "spec": {
                "source": {
                    "repoURL": self.server.url(), "revision": {"branch": "main"}, "path": "apps/shop", "interval": "1h",
                    "secretRef": {"name": "deploy-read"},
                },
                "destination": {"namespace": self.namespace, "serviceAccountName": "deployer"},
                "syncPolicy": {"automated": {"prune": true}},
                "writeBack": {"mode": "Push", "secretRef": {"name": "deploy-write"}},
            },
        })
    }

    pub async fn create(&self, object: &Value) {
        support::create(&self.admin, Some(&self.namespace), object, false).await.unwrap();
    }

    /// Creates or replaces a Secret.
    pub async fn secret(&self, name: &str, keys: &[(&str, &str)]) {
        let keys: BTreeMap<&str, &str> = keys.iter().copied().collect();
        let api: Api<Secret> = Api::namespaced(self.admin.clone(), &self.namespace);
        let _ = api.delete(name, &kube::api::DeleteParams::default()).await;
        self.create(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": keys})).await;
    }

    pub fn applications(&self) -> Api<Application> {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    pub fn rollouts(&self) -> Api<Rollout> {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    /// Changes the spec of the Application.
    pub async fn edit(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.applications().patch("shop", &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn status(&self) -> ApplicationStatus {
        self.applications().get("shop").await.unwrap().status.unwrap_or_default()
    }

    /// Merges into the Application's status.
    pub async fn set_status(&self, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.applications().patch_status("shop", &PatchParams::default(), &patch).await.unwrap();
    }

    /// One pass over the Application, as if its branch were due.
    pub async fn pass(&self) -> Result<(), Error> {
        self.pass_of("shop").await
    }

    pub async fn pass_of(&self, name: &str) -> Result<(), Error> {
        self.ctx.polls.forget(&self.namespace, name);
        application::reconcile(&self.ctx, &self.namespace, name).await.map(|_| ())
    }

    /// A pass that has to succeed, and the status after it.
    pub async fn look(&self) -> ApplicationStatus {
        self.pass().await.unwrap();
        self.status().await
    }

    /// The process ends, and another one starts with nothing on its disk.
    pub async fn restart(&mut self, flag: WriteBackFlag) {
        self.data = tempfile::tempdir().unwrap();
        self.ctx = context(&self.admin, &self.namespace, &self.tap, self.data.path(), flag).await;
    }

    /// The process ends, and another one starts on the same disk.
    pub async fn restart_on_the_same_disk(&mut self) {
        self.ctx = context(&self.admin, &self.namespace, &self.tap, self.data.path(), WriteBackFlag::On).await;
    }

    /// A pass whose process ends after the `nth` call to the API server was carried out, before its answer came. Tells
    /// whether it came so far; the next pass is another process with nothing on its disk.
    pub async fn pass_that_ends_after(&mut self, nth: usize) -> bool {
        self.ctx.polls.forget(&self.namespace, "shop");
        let reached = self.tap.end_after(nth);
        let (ctx, namespace) = (Arc::clone(&self.ctx), self.namespace.clone());
        let mut pass = tokio::spawn(async move { application::reconcile(&ctx, &namespace, "shop").await });
        let ended = tokio::select! {
            () = reached.notified() => true,
            done = &mut pass => {
                done.unwrap().unwrap();
                false
            }
        };
        pass.abort();
        self.tap = Tap::default();
        self.restart(WriteBackFlag::On).await;
        ended
    }

    /// A pass whose `nth` call to the API server is carried out, and not answered. It has to end. Tells whether there was one.
    pub async fn pass_that_hangs_at(&self, nth: usize) -> bool {
        let reached = self.tap.end_after(nth);
        let pass = tokio::time::timeout(CALL_DEADLINE * 2, self.pass()).await;
        let done = pass.unwrap_or_else(|_| panic!("the pass hangs with call {nth}"));
        let hung = reached.notified().now_or_never().is_some();
        self.tap.end_after(usize::MAX);
        assert!(hung || done.is_ok(), "{done:?}");
        hung
    }

    /// `apps/shop` with these files is committed; answers the commit.
    pub fn push(&self, message: &str, files: &[(&str, &str)]) -> String {
        let paths: Vec<String> = files.iter().map(|(file, _)| format!("apps/shop/{file}")).collect();
        let files: Vec<(&str, Option<&str>)> =
            paths.iter().zip(files).map(|(path, (_, text))| (path.as_str(), Some(*text))).collect();
        self.forge.commit(message, &files)
    }

    /// The Rollout's content, as it now is in the cluster, is stable since `commit`.
    pub async fn stable(&self, name: &str, commit: &str) {
        let digest = self.digest(name).await;
        let stable = json!({"hash": "stable", "revision": 1, "digest": digest, "commit": commit});
        self.set_rollout(name, json!({"phase": "Healthy", "stable": stable, "attempt": 1})).await;
    }

    /// The Rollout's content, as it now is in the cluster, failed. Answers the failure's id.
    pub async fn fail(&self, name: &str, attempt: u32) -> String {
        self.fail_because(name, attempt, "AnalysisFailed").await
    }

    pub async fn fail_because(&self, name: &str, attempt: u32, cause: &str) -> String {
        let live = self.rollouts().get(name).await.unwrap();
        let id = format!("{}/2/{attempt}", live.uid().unwrap());
        let at = now();
        let digest = self.digest(name).await;
        let failure = json!({
            "id": id, "cause": cause, "revision": 2, "templateDigest": digest, "commit": live.annotations()["tidegate.dev/commit"],
            "metric": "availability", "evidence": "31 errors in 412 requests on the canary", "step": 1, "steps": 6, "weight": 10,
            "startedAt": at, "at": at, "analysisRun": format!("{name}-2-{attempt}-slo"),
        });
        let hold = json!({"digest": digest, "reason": cause, "since": at, "failure": id, "message": "failed"});
        let status = json!({"phase": "Degraded", "abort": true, "attempt": attempt, "failure": failure, "holds": [hold]});
        self.set_rollout(name, status).await;
        id
    }

    pub async fn set_rollout(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.rollouts().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Digest of the Rollout's content in the cluster.
    pub async fn digest(&self, name: &str) -> String {
        digest_of(&serde_json::to_value(self.rollouts().get(name).await.unwrap()).unwrap())
    }

    /// Image v1 of the Rollout `web` is stable, image v2 was synced. Answers the two commits.
    pub async fn before_failure(&self) -> (String, String) {
        let good =
            self.push("shop: image v1", &[("web.yaml", &rollout("web", "v1", 3)), ("config.yaml", &config_map("web", "a"))]);
        self.look().await;
        self.stable("web", &good).await;
        let bad = self.push("shop: image v2", &[("web.yaml", &rollout("web", "v2", 3))]);
        self.look().await;
        (good, bad)
    }

    /// Image v2 failed. Answers the two commits and the failure's id.
    pub async fn failed(&self) -> (String, String, String) {
        let (good, bad) = self.before_failure().await;
        let id = self.fail("web", 1).await;
        self.tap.take();
        (good, bad, id)
    }

    /// Nothing of ours is on the branch, which is at `tip`.
    pub fn nothing_ours(&self, tip: &str) {
        assert_eq!((self.forge.tip().as_str(), self.forge.ours()), (tip, vec![]));
    }

    /// Nothing of ours is on the branch, which is at `tip`, and nothing was sent.
    pub fn nothing_pushed(&self, tip: &str) {
        assert_eq!(
            (self.forge.tip().as_str(), self.forge.ours(), self.forge.refs()),
            (tip, vec![], vec!["refs/heads/main".to_owned()])
        );
        let pushes: Vec<String> = self.server.log().into_iter().filter(|line| line.contains("git-receive-pack")).collect();
        assert_eq!(pushes, Vec::<String>::new());
    }

    /// The branch has exactly one commit of ours, at its tip and on `parent`, and the status says so.
    pub async fn one_commit(&self, id: &str, failed: &str) -> WriteBackState {
        let entry = only(&self.status().await);
        let ours = self.forge.ours();
        assert_eq!(ours.len(), 1, "{:?}", self.forge.subjects());
        assert!(entry.candidates.contains(&ours[0]), "{entry:?}");
        let told =
            (entry.id.as_str(), entry.phase, entry.reason.as_str(), entry.failed_commit.as_deref(), entry.commit.as_deref());
        assert_eq!(told, (id, WriteBackPhase::Done, "Pushed", Some(failed), Some(ours[0].as_str())));
        assert_eq!(self.forge.refs(), ["refs/heads/main"]);
        entry
    }

    /// The Git server answers nothing any more.
    pub fn git_is_down(&self) {
        self.server.always("/", Fault::CutBefore);
    }
}

/// The one write-back of a status.
pub fn only(status: &ApplicationStatus) -> WriteBackState {
    assert_eq!(status.write_backs.len(), 1, "{:?}", status.write_backs);
    status.write_backs[0].clone()
}

/// Phase, reason and message of the one write-back.
pub fn told(status: &ApplicationStatus) -> (WriteBackPhase, String, String) {
    let entry = only(status);
    (entry.phase, entry.reason, entry.message)
}

/// Status, reason and message of a condition.
pub fn condition(status: &ApplicationStatus, kind: &str) -> (String, String, String) {
    let found = status.conditions.iter().find(|c| c.type_ == kind);
    let found = found.unwrap_or_else(|| panic!("no condition {kind}: {:?}", status.conditions));
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

pub fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap()
}

/// A new process of the controller, with the rights of its own service account.
async fn context(admin: &Client, namespace: &str, tap: &Tap, data: &Path, write_back: WriteBackFlag) -> Arc<Context> {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), SYSTEM_NAMESPACE);
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": []}})).unwrap();
    let answer = accounts.create_token_request("tidegate", &PostParams::default(), &request).await.unwrap();
    let mut config = support::config().await.unwrap();
    config.auth_info = AuthInfo { token: Some(answer.status.unwrap().token.into()), ..AuthInfo::default() };
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    let client = ClientBuilder::try_from(config).unwrap().with_layer(tap).build();
    let args = ControllerArgs {
        write_back,
        metrics_address: "127.0.0.1:0".parse().unwrap(),
        log_format: LogFormat::Json,
        log_level: "trace".to_owned(),
        data_dir: data.to_owned(),
        leader_elect: false,
        namespace: Some(namespace.to_owned()),
        insecure_git_http: true,
    };
    let mut ctx = Context::new(client, args).unwrap();
    // As every other call: the tests of deadlines wait for it.
    ctx.cluster = ctx.cluster.with_deadline(CALL_DEADLINE);
    Arc::new(ctx)
}
