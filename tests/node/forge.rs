//! A repository of its own on the testbed's Git server, a person who pushes to it, and a line to it that can be cut.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use reqwest::{Certificate, Client, Method, Url};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::shop::given;

/// The server's port as clusters see it, through which everything goes until it is cut.
struct Line {
    port: u16,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Line {
    fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let line = Self { port: listener.local_addr().unwrap().port(), cut: Arc::default(), open: Arc::default() };
        let (cut, open) = (Arc::clone(&line.cut), Arc::clone(&line.open));
        // Ends with the process.
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // Closed at once while the line is cut.
                let Some(far) = (!cut.load(Ordering::SeqCst)).then(|| TcpStream::connect((Ipv4Addr::LOCALHOST, server))) else {
                    continue;
                };
                let Ok(far) = far else { continue };
                let copies = [(near.try_clone(), far.try_clone()), (far.try_clone(), near.try_clone())];
                open.lock().unwrap().extend([near, far]);
                for (from, to) in copies {
                    let (mut from, mut to) = (from.unwrap(), to.unwrap());
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        line
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

/// The repository.
pub struct Forge {
    name: String,
    user: String,
    password: String,
    authority: String,
    client: Client,
    line: Line,
    clone: TempDir,
}

impl Forge {
    /// Makes the repository, empty and private.
    pub async fn create(name: &str) -> Self {
        let authority = std::fs::read_to_string(given("TIDEGATE_FORGE_CA")).unwrap();
        let trusted = Certificate::from_pem_bundle(authority.as_bytes()).unwrap();
        let server = Url::parse(&given("TIDEGATE_FORGE_CLUSTER_URL")).unwrap();
        let forge = Self {
            name: name.to_owned(),
            user: given("TIDEGATE_FORGE_USER"),
            password: given("TIDEGATE_FORGE_PASSWORD"),
            authority,
            client: Client::builder().no_proxy().tls_certs_only(trusted).build().unwrap(),
            line: Line::to(server.port().unwrap()),
            clone: TempDir::new().unwrap(),
        };
        forge.ask(Method::POST, "user/repos", Some(json!({"name": name, "default_branch": "main", "private": true}))).await;
        forge.git(&["init", "-q", "-b", "main"]);
        forge.git(&["remote", "add", "origin", &format!("{}/{}/{name}.git", given("TIDEGATE_FORGE_URL"), forge.user)]);
        forge
    }

    /// Deletes the repository.
    pub async fn remove(&self) {
        self.ask(Method::DELETE, &format!("repos/{}/{}", self.user, self.name), None).await;
    }

    /// Where the cluster finds the repository: by the line that can be cut.
    pub fn address(&self) -> String {
        let mut url = Url::parse(&given("TIDEGATE_FORGE_CLUSTER_URL")).unwrap();
        url.set_port(Some(self.line.port)).unwrap();
        format!("{}/{}/{}.git", url.as_str().trim_end_matches('/'), self.user, self.name)
    }

    /// The credential, as a Secret has it.
    pub fn credential(&self) -> Value {
        json!({"username": self.user, "password": self.password, "ca.crt": self.authority})
    }

    /// From now on the server cannot be reached from the cluster.
    pub fn cut(&self) {
        self.line.cut();
    }

    /// Undoes [`Forge::cut`].
    pub fn mend(&self) {
        self.line.mend();
    }

    /// A person takes what the branch has, writes a file and pushes; gives the commit.
    pub fn push(&self, path: &str, content: &str, message: &str) -> String {
        if self.tip().is_some() {
            self.git(&["fetch", "-q", "origin", "main"]);
            self.git(&["reset", "-q", "--hard", "FETCH_HEAD"]);
        }
        let file = self.clone.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
        self.git(&["push", "-q", "origin", "HEAD:main"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// The branch's commit.
    pub fn tip(&self) -> Option<String> {
        let list = self.git(&["ls-remote", "origin", "refs/heads/main"]);
        list.split_whitespace().next().map(str::to_owned)
    }

    /// The commits after this one, newest first, each as `<id> <author>`.
    pub fn since(&self, commit: &str) -> Vec<String> {
        self.git(&["fetch", "-q", "origin", "main"]);
        self.git(&["log", "--format=%H %an", &format!("{commit}..FETCH_HEAD")]).lines().map(str::to_owned).collect()
    }

    /// A file as the branch has it.
    pub fn content(&self, path: &str) -> String {
        self.git(&["fetch", "-q", "origin", "main"]);
        self.git(&["show", &format!("FETCH_HEAD:{path}")])
    }

    /// Runs git in the person's clone, untouched by what this machine's git is set to.
    fn git(&self, args: &[&str]) -> String {
        let helper =
            "!f() { test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' \"$FORGE_USER\" \"$FORGE_PASSWORD\"; }; f";
        let output = Command::new("git")
            .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "http.proxy="])
            // In the environment, because a command line can be read by every user of the machine.
            .env("FORGE_USER", &self.user)
            .env("FORGE_PASSWORD", &self.password)
            .args(["-c", &format!("credential.helper={helper}"), "-C"])
            .arg(self.clone.path())
            .args(args)
            .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_TERMINAL_PROMPT", "0")])
            .env("GIT_SSL_CAINFO", given("TIDEGATE_FORGE_CA"))
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) {
        let url = format!("{}/api/v1/{path}", given("TIDEGATE_FORGE_URL"));
        let mut request = self.client.request(method, url).basic_auth(&self.user, Some(&self.password));
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap().error_for_status().unwrap();
    }
}
