//! The API server's audit log: who wrote what, counted from outside.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

const CONTROLLER: &str = "system:serviceaccount:tidegate-system:tidegate";

/// Writes of the controller in a namespace that the API server accepted, by `<verb> <resource>[/<subresource>]`; Events and
/// leases apart.
pub fn writes(log: &str, namespace: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let text = fs::read_to_string(log).unwrap();
    for line in text.lines().filter(|line| line.contains(namespace)) {
        // The last line may be half written.
        let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
        let verb = entry["verb"].as_str().unwrap_or("");
        let object = &entry["objectRef"];
        let resource = object["resource"].as_str().unwrap_or("");
        let writes = matches!(verb, "create" | "update" | "patch" | "delete") && !matches!(resource, "events" | "leases");
        let accepted = entry["responseStatus"]["code"].as_i64().is_some_and(|code| code < 300);
        let here = object["namespace"].as_str() == Some(namespace) && entry["user"]["username"].as_str() == Some(CONTROLLER);
        let dry_run = entry["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun"));
        if writes && accepted && here && !dry_run && entry["stage"].as_str() == Some("ResponseComplete") {
            let sub = object["subresource"].as_str().map(|sub| format!("/{sub}")).unwrap_or_default();
            *found.entry(format!("{verb} {resource}{sub}")).or_insert(0) += 1;
        }
    }
    found
}
