//! A small API server in memory: objects by path, server-side apply, dry runs, preconditions, discovery, and faults
//! that act at a chosen request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Map, Value, json};

/// What happens to the first request that a fault matches.
pub(super) enum Action {
    /// The state changes just before the request is handled.
    Before(Box<dyn FnOnce(&mut State) + Send>),
    /// This is the answer; nothing is carried out.
    Answer(u16, String),
    /// No answer ever comes.
    Hang,
}

struct Fault {
    /// As in the log.
    request: String,
    action: Action,
}

#[derive(Default)]
pub(super) struct State {
    pub objects: BTreeMap<String, Value>,
    /// Our last apply of each path: what a new apply no longer names is removed.
    applied: BTreeMap<String, Value>,
    kinds: BTreeMap<String, Vec<Value>>,
    version: u64,
    faults: Vec<Fault>,
    /// `<who> <verb> <path>`, in order; dry runs have the verb `try`.
    pub log: Vec<String>,
    /// Paths of requests that are answered 403.
    pub denied: BTreeSet<String>,
}

#[derive(Clone, Default)]
pub(super) struct Server(Arc<Mutex<State>>);

type Answer = (u16, Value);

impl Server {
    pub(super) fn new() -> Self {
        let server = Self::default();
        {
            let mut state = server.state();
            for (api, kind, plural, namespaced) in [
                ("v1", "Namespace", "namespaces", false),
                ("v1", "ConfigMap", "configmaps", true),
                ("v1", "Secret", "secrets", true),
                ("v1", "Service", "services", true),
                ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
                ("apps/v1", "Deployment", "deployments", true),
                ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", false),
                ("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", true),
                ("tidegate.dev/v1alpha1", "Rollout", "rollouts", true),
            ] {
                state.serve(api, kind, plural, namespaced);
            }
            state.put("/api/v1/namespaces/shop", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
        }
        server
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                let (line, path) = describe(&parts, &body);
                let action = server.state().begin(&line);
                let (code, text) = match action {
                    Some(Action::Hang) => std::future::pending().await,
                    Some(Action::Answer(code, text)) => (code, text),
                    Some(Action::Before(change)) => {
                        let mut state = server.state();
                        change(&mut state);
                        text(state.handle(&line, &path, &body))
                    }
                    None => text(server.state().handle(&line, &path, &body)),
                };
                let response = Response::builder().status(code).body(Body::from(text.into_bytes()));
                Ok::<_, std::convert::Infallible>(response.unwrap())
            }
        });
        Client::new(service, "default")
    }

    /// Arms a fault for the next request that reads so in the log.
    pub(super) fn fault(&self, request: &str, action: Action) {
        self.state().faults.push(Fault { request: request.to_owned(), action });
    }

    /// The requests since the last call that changed, or could have changed, something.
    pub(super) fn writes(&self) -> Vec<String> {
        self.log().into_iter().filter(|line| !line.contains(" get ") && !line.contains(" try ")).collect()
    }

    /// All requests since the last call.
    pub(super) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }
}

fn text((code, value): Answer) -> (u16, String) {
    (code, value.to_string())
}

/// The request as it stands in the log, and its path. Every header and parameter is checked here.
fn describe(parts: &http::request::Parts, body: &Value) -> (String, String) {
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default();
    let groups: Vec<_> = parts.headers.get_all("Impersonate-Group").iter().map(|g| g.to_str().unwrap()).collect();
    let who = match parts.headers.get("Impersonate-User").map(|user| user.to_str().unwrap()) {
        None => "self".to_owned(),
        Some(user) => {
            let account = user.strip_prefix("system:serviceaccount:").unwrap();
            // No groups: the API server adds a service account's own, and a right to groups is one that we do not have.
            assert!(groups.is_empty(), "{groups:?}");
            account.replace(':', "/")
        }
    };
    let content = parts.headers.get("Content-Type").map(|c| c.to_str().unwrap());
    let verb = match (parts.method.as_str(), query) {
        ("GET", "") => "get",
        ("PATCH", "fieldManager=tidegate-sync&force=true&fieldValidation=Strict") => "apply",
        ("PATCH", "fieldManager=tidegate-sync&force=true&fieldValidation=Strict&dryRun=All") => "try",
        ("DELETE", "") => "delete",
        other => panic!("unexpected request {other:?}"),
    };
    match verb {
        "apply" | "try" => assert_eq!(content, Some("application/apply-patch+yaml")),
        "delete" => {
            assert_eq!(content, Some("application/json"));
            assert_eq!(body["propagationPolicy"], "Background");
        }
        _ => assert_eq!(content, None),
    }
    (format!("{who} {verb} {path}"), path)
}

fn failure(code: u16, reason: &str, message: &str) -> Answer {
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}))
}

impl State {
    fn serve(&mut self, api: &str, kind: &str, plural: &str, namespaced: bool) {
        let path = if api.contains('/') { format!("/apis/{api}") } else { format!("/api/{api}") };
        let kinds = self.kinds.entry(path).or_default();
        kinds.push(json!({"name": plural, "kind": kind, "namespaced": namespaced}));
        kinds.push(json!({"name": format!("{plural}/status"), "kind": kind, "namespaced": namespaced}));
    }

    /// Stores an object as if somebody else had written it.
    pub(super) fn put(&mut self, path: &str, mut value: Value) {
        self.version += 1;
        let metadata = value["metadata"].as_object_mut().unwrap();
        metadata.entry("uid").or_insert_with(|| format!("uid-{}", self.version).into());
        metadata.insert("resourceVersion".to_owned(), self.version.to_string().into());
        self.objects.insert(path.to_owned(), value);
    }

    /// Changes an object as somebody else.
    pub(super) fn edit(&mut self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut value = self.objects[path].clone();
        change(&mut value);
        self.put(path, value);
    }

    fn begin(&mut self, line: &str) -> Option<Action> {
        self.log.push(line.to_owned());
        let index = self.faults.iter().position(|fault| fault.request == line)?;
        Some(self.faults.remove(index).action)
    }

    fn handle(&mut self, line: &str, path: &str, body: &Value) -> Answer {
        let mut words = line.split(' ');
        let (who, verb) = (words.next().unwrap(), words.next().unwrap());
        if who != "self" && self.denied.contains(path) {
            let message = format!("User \"system:serviceaccount:{}\" cannot {verb} it", who.replace('/', ":"));
            return failure(403, "Forbidden", &message);
        }
        match verb {
            "get" => self.get(path),
            "delete" => self.delete(path, body),
            verb => self.apply(path, body, verb == "try"),
        }
    }

    fn get(&self, path: &str) -> Answer {
        if let Some(kinds) = self.kinds.get(path) {
            return (200, json!({"kind": "APIResourceList", "resources": kinds}));
        }
        if path.ends_with("/rollouts") {
            let items: Vec<&Value> =
                self.objects.iter().filter(|(p, _)| p.starts_with(&format!("{path}/"))).map(|(_, o)| o).collect();
            return (200, json!({"kind": "RolloutList", "items": items}));
        }
        self.objects.get(path).map_or_else(|| failure(404, "NotFound", "not found"), |object| (200, object.clone()))
    }

    fn delete(&mut self, path: &str, options: &Value) -> Answer {
        let Some(live) = self.objects.get(path) else { return failure(404, "NotFound", "not found") };
        if live["metadata"]["uid"] != options["preconditions"]["uid"] {
            return failure(409, "Conflict", "the UID in the precondition does not match");
        }
        self.objects.remove(path);
        self.applied.remove(path);
        (200, json!({"kind": "Status", "status": "Success"}))
    }

    fn apply(&mut self, path: &str, body: &Value, dry_run: bool) -> Answer {
        let parts: Vec<&str> = path.split('/').collect();
        if let Some(index) = parts.iter().position(|part| *part == "namespaces").filter(|index| parts.len() > index + 2)
            && !self.objects.contains_key(&format!("/api/v1/namespaces/{}", parts[index + 1]))
        {
            return failure(404, "NotFound", "the namespace is not found");
        }
        let live = self.objects.get(path).cloned();
        for key in ["uid", "resourceVersion"] {
            let (wanted, found) = (body["metadata"].get(key), live.as_ref().and_then(|live| live["metadata"].get(key)));
            if wanted.is_some() && wanted != found {
                return failure(409, "Conflict", "the object has been modified");
            }
        }
        let mut config = body.clone();
        let metadata = config["metadata"].as_object_mut().unwrap();
        metadata.remove("uid");
        metadata.remove("resourceVersion");
        let mut next = live.clone().unwrap_or_else(|| json!({"metadata": {}}));
        if let Some(before) = self.applied.get(path) {
            remove(&mut next, before);
        }
        merge(&mut next, &config);
        next["metadata"]["managedFields"] =
            json!([{"manager": "tidegate-sync", "operation": "Apply", "fieldsV1": shape(&config)}]);
        if live.as_ref() == Some(&next) || dry_run {
            return (200, next);
        }
        self.applied.insert(path.to_owned(), config);
        if next["kind"] == "CustomResourceDefinition" {
            next["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
            let text = |pointer: &str| next.pointer(pointer).unwrap().as_str().unwrap().to_owned();
            let api = format!("{}/{}", text("/spec/group"), text("/spec/versions/0/name"));
            self.serve(&api, &text("/spec/names/kind"), &text("/spec/names/plural"), text("/spec/scope") == "Namespaced");
        }
        self.put(path, next);
        (if live.is_none() { 201 } else { 200 }, self.objects[path].clone())
    }
}

fn remove(value: &mut Value, before: &Value) {
    if let (Value::Object(value), Value::Object(before)) = (value, before) {
        for (key, old) in before {
            match value.get_mut(key) {
                Some(inner) if old.is_object() => remove(inner, old),
                Some(_) => drop(value.remove(key)),
                None => {}
            }
        }
    }
}

fn merge(value: &mut Value, config: &Value) {
    match (value, config) {
        (Value::Object(value), Value::Object(config)) => {
            config.iter().for_each(|(key, config)| merge(value.entry(key).or_insert_with(|| Value::Object(Map::new())), config));
        }
        (value, config) => *value = config.clone(),
    }
}

fn shape(value: &Value) -> Value {
    value.as_object().map_or_else(|| json!({}), |map| map.iter().map(|(k, v)| (k.clone(), shape(v))).collect())
}
