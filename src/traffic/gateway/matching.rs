//! What a rule of a route matches, made narrower.

use serde_json::{Value, json};

use crate::api::rollout::{HeaderMatch, HeaderValue, MirrorMatch, TextMatch};

/// One entry of a rule's `matches` with headers added; none where it asks for one of them already, as no request can have
/// both values.
pub(super) fn with_headers(entry: &Value, wanted: &[HeaderMatch]) -> Option<Value> {
    let mut headers = entry.get("headers").and_then(Value::as_array).cloned().unwrap_or_default();
    let names: Vec<String> = headers.iter().filter_map(|h| Some(h.get("name")?.as_str()?.to_ascii_lowercase())).collect();
    if wanted.iter().any(|header| names.contains(&header.header_name.to_ascii_lowercase())) {
        return None;
    }
    headers.extend(wanted.iter().map(header));
    let mut entry = entry.clone();
    entry["headers"] = Value::Array(headers);
    Some(entry)
}

fn header(wanted: &HeaderMatch) -> Value {
    let value = &wanted.header_value;
    let (kind, text) = match (&value.exact, &value.prefix, &value.regex) {
        (Some(exact), _, _) => ("Exact", exact.clone()),
        (_, Some(prefix), _) => ("RegularExpression", format!("^{}.*", regex::escape(prefix))),
        (_, _, regex) => ("RegularExpression", regex.clone().unwrap_or_default()),
    };
    json!({"type": kind, "name": wanted.header_name, "value": text})
}

/// One entry of an HTTPRoute's `matches` that only requests meet which are to be mirrored too; none where there are no such
/// requests, or an HTTPRoute cannot say which.
pub(super) fn mirrored(entry: &Value, wanted: &MirrorMatch) -> Option<Value> {
    let headers: Vec<HeaderMatch> = wanted
        .headers
        .iter()
        .map(|(name, value)| {
            let TextMatch { exact, prefix, regex } = value.clone();
            HeaderMatch { header_name: name.clone(), header_value: HeaderValue { exact, prefix, regex } }
        })
        .collect();
    let mut narrowed = if headers.is_empty() { entry.clone() } else { with_headers(entry, &headers)? };
    if let Some(method) = &wanted.method {
        if entry.get("method").and_then(Value::as_str).is_some_and(|other| other != method.exact) {
            return None;
        }
        narrowed["method"] = json!(method.exact);
    }
    let (kind, path) = path(entry.get("path"), wanted.path.as_ref())?;
    narrowed["path"] = json!({"type": kind, "value": path});
    Some(narrowed)
}

/// Paths that meet both, as a type and value of an HTTPRoute.
fn path(ruled: Option<&Value>, wanted: Option<&TextMatch>) -> Option<(String, String)> {
    let text = |key: &str, default: &str| ruled.and_then(|path| path.get(key)?.as_str()).unwrap_or(default).to_owned();
    let ruled = (text("type", "PathPrefix"), text("value", "/"));
    let Some(wanted) = wanted else { return Some(ruled) };
    let wanted = match (&wanted.exact, &wanted.prefix, &wanted.regex) {
        (Some(exact), _, _) => ("Exact".to_owned(), exact.clone()),
        (_, Some(prefix), _) => ("PathPrefix".to_owned(), prefix.clone()),
        (_, _, regex) => ("RegularExpression".to_owned(), regex.clone().unwrap_or_default()),
    };
    if ruled == wanted || ruled == ("PathPrefix".to_owned(), "/".to_owned()) {
        return Some(wanted);
    }
    match (ruled.0.as_str(), wanted.0.as_str()) {
        ("PathPrefix", "Exact" | "PathPrefix") if covers(&ruled.1, &wanted.1) => Some(wanted),
        ("Exact" | "PathPrefix", "PathPrefix") if covers(&wanted.1, &ruled.1) => Some(ruled),
        _ => None,
    }
}

/// Does a prefix match a path, by whole elements?
fn covers(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
