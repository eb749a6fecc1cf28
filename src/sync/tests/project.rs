//! What a Project allows, and what holds without one.

use super::objects;
use crate::api::project::{AllowedDestination, GroupKind, ProjectSpec};
use crate::manifest::Object;
use crate::sync::project::{Applicant, Placed, Rules, metric_addresses, violations};

const REPO: &str = "https://git.example.com/acme/deploy.git";

fn kind(group: &str, kind: &str) -> GroupKind {
    GroupKind { group: group.to_owned(), kind: kind.to_owned() }
}

fn spec() -> ProjectSpec {
    ProjectSpec {
        application_namespaces: vec!["shop".to_owned(), "team-*".to_owned()],
        source_repos: vec!["https://git.example.com/acme/*".to_owned()],
        destinations: vec![AllowedDestination { namespace: "shop*".to_owned() }],
        ..ProjectSpec::default()
    }
}

fn object(kind: &str, namespace: &str) -> Object {
    let (api_version, kind) = kind.split_once(' ').unwrap();
    let namespace = if namespace.is_empty() { String::new() } else { format!(", namespace: {namespace}") };
    objects(&format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: prod{namespace}}}\n")).remove(0)
}

fn found(rules: &Rules, namespace: &str, repo_url: &str, objects: &[Object]) -> Vec<String> {
    let placed: Vec<Placed<'_>> =
        objects.iter().map(|object| Placed { object, namespaced: !object.id.namespace.is_empty() }).collect();
    violations(rules, Applicant { namespace, repo_url }, &placed).iter().map(ToString::to_string).collect()
}

/// Protects: tenants from each other. Each row: spec, object, the one violation.
#[test]
fn rules_of_a_project() {
    let cluster_wide =
        ProjectSpec { allowed_kinds: vec![kind("*", "*")], denied_kinds: vec![kind("rbac.authorization.k8s.io", "*")], ..spec() };
    let config_only = ProjectSpec { allowed_kinds: vec![kind("", "ConfigMap")], ..spec() };
    let nowhere = ProjectSpec { destinations: vec![], ..spec() };
    for (spec, object, wanted) in [
        (spec(), object("v1 ConfigMap", "shop"), None),
        (spec(), object("v1 ConfigMap", "shop-eu"), None),
        (
            spec(),
            object("v1 ConfigMap", "prod"),
            Some("ConfigMap prod/prod goes to namespace 'prod', which is not allowed (rule: Project p: spec.destinations)"),
        ),
        (
            nowhere,
            object("v1 ConfigMap", "shop"),
            Some("ConfigMap shop/prod goes to namespace 'shop', which is not allowed (rule: Project p: spec.destinations)"),
        ),
        (
            spec(),
            object("v1 Namespace", ""),
            Some(
                "Namespace prod is cluster-scoped; without allowedKinds only namespaced kinds are allowed (rule: Project p: spec.allowedKinds)",
            ),
        ),
        (config_only.clone(), object("v1 ConfigMap", "shop"), None),
        (
            config_only,
            object("v1 Secret", "shop"),
            Some("Secret shop/prod is of a kind that is not allowed (rule: Project p: spec.allowedKinds)"),
        ),
        (cluster_wide.clone(), object("scheduling.k8s.io/v1 PriorityClass", ""), None),
        (
            cluster_wide.clone(),
            object("v1 Namespace", ""),
            Some("Namespace prod goes to namespace 'prod', which is not allowed (rule: Project p: spec.destinations)"),
        ),
        (
            cluster_wide,
            object("rbac.authorization.k8s.io/v1 ClusterRole", ""),
            Some("ClusterRole.rbac.authorization.k8s.io prod is of a denied kind (rule: Project p: spec.deniedKinds)"),
        ),
    ] {
        let rules = Rules::Project { name: "p".to_owned(), spec };
        let wanted: Vec<String> = wanted.into_iter().map(|text| format!("all.yaml:1: {text}")).collect();
        assert_eq!(found(&rules, "team-a", REPO, &[object]), wanted);
    }
}

/// Protects: who may use a Project, and from which repositories; `*` does not climb out of its folder.
#[test]
fn applications_and_repositories() {
    let rules = Rules::Project { name: "p".to_owned(), spec: spec() };
    let of = |namespace: &str, repo: &str| found(&rules, namespace, repo, &[]);
    assert_eq!(of("shop", REPO), [""; 0]);
    assert_eq!(
        of("shopping", REPO),
        ["Applications of namespace 'shopping' may not use this Project (rule: Project p: spec.applicationNamespaces)"]
    );
    for repo in [
        "https://git.example.com/acme/../evil/x.git",
        "https://git.example.com/acme/%2e%2e/evil",
        "https://git.example.com/acme",
        "https://evil.example.com/acme/x",
    ] {
        assert_eq!(of("shop", repo), [format!("the repository '{repo}' is not allowed (rule: Project p: spec.sourceRepos)")]);
    }
    let missing = Rules::Missing { name: "p".to_owned() };
    assert_eq!(found(&missing, "shop", REPO, &[]), ["the Project 'p' does not exist (rule: spec.project)"]);
    let none = Rules::Project { name: "p".to_owned(), spec: ProjectSpec { source_repos: vec![], ..spec() } };
    assert_eq!(found(&none, "shop", REPO, &[]).len(), 1);
}

/// Protects: without a Project an Application stays in its own namespace.
#[test]
fn without_a_project() {
    let objects = [object("v1 ConfigMap", "shop"), object("v1 ConfigMap", "prod"), object("v1 Namespace", "")];
    assert_eq!(
        found(&Rules::OwnNamespace, "shop", REPO, &objects),
        [
            "all.yaml:1: ConfigMap prod/prod goes to namespace 'prod' (rule: an Application without a Project deploys to its own namespace only)",
            "all.yaml:1: Namespace prod is cluster-scoped (rule: an Application without a Project deploys to its own namespace only)",
        ]
    );
}

/// Protects: other networks from analyses. What several Projects list adds up; a Project that lists the namespace and no
/// server allows none; a namespace that no Project lists is another matter, which the analysis room decides.
#[test]
fn metric_servers_of_a_namespace() {
    let project = |namespaces: &str, addresses: &[&str]| ProjectSpec {
        application_namespaces: vec![namespaces.to_owned()],
        metric_addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        ..ProjectSpec::default()
    };
    let projects = [project("shop", &["prometheus:9090"]), project("sh*", &["*.metrics.example"]), project("other", &["evil"])];
    let wanted = vec!["prometheus:9090".to_owned(), "*.metrics.example".to_owned()];
    assert_eq!(metric_addresses(&projects, "shop"), Some(wanted));
    assert_eq!(metric_addresses(&[project("shop", &[])], "shop"), Some(Vec::new()));
    assert_eq!(metric_addresses(&projects, "elsewhere"), None);
}
