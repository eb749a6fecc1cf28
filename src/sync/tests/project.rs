//! What a Project allows, and what holds without one.

use super::objects;
use crate::api::project::{AllowedDestination, GroupKind, ProjectSpec};
use crate::manifest::Object;
use crate::sync::project::{Applicant, Placed, Rules, metric_address_allowed, violations};

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

/// Protects: analyses do not reach the machine itself, nor hosts outside the Projects that list the namespace.
#[test]
fn metric_addresses() {
    for host in [
        "localhost",
        "LOCALHOST",
        "a.localhost.",
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "::1",
        "[::1]",
        "::",
        "fe80::1",
        "[::ffff:127.0.0.1]",
        "::ffff:169.254.1.1",
        "2130706433",
        "127.1",
        "0x7f.0x1",
        "0x7f000001",
        "",
    ] {
        assert!(!metric_address_allowed(&[], "shop", host, 9090), "{host}");
    }
    for host in ["prometheus.monitoring", "10.0.0.1", "[fd00::1]", "example.com.", "localhost.example.com"] {
        assert!(metric_address_allowed(&[], "shop", host, 9090), "{host}");
    }
    let project = |namespaces: &str, addresses: &[&str]| ProjectSpec {
        application_namespaces: vec![namespaces.to_owned()],
        metric_addresses: addresses.iter().map(ToString::to_string).collect(),
        ..ProjectSpec::default()
    };
    let projects = [
        project("shop", &["prometheus.monitoring", "mimir:443", "*.acme.dev"]),
        project("sho*", &["127.0.0.1:9090"]),
        project("other", &["*.other"]),
    ];
    for (host, port, wanted) in [
        ("prometheus.monitoring", 9090, true),
        ("Prometheus.Monitoring.", 80, true),
        ("mimir", 443, true),
        ("mimir", 80, false),
        ("a.acme.dev", 443, true),
        ("acme.dev", 443, false),
        ("evilacme.dev", 443, false),
        ("127.0.0.1", 9090, true),
        ("127.0.0.1", 22, false),
        ("x.other", 80, false),
        ("example.com", 80, false),
    ] {
        assert_eq!(metric_address_allowed(&projects, "shop", host, port), wanted, "{host}:{port}");
    }
    assert!(!metric_address_allowed(&[project("shop", &[])], "shop", "prometheus", 9090));
    assert!(metric_address_allowed(&projects, "elsewhere", "example.com", 80));
}
