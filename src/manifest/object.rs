//! Objects as they come out of files, what names them, and what is wrong with a file.

use std::fmt;

use serde_json::Value;

/// At most so many errors are named; the rest is counted.
pub const NAMED_ERRORS: usize = 20;

/// A file of the Application's path.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Path from the root of the repository, or of the Application's directory; shown in errors.
    pub path: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// Without the content: it may hold Secrets.
impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).field("bytes", &self.bytes.len()).finish()
    }
}

/// Where an object stands in Git.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The file's path.
    pub file: String,
    /// Line of the object's first key, from 1.
    pub line: usize,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", clean(&self.file, 300), self.line)
    }
}

/// What names an object. Two ids that differ only in `version` name the same object, see [`ObjectId::key`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// API group; empty for core.
    pub group: String,
    /// API version, for example `v1`.
    pub version: String,
    /// Kind, for example `Deployment`.
    pub kind: String,
    /// Namespace; empty for a cluster-scoped object, and for one in Git that names none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Identity of an object in a cluster: group, kind, namespace, name.
pub type ObjectKey<'a> = (&'a str, &'a str, &'a str, &'a str);

impl ObjectId {
    /// Reads the id off an object's own fields; none when apiVersion, kind or metadata.name is missing or not a text.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        let api_version = value.get("apiVersion")?.as_str()?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let metadata = value.get("metadata")?;
        Some(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: value.get("kind")?.as_str()?.to_owned(),
            namespace: metadata.get("namespace").and_then(Value::as_str).unwrap_or_default().to_owned(),
            name: metadata.get("name")?.as_str()?.to_owned(),
        })
    }

    /// `group/version`, or `version` for core.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Identity in the cluster: the version is only a way of looking at the object.
    #[must_use]
    pub fn key(&self) -> ObjectKey<'_> {
        (&self.group, &self.kind, &self.namespace, &self.name)
    }

    /// Is this kind `kind` of group `group`, in any version?
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

/// `Deployment.apps shop/web`, as `kubectl` would name it.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = clean(&self.kind, 63);
        let name = clean(&self.name, 253);
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(f, "{kind}{dot}{} ", clean(&self.group, 253))?;
        if self.namespace.is_empty() { f.write_str(&name) } else { write!(f, "{}/{name}", clean(&self.namespace, 63)) }
    }
}

/// One object that Git wants.
#[derive(Clone, PartialEq)]
pub struct Object {
    /// Where it stands.
    pub source: Source,
    /// What names it.
    pub id: ObjectId,
    /// All of it, as JSON.
    pub value: Value,
}

/// Without the content: it may be a Secret.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("source", &self.source).field("id", &self.id).finish_non_exhaustive()
    }
}

/// What is wrong, and where. Never quotes a value: it may be a Secret's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{}:{line}: {message}", clean(.file, 300))]
pub struct ManifestError {
    /// The file's path.
    pub file: String,
    /// Line from 1.
    pub line: usize,
    /// What was found, and what is allowed.
    pub message: String,
}

/// Everything that is wrong with the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestErrors {
    /// The first [`NAMED_ERRORS`], in the order of the files.
    pub named: Vec<ManifestError>,
    /// How many more there are.
    pub more: usize,
}

impl ManifestErrors {
    pub(super) fn push(&mut self, error: ManifestError) {
        if self.named.len() < NAMED_ERRORS {
            self.named.push(error);
        } else {
            self.more += 1;
        }
    }

    /// Is nothing wrong?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.named.iter().enumerate() {
            write!(f, "{}{error}", if index > 0 { "; " } else { "" })?;
        }
        if self.more > 0 { write!(f, "; and {} more", self.more) } else { Ok(()) }
    }
}

impl std::error::Error for ManifestErrors {}

/// Untrusted text for a message: without control characters, at most `max` characters.
#[must_use]
pub fn clean(text: &str, max: usize) -> String {
    let mut out: String = text.chars().filter(|c| !c.is_control() && !is_bidi(*c)).take(max).collect();
    if text.chars().filter(|c| !c.is_control()).nth(max).is_some() {
        out.push('…');
    }
    out
}

/// Characters that reorder what a terminal shows.
const fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
