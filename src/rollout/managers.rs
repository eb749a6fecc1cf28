//! Who else writes to what a rollout steers: read off an object's managed fields. Pure.

use serde_json::Value;

use crate::api::names::{MANAGER_CLI, MANAGER_ROLLOUT, MANAGER_SYNC};

/// Longest name of a manager that is shown, in characters; the API server allows 128.
const SHOWN: usize = 63;

/// Somebody else who wrote a field last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Name of the field manager: what the other tool calls itself.
    pub manager: String,
    /// Which state of the object it left: the same state is counted once.
    pub version: String,
}

/// The field manager other than ours that owns `spec.<field>` of a live object, the latest of several; none when all of
/// its owners are ours. `spec.rules` of a route and `spec.selector` of a Service have one owner each: whoever changed
/// them last.
#[must_use]
pub fn contender(object: &Value, field: &str) -> Option<Contender> {
    let key = format!("f:{field}");
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let owns = |entry: &&Value| {
        let fields = entry.pointer("/fieldsV1/f:spec").and_then(|spec| spec.get(&key));
        fields.is_some() && entry.get("subresource").is_none()
    };
    let foreign = |entry: &&Value| ![MANAGER_ROLLOUT, MANAGER_SYNC, MANAGER_CLI].contains(&text(entry, "manager").as_str());
    let latest = entries.iter().filter(owns).filter(foreign).max_by_key(|entry| text(entry, "time"))?;
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64).map(|number| number.to_string());
    let version = generation.unwrap_or_else(|| text(&object["metadata"], "resourceVersion"));
    let manager: String = text(latest, "manager").chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    Some(Contender { manager, version })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(manager: &str, time: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    /// Protects: the tool that resets a weight is named, and neither ourselves nor one that wrote another field.
    #[test]
    fn the_last_writer_of_the_field() {
        let rules = json!({"f:spec": {"f:rules": {}}});
        let labels = json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:parentRefs": {}}});
        let of = |entries: Vec<Value>| {
            let route = json!({"metadata": {"generation": 7, "resourceVersion": "99", "managedFields": entries}});
            contender(&route, "rules").map(|contender| (contender.manager, contender.version))
        };
        let argo = entry("argocd-controller", "2026-01-01T00:00:02Z", &rules);
        let ours = entry("tidegate-rollout", "2026-01-01T00:00:03Z", &rules);
        assert_eq!(of(vec![ours.clone(), entry("helm", "2026-01-01T00:00:01Z", &labels)]), None);
        assert_eq!(of(vec![ours, argo.clone()]), Some(("argocd-controller".to_owned(), "7".to_owned())));
        let edit = entry("kubectl-edit", "2026-01-01T00:00:09Z", &rules);
        assert_eq!(of(vec![argo, edit]), Some(("kubectl-edit".to_owned(), "7".to_owned())));
        let mut status = entry("gateway", "2026-01-01T00:00:09Z", &rules);
        status["subresource"] = json!("status");
        assert_eq!(of(vec![status]), None);
        let selector = entry("x\u{1b}[0m", "", &json!({"f:spec": {"f:selector": {}}}));
        let service = json!({"metadata": {"resourceVersion": "99", "managedFields": [selector]}});
        let found = contender(&service, "selector");
        assert_eq!(found, Some(Contender { manager: "x[0m".to_owned(), version: "99".to_owned() }));
        assert_eq!(contender(&json!({}), "rules"), None);
    }
}
