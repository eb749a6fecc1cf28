//! What a Project lets an Application deploy, and which metric servers its analyses may ask.

use crate::api::project::{GroupKind, ProjectSpec};
use crate::manifest::Object;
use crate::manifest::object::clean;

/// The rules that hold for an Application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rules {
    /// It names no Project: its own namespace and namespaced kinds only.
    OwnNamespace,
    /// It names this Project.
    Project {
        /// The Project's name.
        name: String,
        /// What it allows.
        spec: ProjectSpec,
    },
    /// It names a Project that does not exist: nothing is allowed.
    Missing {
        /// The name.
        name: String,
    },
}

/// What of an Application the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<'a> {
    /// The Application's namespace.
    pub namespace: &'a str,
    /// `spec.source.repoURL`.
    pub repo_url: &'a str,
}

/// An object, and whether its kind is namespaced. Its id carries the namespace it goes to.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// The object.
    pub object: &'a Object,
    /// Is its kind namespaced?
    pub namespaced: bool,
}

/// What is not allowed, by which rule. The message names file, line and object where one object breaks it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (rule: {rule})")]
pub struct Violation {
    /// The rule, for example `Project shop: spec.destinations`.
    pub rule: String,
    /// What broke it.
    pub message: String,
}

/// Everything that the rules do not allow; empty when all is.
#[must_use]
pub fn violations(rules: &Rules, applicant: Applicant<'_>, objects: &[Placed<'_>]) -> Vec<Violation> {
    match rules {
        Rules::OwnNamespace => objects.iter().filter_map(|placed| own_namespace(applicant, *placed)).collect(),
        Rules::Missing { name } => vec![Violation {
            rule: "spec.project".to_owned(),
            message: format!("the Project '{}' does not exist", clean(name, 253)),
        }],
        Rules::Project { name, spec } => {
            let rule = |field: &str| format!("Project {}: spec.{field}", clean(name, 253));
            let mut found = application(spec, applicant, &rule);
            if found.is_empty() {
                found.extend(objects.iter().filter_map(|placed| object(spec, *placed, &rule)));
            }
            found
        }
    }
}

fn own_namespace(applicant: Applicant<'_>, placed: Placed<'_>) -> Option<Violation> {
    let Placed { object, namespaced } = placed;
    let problem = if !namespaced {
        "is cluster-scoped".to_owned()
    } else if object.id.namespace != applicant.namespace {
        format!("goes to namespace '{}'", clean(&object.id.namespace, 63))
    } else {
        return None;
    };
    Some(Violation {
        rule: "an Application without a Project deploys to its own namespace only".to_owned(),
        message: format!("{}: {} {problem}", object.source, object.id),
    })
}

fn application(spec: &ProjectSpec, applicant: Applicant<'_>, rule: &impl Fn(&str) -> String) -> Vec<Violation> {
    let mut found = Vec::new();
    if !spec.application_namespaces.iter().any(|pattern| matches(pattern, applicant.namespace)) {
        found.push(Violation {
            rule: rule("applicationNamespaces"),
            message: format!("Applications of namespace '{}' may not use this Project", clean(applicant.namespace, 63)),
        });
    }
    if !spec.source_repos.iter().any(|pattern| repo_matches(pattern, applicant.repo_url)) {
        found.push(Violation {
            rule: rule("sourceRepos"),
            message: format!("the repository '{}' is not allowed", clean(applicant.repo_url, 200)),
        });
    }
    found
}

fn object(spec: &ProjectSpec, placed: Placed<'_>, rule: &impl Fn(&str) -> String) -> Option<Violation> {
    let Placed { object, namespaced } = placed;
    let violation = |field: &str, problem: String| {
        Some(Violation { rule: rule(field), message: format!("{}: {} {problem}", object.source, object.id) })
    };
    let named = |kinds: &[GroupKind]| kinds.iter().any(|kind| kind_matches(kind, object));
    if named(&spec.denied_kinds) {
        return violation("deniedKinds", "is of a denied kind".to_owned());
    }
    if spec.allowed_kinds.is_empty() && !namespaced {
        return violation("allowedKinds", "is cluster-scoped; without allowedKinds only namespaced kinds are allowed".to_owned());
    }
    if !spec.allowed_kinds.is_empty() && !named(&spec.allowed_kinds) {
        return violation("allowedKinds", "is of a kind that is not allowed".to_owned());
    }
    // A Namespace object is a destination as much as what lies in it.
    let namespace = match (namespaced, object.id.is("", "Namespace")) {
        (true, _) => Some(&object.id.namespace),
        (false, true) => Some(&object.id.name),
        (false, false) => None,
    };
    match namespace {
        Some(namespace) if !spec.destinations.iter().any(|allowed| matches(&allowed.namespace, namespace)) => {
            violation("destinations", format!("goes to namespace '{}', which is not allowed", clean(namespace, 63)))
        }
        _ => None,
    }
}

/// `*` matches everything, `text*` what begins with `text`, anything else itself.
fn matches(pattern: &str, text: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == text, |prefix| text.starts_with(prefix))
}

/// As [`matches`]; what `*` stands for must not climb: a server may read `acme/../other` as `other`.
fn repo_matches(pattern: &str, url: &str) -> bool {
    let climbs =
        |rest: &str| rest.contains('%') || rest.contains('\\') || rest.split('/').any(|part| part == ".." || part == ".");
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(prefix) => url.strip_prefix(prefix).is_some_and(|rest| !climbs(rest)),
        None => pattern == url,
    }
}

fn kind_matches(pattern: &GroupKind, object: &Object) -> bool {
    let is = |pattern: &str, text: &str| pattern == "*" || pattern == text;
    is(&pattern.group, &object.id.group) && is(&pattern.kind, &object.id.kind)
}

/// The metric servers that analyses of `namespace` may ask: the union over the Projects that list it; none when no
/// Project does.
#[must_use]
pub fn metric_addresses(projects: &[ProjectSpec], namespace: &str) -> Option<Vec<String>> {
    let mut listing = projects.iter().filter(|p| p.application_namespaces.iter().any(|n| matches(n, namespace))).peekable();
    listing.peek()?;
    Some(listing.flat_map(|project| project.metric_addresses.iter().cloned()).collect())
}
