//! The values of a Rollout's arguments, where it says where to take them from.

use std::collections::BTreeMap;

use crate::analysis::Arms;
use crate::api::analysis::{Argument, ArgumentSource, GivenArgument, WhichRevision};
use crate::rollout::spec::ValidatedRollout;

/// Fields of the metadata that an argument may be taken from, for errors.
const KNOWN: &str = "metadata.name, metadata.namespace, metadata.uid, metadata.labels['KEY'], metadata.annotations['KEY']";

/// The arguments with their values.
///
/// # Errors
/// Names the argument, what it asks for, and what there is.
pub fn valued(rollout: &ValidatedRollout, arms: &Arms, given: &[GivenArgument]) -> Result<Vec<Argument>, String> {
    let one = |argument: &GivenArgument| {
        let name = argument.name.clone();
        let value = match &argument.value_from {
            None => argument.value.clone(),
            Some(_) if argument.value.is_some() => {
                return Err(format!("argument '{name}' has value and valueFrom; one is allowed"));
            }
            Some(source) => Some(taken(rollout, arms, source).map_err(|why| format!("argument '{name}': {why}"))?),
        };
        Ok(Argument { name, value })
    };
    given.iter().map(one).collect()
}

fn taken(rollout: &ValidatedRollout, arms: &Arms, source: &ArgumentSource) -> Result<String, String> {
    match (source.pod_template_hash_value, &source.field_ref) {
        (Some(WhichRevision::Latest), None) => Ok(arms.canary.hash.clone()),
        (Some(WhichRevision::Stable), None) => Ok(arms.stable.hash.clone()),
        (None, Some(field)) => of_metadata(rollout, &field.field_path),
        _ => Err("valueFrom has exactly one of podTemplateHashValue, fieldRef".to_owned()),
    }
}

fn of_metadata(rollout: &ValidatedRollout, path: &str) -> Result<String, String> {
    let keyed = |map: &BTreeMap<String, String>, of: &str| {
        let key = path.strip_prefix(of)?.strip_prefix("['")?.strip_suffix("']")?;
        Some(map.get(key).cloned().ok_or_else(|| format!("the Rollout has no {path}")))
    };
    match path {
        "metadata.name" => return Ok(rollout.name.clone()),
        "metadata.namespace" => return Ok(rollout.namespace.clone()),
        "metadata.uid" => return Ok(rollout.uid.clone()),
        _ => {}
    }
    let found = keyed(&rollout.labels, "metadata.labels").or_else(|| keyed(&rollout.annotations, "metadata.annotations"));
    found.unwrap_or_else(|| Err(format!("fieldPath '{}' is unknown; known are: {KNOWN}", path.escape_debug())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Arm;
    use crate::api::rollout::Rollout;
    use crate::rollout::spec::validate;
    use serde_json::{Value, json};

    fn value(argument: Value) -> Result<Option<String>, String> {
        let rollout: Rollout = serde_json::from_value(json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "labels": {"env": "live"},
                "annotations": {"acme.example/team": "cart"}},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web"}]}},
                "strategy": {"canary": {}}},
        }))
        .unwrap();
        let rollout = validate(&rollout).unwrap();
        let arm = |hash: &str| Arm { hash: hash.to_owned(), ..Arm::default() };
        let arms = Arms { canary: arm("new"), stable: arm("old") };
        let given: GivenArgument = serde_json::from_value(argument).unwrap();
        valued(&rollout, &arms, &[given]).map(|mut all| all.remove(0).value)
    }

    /// Protects: values from elsewhere, as templates written for Argo Rollouts ask for them; what is not there is told by name.
    #[test]
    fn values_from_elsewhere() {
        let field = |path: &str| json!({"name": "a", "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let hash = |which: &str| json!({"name": "a", "valueFrom": {"podTemplateHashValue": which}});
        for (argument, wanted) in [
            (json!({"name": "a", "value": "v"}), Ok(Some("v"))),
            (json!({"name": "a"}), Ok(None)),
            (hash("Latest"), Ok(Some("new"))),
            (hash("Stable"), Ok(Some("old"))),
            (field("metadata.name"), Ok(Some("web"))),
            (field("metadata.namespace"), Ok(Some("shop"))),
            (field("metadata.uid"), Ok(Some("u"))),
            (field("metadata.labels['env']"), Ok(Some("live"))),
            (field("metadata.annotations['acme.example/team']"), Ok(Some("cart"))),
            (field("metadata.labels['zone']"), Err("argument 'a': the Rollout has no metadata.labels['zone']".to_owned())),
            (field("spec.replicas"), Err(format!("argument 'a': fieldPath 'spec.replicas' is unknown; known are: {KNOWN}"))),
            (
                json!({"name": "a", "valueFrom": {}}),
                Err("argument 'a': valueFrom has exactly one of podTemplateHashValue, fieldRef".to_owned()),
            ),
            (
                json!({"name": "a", "value": "v", "valueFrom": {"podTemplateHashValue": "Latest"}}),
                Err("argument 'a' has value and valueFrom; one is allowed".to_owned()),
            ),
        ] {
            assert_eq!(value(argument.clone()), wanted.map(|value| value.map(str::to_owned)), "{argument}");
        }
    }
}
