//! YAML text into JSON documents, within limits, every value with kubectl's meaning and every error with its line.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::HashSet;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Value};

use super::object::clean;
use super::scalar;

/// Deepest nesting of maps and lists. The deepest fields of CustomResourceDefinitions are about 40 deep.
pub(super) const MAX_DEPTH: usize = 100;
/// Values in all files of an Application together, copies made by aliases included: 5,000 objects of 400 values.
const MAX_NODES: usize = 2_000_000;
/// Bytes of text that aliases may copy, in all files of an Application together.
const MAX_COPIED_BYTES: usize = 16 << 20;

/// What is left of the limits over all files of one Application.
#[derive(Debug)]
pub(super) struct Budget {
    nodes: usize,
    copied_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: MAX_NODES, copied_bytes: MAX_COPIED_BYTES }
    }
}

/// What is wrong in a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct YamlError {
    pub line: usize,
    pub message: String,
}

/// One document of a text.
#[derive(Debug, PartialEq)]
pub(super) struct Document {
    /// Line of its first node, from 1.
    pub line: usize,
    pub value: Value,
}

/// All documents of a text and everything that is wrong with it: at most one error for each document.
pub(super) fn documents(text: &str, budget: &mut Budget) -> (Vec<Document>, Vec<YamlError>) {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let mut composer =
        Composer { parser: Parser::new_from_str_with_options(text, options), anchors: HashMap::new(), budget, line: 1 };
    let (mut documents, mut errors) = (Vec::new(), Vec::new());
    loop {
        match composer.document() {
            Ok(Some(document)) => documents.push(document),
            Ok(None) => break,
            Err(error) => {
                errors.push(error);
                // Limits hold for all documents together: nothing after that is worth naming.
                if composer.budget.nodes == 0 || !composer.parser.proceed_next_document().unwrap_or(false) {
                    break;
                }
            }
        }
    }
    (documents, errors)
}

/// An anchored value, and what a copy of it costs.
struct Anchored {
    value: Value,
    size: Size,
}

/// Values in a value, itself included; bytes of its texts; levels of nesting below it.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

struct Composer<'t, 'b> {
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Anchored>,
    budget: &'b mut Budget,
    /// Line of the last event.
    line: usize,
}

impl<'t> Composer<'t, '_> {
    fn fail<T>(&self, message: impl Into<String>) -> Result<T, YamlError> {
        Err(YamlError { line: self.line, message: message.into() })
    }

    fn next(&mut self) -> Result<Option<Event<'t>>, YamlError> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                self.line = line_of(span);
                Ok(Some(event))
            }
            Some(Err(error)) => Err(scan_error(&error)),
        }
    }

    fn document(&mut self) -> Result<Option<Document>, YamlError> {
        loop {
            match self.next()? {
                None | Some(Event::StreamEnd) => return Ok(None),
                Some(Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd) => self.anchors.clear(),
                Some(event) => {
                    let line = self.line;
                    let value = self.node(event, 0)?;
                    return Ok(Some(Document { line, value }));
                }
            }
        }
    }

    /// The next event, which must exist.
    fn more(&mut self) -> Result<Event<'t>, YamlError> {
        match self.next()? {
            Some(event) => Ok(event),
            None => self.fail("the document ends too early"),
        }
    }

    fn node(&mut self, event: Event<'t>, depth: usize) -> Result<Value, YamlError> {
        self.bound(depth)?;
        self.charge(1, 0)?;
        let (anchor, value) = match event {
            Event::Alias(id) => return self.copy(id, depth),
            Event::Scalar(text, style, anchor, tag) => (anchor, self.scalar(&text, style, tag.as_deref())?),
            Event::SequenceStart(_, anchor, _) => (anchor, self.sequence(depth)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.mapping(depth)?),
            _ => return self.fail("found no value where one is expected"),
        };
        if anchor != 0 {
            let size = measure(&value);
            self.charge(size.nodes, size.bytes)?;
            self.anchors.insert(anchor, Anchored { value: value.clone(), size });
        }
        Ok(value)
    }

    fn bound(&self, depth: usize) -> Result<(), YamlError> {
        if depth > MAX_DEPTH { self.fail(format!("nested deeper than {MAX_DEPTH} levels")) } else { Ok(()) }
    }

    fn charge(&mut self, nodes: usize, bytes: usize) -> Result<(), YamlError> {
        let left = self.budget.nodes.checked_sub(nodes).zip(self.budget.copied_bytes.checked_sub(bytes));
        match left {
            Some((nodes, bytes)) => {
                (self.budget.nodes, self.budget.copied_bytes) = (nodes, bytes);
                Ok(())
            }
            None => {
                self.budget.nodes = 0;
                self.fail(format!(
                    "the files hold more than {MAX_NODES} values, or aliases that copy more than {} MiB",
                    MAX_COPIED_BYTES >> 20
                ))
            }
        }
    }

    fn copy(&mut self, id: usize, depth: usize) -> Result<Value, YamlError> {
        let Some(Anchored { size, .. }) = self.anchors.get(&id) else {
            return self.fail("an alias stands inside the value that it refers to");
        };
        let size = *size;
        // A chain of anchors, each with an alias to the one before at its bottom, would nest without end.
        self.bound(depth + size.depth)?;
        self.charge(size.nodes, size.bytes)?;
        Ok(self.anchors.get(&id).map(|anchored| anchored.value.clone()).unwrap_or_default())
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, YamlError> {
        let Some(tag) = tag else {
            return if style == ScalarStyle::Plain { self.plain(text) } else { Ok(Value::String(text.to_owned())) };
        };
        let tag = core(tag);
        let value = match tag.as_deref() {
            Some("binary") => return self.fail("the tag !!binary is not supported; write the base64 text without it"),
            Some("int" | "float" | "bool" | "null") => self.plain(text)?,
            // As kubectl has it: a tag that it does not know makes a text.
            _ => return Ok(Value::String(text.to_owned())),
        };
        let fits = match tag.as_deref() {
            Some("int") => value.is_i64(),
            Some("float") => value.is_number(),
            Some("bool") => value.is_boolean(),
            _ => value.is_null(),
        };
        if fits { Ok(value) } else { self.fail("a value does not fit its tag") }
    }

    fn plain(&self, text: &str) -> Result<Value, YamlError> {
        match scalar::plain(text) {
            Some(value) => Ok(value),
            None => self.fail("infinity and NaN cannot be sent to Kubernetes; quote the value to make it a text"),
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.more()? {
                Event::SequenceEnd => return Ok(Value::Array(items)),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut map = Map::new();
        let mut written = HashSet::new();
        loop {
            let event = match self.more()? {
                Event::MappingEnd => return Ok(Value::Object(map)),
                event => event,
            };
            if is_merge(&event) {
                let event = self.more()?;
                let merged = self.node(event, depth + 1)?;
                self.merge(&mut map, merged)?;
                continue;
            }
            let key = self.key(event, depth)?;
            if !written.insert(key.clone()) {
                return self.fail(format!("the key '{}' stands twice in the same map", clean(&key, 100)));
            }
            let event = self.more()?;
            let value = self.node(event, depth + 1)?;
            map.insert(key, value);
        }
    }

    fn key(&mut self, event: Event<'t>, depth: usize) -> Result<String, YamlError> {
        if !matches!(event, Event::Scalar(..) | Event::Alias(_)) {
            return self.fail("a key must be a text, not a list or a map");
        }
        let value = self.node(event, depth + 1)?;
        match scalar::key(&value) {
            Some(key) => Ok(key),
            None => self.fail("a key must be a text; quote it"),
        }
    }

    /// `<<`: as in kubectl, what is merged replaces keys that stand before it and yields to keys after it; in a list
    /// of maps the first one wins.
    fn merge(&self, map: &mut Map<String, Value>, merged: Value) -> Result<(), YamlError> {
        match merged {
            Value::Object(entries) => map.extend(entries),
            Value::Array(items) => {
                for item in items.into_iter().rev() {
                    match item {
                        Value::Object(entries) => map.extend(entries),
                        _ => return self.fail("'<<' takes a map or a list of maps"),
                    }
                }
            }
            _ => return self.fail("'<<' takes a map or a list of maps"),
        }
        Ok(())
    }
}

fn is_merge(event: &Event<'_>) -> bool {
    let Event::Scalar(text, style, _, tag) = event else { return false };
    let merge = tag.as_ref().map_or(*style == ScalarStyle::Plain, |tag| core(tag).as_deref() == Some("merge"));
    text == "<<" && merge
}

/// The name of one of YAML's own tags (`int` for `!!int`).
fn core(tag: &Tag) -> Option<Cow<'_, str>> {
    tag.suffix_in_namespace("tag:yaml.org,2002:")
}

fn line_of(span: Span) -> usize {
    span.start.line().max(1)
}

/// The parser's sentence. It quotes at most single characters of the text, never a value.
fn scan_error(error: &ScanError) -> YamlError {
    YamlError { line: error.marker().line().max(1), message: format!("not valid YAML: {}", clean(&error.info(), 200)) }
}

fn measure(value: &Value) -> Size {
    let mut size = Size { nodes: 1, ..Size::default() };
    let mut add = |inner: Size| {
        size.nodes += inner.nodes;
        size.bytes += inner.bytes;
        size.depth = size.depth.max(inner.depth + 1);
    };
    match value {
        Value::Array(items) => items.iter().for_each(|item| add(measure(item))),
        Value::Object(map) => map.iter().for_each(|(key, item)| {
            let inner = measure(item);
            add(Size { bytes: inner.bytes + key.len(), ..inner });
        }),
        Value::String(text) => size.bytes = text.len(),
        _ => {}
    }
    size
}
