//! Identity of content: a digest over canonical JSON, so that no upgrade of ours or of a library changes it.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// How many hex digits of the digest make a pod-template-hash. 40 bits: two of a Rollout's revisions get the
/// same hash by chance about once in 10^9 Rollouts with 50 revisions.
const HASH_LENGTH: usize = 10;

/// Identity of a pod template: `sha256:<64 hex digits>` over canonical JSON.
///
/// Canonical: keys sorted, `null`s and empty objects dropped (a manifest may say `resources: {}` or leave it out),
/// numbers as JSON writes them, arrays as they are. Never includes anything outside the template, so that steps,
/// replicas and metadata of a Rollout start no canary.
#[must_use]
pub fn template_digest(template: &Value) -> String {
    let mut text = String::new();
    write_canonical(template, &mut text);
    let sum = Sha256::digest(text.as_bytes());
    let mut digest = String::from("sha256:");
    for byte in sum {
        digest.push(hex_digit(byte >> 4));
        digest.push(hex_digit(byte & 0x0f));
    }
    digest
}

/// The short form of a digest that names ReplicaSets and labels pods.
#[must_use]
pub fn template_hash(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().take(HASH_LENGTH).collect()
}

const fn hex_digit(nibble: u8) -> char {
    (if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }) as char
}

/// Dropped by the canonical form: `null`, and objects that are empty or become so.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_nothing),
        _ => false,
    }
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.iter().filter(|(_, v)| !is_nothing(v)).map(|(k, _)| k).collect();
            keys.sort_unstable();
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(&map[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Golden: these digests stand in clusters. A change here starts a canary of everything at the next upgrade.
    #[test]
    fn golden() {
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1", "env": []}]}});
        assert_eq!(template_digest(&template), "sha256:6c4dfc92813fa47507fde6a2ddc92af4d532957c518e3d4287cad0e9cdcf8fa1");
        assert_eq!(template_hash("sha256:0123456789abcdef"), "0123456789");
    }

    /// What a person would call the same template has the same digest; what they would not, has another.
    #[test]
    fn same_and_different() {
        let base = template_digest(&json!({"spec": {"a": 1, "b": [1, {"c": null}]}, "metadata": {}}));
        assert_eq!(base, template_digest(&json!({"metadata": {"labels": {}}, "spec": {"b": [1, {}], "a": 1, "z": null}})));
        for other in [
            json!({"spec": {"a": 2, "b": [1, {}]}}),
            json!({"spec": {"a": 1, "b": [{}, 1]}}),
            json!({"spec": {"a": "1", "b": [1, {}]}}),
        ] {
            assert_ne!(base, template_digest(&other), "{other}");
        }
    }
}
