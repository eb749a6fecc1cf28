//! What pods wear by their role, and when they are restarted.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{SpecError, refuse};
use crate::api::rollout::{PodMetadata, RolloutSpec};
use crate::rollout::dress::AntiAffinity;

/// Metadata of both roles, and how their pods share nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wardrobe {
    /// Stable's labels and annotations.
    pub stable: PodMetadata,
    /// The canary's.
    pub canary: PodMetadata,
    /// Whether a canary's pods avoid stable's nodes.
    pub anti_affinity: Option<AntiAffinity>,
}

impl Wardrobe {
    /// Has a role metadata of its own?
    #[must_use]
    pub fn has_metadata(&self) -> bool {
        self.stable != PodMetadata::default() || self.canary != PodMetadata::default()
    }
}

/// Reads it. A key that the template or the selector has already would be taken from it, so it is refused.
pub(super) fn read(spec: &RolloutSpec) -> Result<Wardrobe, SpecError> {
    let canary = &spec.strategy.canary;
    let mut wardrobe = Wardrobe { anti_affinity: anti_affinity(spec)?, ..Wardrobe::default() };
    for (field, metadata, into) in [
        ("stableMetadata", &canary.stable_metadata, &mut wardrobe.stable),
        ("canaryMetadata", &canary.canary_metadata, &mut wardrobe.canary),
    ] {
        let Some(metadata) = metadata else { continue };
        let field = format!("spec.strategy.canary.{field}");
        check(&format!("{field}.labels"), &metadata.labels, spec, "/metadata/labels")?;
        check(&format!("{field}.annotations"), &metadata.annotations, spec, "/metadata/annotations")?;
        for (key, value) in &metadata.labels {
            if !is_label_value(value) {
                let found = format!("'{}'", value.chars().filter(|c| !c.is_control()).take(63).collect::<String>());
                return refuse(
                    &format!("{field}.labels['{key}']"),
                    found,
                    "must be at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
                );
            }
        }
        *into = metadata.clone();
    }
    Ok(wardrobe)
}

fn check(field: &str, map: &BTreeMap<String, String>, spec: &RolloutSpec, place: &str) -> Result<(), SpecError> {
    let template = spec.template.pointer(place).and_then(Value::as_object);
    for key in map.keys() {
        let shown: String = key.chars().filter(|c| !c.is_control()).take(80).collect();
        if !is_key(key) {
            return refuse(
                field,
                format!("'{shown}'"),
                "must have keys as Kubernetes has them: an optional DNS name and '/', and at most 63 letters, digits, '-', '_' and '.'",
            );
        }
        if key.starts_with("tidegate.dev/") {
            return refuse(field, format!("'{shown}'"), "must not have keys under tidegate.dev/, which are Tidegate's own");
        }
        if spec.selector.match_labels.contains_key(key) || template.is_some_and(|template| template.contains_key(key)) {
            return refuse(field, format!("'{shown}', which the pod template has too"), "must have keys of their own");
        }
    }
    Ok(())
}

fn is_label_value(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let ends = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    text.len() <= 63 && text.bytes().all(inner) && ends(text.bytes().next()) && ends(text.bytes().last())
}

/// A qualified name, as keys of labels and annotations are.
fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(super::names::is_object_name)
}

fn anti_affinity(spec: &RolloutSpec) -> Result<Option<AntiAffinity>, SpecError> {
    let field = "spec.strategy.canary.antiAffinity";
    let Some(wanted) = &spec.strategy.canary.anti_affinity else { return Ok(None) };
    let required = &wanted.required_during_scheduling_ignored_during_execution;
    match (required, &wanted.preferred_during_scheduling_ignored_during_execution) {
        (Some(_), None) => Ok(Some(AntiAffinity::Required)),
        (None, Some(preferred)) if (1..=100).contains(&preferred.weight) => Ok(Some(AntiAffinity::Preferred(preferred.weight))),
        (None, Some(preferred)) => {
            let field = format!("{field}.preferredDuringSchedulingIgnoredDuringExecution.weight");
            refuse(&field, preferred.weight.to_string(), "must be between 1 and 100")
        }
        _ => refuse(
            field,
            "none or both",
            "must have exactly one of requiredDuringSchedulingIgnoredDuringExecution, preferredDuringSchedulingIgnoredDuringExecution",
        ),
    }
}
