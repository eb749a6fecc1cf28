//! Files to objects: everything is read before anything is applied, and everything that is wrong is said at once.

use std::collections::HashMap;

use serde_json::Value;

use super::object::{File, ManifestError, ManifestErrors, Object, ObjectId, Source, clean};
use super::yaml::{self, Budget};

/// Largest file. Release files of large operators (all their CustomResourceDefinitions) have about 5 MiB.
pub const MAX_FILE_BYTES: usize = 8 << 20;
/// All files of an Application together.
pub const MAX_TOTAL_BYTES: usize = 32 << 20;
/// Objects of an Application: so many fit into the inventory's ConfigMap.
pub const MAX_OBJECTS: usize = 5_000;
/// Lists in lists.
const MAX_LIST_DEPTH: usize = 3;

/// Reads every `.yaml`, `.yml` and `.json` file; other files are not looked at.
///
/// Documents that are empty are skipped, lists (`kind: List`, `ConfigMapList`, ...) are taken apart. The objects come
/// in the order of the files.
///
/// # Errors
/// Everything that is wrong, with file and line, up to [`super::object::NAMED_ERRORS`]: text that is no YAML, keys that stand twice,
/// missing or invalid `apiVersion`, `kind`, `metadata.name`, the same object twice, limits.
pub fn parse(files: &[File]) -> Result<Vec<Object>, ManifestErrors> {
    let mut reader = Reader::default();
    for file in files.iter().filter(|file| is_manifest(&file.path)) {
        reader.file(file);
    }
    reader.duplicates();
    if reader.errors.is_empty() { Ok(reader.objects) } else { Err(reader.errors) }
}

fn extension(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path).rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn is_manifest(path: &str) -> bool {
    matches!(extension(path), "yaml" | "yml" | "json")
}

#[derive(Default)]
struct Reader {
    objects: Vec<Object>,
    errors: ManifestErrors,
    budget: Budget,
    bytes: usize,
}

impl Reader {
    fn fail(&mut self, source: &Source, message: impl Into<String>) {
        self.errors.push(ManifestError { file: source.file.clone(), line: source.line, message: message.into() });
    }

    fn file(&mut self, file: &File) {
        let start = Source { file: file.path.clone(), line: 1 };
        match file.path.rsplit('/').next() {
            // Applied as plain manifests, bases and overlays would be wrong without anybody noticing.
            Some("kustomization.yaml" | "kustomization.yml") => {
                return self.fail(&start, "kustomize is not supported; the path must hold plain manifests");
            }
            Some("Chart.yaml") => return self.fail(&start, "Helm is not supported; the path must hold plain manifests"),
            _ => {}
        }
        self.bytes = self.bytes.saturating_add(file.bytes.len());
        if file.bytes.len() > MAX_FILE_BYTES {
            return self.fail(&start, format!("has {} bytes; a file may have {MAX_FILE_BYTES}", file.bytes.len()));
        }
        if self.bytes > MAX_TOTAL_BYTES {
            return self.fail(&start, format!("with this file there are more than {MAX_TOTAL_BYTES} bytes of manifests"));
        }
        match std::str::from_utf8(&file.bytes) {
            Ok(text) => self.text(&file.path, text),
            Err(error) => {
                let before = &file.bytes[..error.valid_up_to()];
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                self.fail(&Source { line, ..start }, "is not UTF-8 text");
            }
        }
    }

    fn text(&mut self, path: &str, text: &str) {
        let (documents, errors) = yaml::documents(text, &mut self.budget);
        for error in errors {
            self.fail(&Source { file: path.to_owned(), line: error.line }, error.message);
        }
        for document in documents {
            let source = Source { file: path.to_owned(), line: document.line };
            if !document.value.is_null() {
                self.document(&source, document.value, 0);
            }
        }
    }

    fn document(&mut self, source: &Source, value: Value, depth: usize) {
        if let Some(item_type) = list_of(&value) {
            if depth >= MAX_LIST_DEPTH {
                return self.fail(source, format!("lists nest deeper than {MAX_LIST_DEPTH} levels"));
            }
            for item in into_items(value, &item_type) {
                self.document(source, item, depth + 1);
            }
            return;
        }
        if self.objects.len() >= MAX_OBJECTS {
            if self.objects.len() == MAX_OBJECTS {
                self.fail(source, format!("an Application may have {MAX_OBJECTS} objects; this one is more"));
            }
            return;
        }
        match identify(&value) {
            Ok(id) => self.objects.push(Object { source: source.clone(), id, value }),
            Err(problems) => problems.into_iter().for_each(|problem| self.fail(source, problem)),
        }
    }

    /// The same object twice: which of the two is meant cannot be known.
    fn duplicates(&mut self) {
        let objects = std::mem::take(&mut self.objects);
        let mut seen: HashMap<_, &Source> = HashMap::new();
        for object in &objects {
            match seen.get(&object.id.key()) {
                Some(first) => self.fail(&object.source, format!("{} stands in Git twice, first in {first}", object.id)),
                None => {
                    seen.insert(object.id.key(), &object.source);
                }
            }
        }
        drop(seen);
        self.objects = objects;
    }
}

/// For a list: apiVersion and kind of items that do not say their own; none for anything else.
fn list_of(value: &Value) -> Option<(String, String)> {
    let kind = value.get("kind")?.as_str()?.strip_suffix("List")?;
    value.get("items")?.as_array()?;
    let api_version = if kind.is_empty() { "" } else { value.get("apiVersion").and_then(Value::as_str).unwrap_or_default() };
    Some((api_version.to_owned(), kind.to_owned()))
}

fn into_items(mut value: Value, (api_version, kind): &(String, String)) -> Vec<Value> {
    let Some(Value::Array(mut items)) = value.get_mut("items").map(Value::take) else { return Vec::new() };
    for item in &mut items {
        let Some(fields) = item.as_object_mut().filter(|_| !kind.is_empty()) else { continue };
        fields.entry("apiVersion").or_insert_with(|| api_version.clone().into());
        fields.entry("kind").or_insert_with(|| kind.clone().into());
    }
    items
}

/// The object's id, or everything that keeps it from having one. Its parts go into request paths, so they are held
/// to what Kubernetes allows before any request is made.
fn identify(value: &Value) -> Result<ObjectId, Vec<String>> {
    let mut problems = Vec::new();
    if !value.is_object() {
        return Err(vec!["a manifest must be a map with apiVersion, kind and metadata".to_owned()]);
    }
    let api_version = field(value, "/apiVersion", &mut problems, |text| {
        text.split_once('/').map_or(is_label(text), |(group, version)| is_subdomain(group) && is_label(version))
    });
    let kind = field(value, "/kind", &mut problems, is_kind);
    if value.pointer("/metadata/generateName").is_some() {
        problems.push(
            "metadata.generateName is not possible: each sync would create another object; give a metadata.name".to_owned(),
        );
    } else {
        field(value, "/metadata/name", &mut problems, is_name);
    }
    if value.pointer("/metadata/namespace").is_some_and(|namespace| !namespace.is_null()) {
        field(value, "/metadata/namespace", &mut problems, is_label);
    }
    texts(value, "/metadata/labels", &mut problems);
    texts(value, "/metadata/annotations", &mut problems);
    if api_version.is_some_and(|v| v.split('/').next() == Some(crate::api::GROUP)) && kind == Some(super::rollout::KIND) {
        rollout_problems(value, &mut problems);
    }
    match ObjectId::of(value) {
        Some(id) if problems.is_empty() => Ok(id),
        _ => Err(problems),
    }
}

fn field<'v>(value: &'v Value, pointer: &str, problems: &mut Vec<String>, valid: impl Fn(&str) -> bool) -> Option<&'v str> {
    let name = pointer.trim_start_matches('/').replace('/', ".");
    match value.pointer(pointer) {
        None | Some(Value::Null) => problems.push(format!("{name} is missing")),
        Some(Value::String(text)) if valid(text) => return Some(text),
        Some(Value::String(text)) => problems.push(format!("{name} '{}' is not valid", clean(text, 80))),
        Some(other) => problems.push(format!("{name} must be a text, not {}; quote it", type_name(other))),
    }
    None
}

/// Labels and annotations: texts only. `version: 1.10` would be 1.1 on the API server if it took numbers.
fn texts(value: &Value, pointer: &str, problems: &mut Vec<String>) {
    let name = pointer.trim_start_matches('/').replace('/', ".");
    match value.pointer(pointer) {
        None | Some(Value::Null) => {}
        Some(Value::Object(map)) => {
            for (key, entry) in map.iter().filter(|(_, entry)| !entry.is_string()) {
                problems.push(format!("{name}['{}'] must be a text, not {}; quote it", clean(key, 80), type_name(entry)));
            }
        }
        Some(other) => problems.push(format!("{name} must be a map of texts, not {}", type_name(other))),
    }
}

/// What never comes from Git: a person's command would be carried out at each sync, and status is what was seen.
fn rollout_problems(value: &Value, problems: &mut Vec<String>) {
    if value.pointer("/spec/request").is_some() {
        problems.push("spec.request of a Rollout is a person's command and never comes from Git; remove it".to_owned());
    }
    if value.get("status").is_some() {
        problems.push("status of a Rollout is what the controller saw and never comes from Git; remove it".to_owned());
    }
    for annotation in [crate::api::names::COMMIT, crate::api::names::RETRY] {
        if value.pointer("/metadata/annotations").is_some_and(|all| all.get(annotation).is_some()) {
            problems.push(format!("the annotation {annotation} is written by the sync and never comes from Git; remove it"));
        }
    }
}

const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn is_kind(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
    begins && text.len() <= 63 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Are all parts of an id what Kubernetes allows, so that they can stand in a request's path?
#[must_use]
pub fn is_valid(id: &ObjectId) -> bool {
    (id.group.is_empty() || is_subdomain(&id.group))
        && is_label(&id.version)
        && is_kind(&id.kind)
        && (id.namespace.is_empty() || is_label(&id.namespace))
        && is_name(&id.name)
}

/// RFC 1123 label, at most 63 characters.
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = text.as_bytes().first().copied().is_some_and(inner) && text.as_bytes().last().copied().is_some_and(inner);
    ends && text.len() <= 63 && text.bytes().all(|b| inner(b) || b == b'-')
}

/// RFC 1123 subdomain, at most 253 characters.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Most names are subdomains; RBAC allows what a path segment can hold (`system:node`).
fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:@+=~".contains(&b);
    !text.is_empty() && text.len() <= 253 && text != "." && text != ".." && text.bytes().all(allowed)
}
