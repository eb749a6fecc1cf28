//! Readings of YAML, pinned with kubectl's own answers (v1.32, `kubectl label --local -o json -f`), and everything
//! that is refused.

use serde_json::{Value, json};

use super::object::{File, ManifestErrors, Object};
use super::parse::parse;
use super::rollout::{RolloutContent, digest_of, rollout_digest, rollouts};
use super::yaml::{Budget, documents};

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), bytes: text.as_bytes().to_vec() }
}

fn yaml(text: &str) -> Value {
    let (mut documents, errors) = documents(text, &mut Budget::default());
    assert_eq!(errors, [], "{text}");
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0).value
}

fn errors(files: &[File]) -> Vec<String> {
    let errors: ManifestErrors = parse(files).unwrap_err();
    errors.named.iter().map(ToString::to_string).collect()
}

fn names(objects: &[Object]) -> Vec<String> {
    objects.iter().map(|object| format!("{} {}", object.source, object.id)).collect()
}

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

/// Protects: one meaning for a manifest, kubectl's. Every row is kubectl's answer to the same text.
#[test]
fn scalars_as_kubectl_reads_them() {
    for (text, wanted) in [
        (
            "[y, Y, yes, Yes, YES, on, On, ON, true, True, TRUE]",
            json!([true, true, true, true, true, true, true, true, true, true, true]),
        ),
        (
            "[n, N, no, off, Off, OFF, False, FALSE, tRUE, yEs]",
            json!([false, false, false, false, false, false, false, false, "tRUE", "yEs"]),
        ),
        ("[~, null, Null, NULL, nULL, ]", json!([null, null, null, null, "nULL"])),
        (
            "[0644, -0644, +12, 08, 0o17, 0O17, 0b11, -0b11, 0B1, 0xFF, 0Xff, 0xfg, 1_000, _1, 1_, 0_7, 1__0]",
            json!([420, -420, 12, 8, 15, 15, 3, -3, 1, 255, 255, "0xfg", 1000, "_1", 1, 7, 10]),
        ),
        (
            "[1:30, 1:30:00, 2020-01-01, '2020-01-01T00:00:00Z', 12e03, 1e3, 1E+2, 1e-2, 1., .5, -.5, +.5, .5e1, 1.5, 1.0, -0.0, 1e999, 1.2.3]",
            json!([
                "1:30",
                "1:30:00",
                "2020-01-01",
                "2020-01-01T00:00:00Z",
                12000,
                1000,
                100,
                0.01,
                1,
                0.5,
                -0.5,
                0.5,
                5,
                1.5,
                1,
                0,
                "1e999",
                "1.2.3"
            ]),
        ),
        ("[.1_0, 1_0.5, 1e20, 1e21]", json!([0.1, 10.5, 1e20, 1e21])),
        (
            "[9223372036854775807, 9223372036854775808, 18446744073709551615, 18446744073709551616, -9223372036854775808, -9223372036854775809]",
            json!([
                i64::MAX,
                9_223_372_036_854_776_000.0,
                18_446_744_073_709_552_000.0,
                18_446_744_073_709_552_000.0,
                i64::MIN,
                -9_223_372_036_854_776_000.0
            ]),
        ),
        (
            r#"["0644", 'yes', "~", !!str 0644, !!str yes, !!int 5, !!float 5, !!bool yes, ".5", !foo 12, !foo bar, ! 12]"#,
            json!(["0644", "yes", "~", "0644", "yes", 5, 5, true, ".5", "12", "bar", "12"]),
        ),
        (r#"[!!int "5", !!float 1.5, !!float 0644, !!bool "true", !!null ""]"#, json!([5, 1.5, 420, true, null])),
        (
            "{0644: a, true: b, 1.5: c, q: d, -3: f, 2020-01-01: g}",
            json!({"420": "a", "true": "b", "1.5": "c", "q": "d", "-3": "f", "2020-01-01": "g"}),
        ),
        ("a: |\n  block\nb: >-\n  folded\n  text\n", json!({"a": "block\n", "b": "folded text"})),
        (
            "[<<, =, 0x1p-2, 1e5, 1.5e3, ., +, .e3, 100m, 1Gi]",
            json!(["<<", "=", "0x1p-2", 100_000, 1500, ".", "+", ".e3", "100m", "1Gi"]),
        ),
        (
            "[12_345.678_9, 0x_FF, -0x1F, 0, 00, -0, Infinity, .5_0, 07.5]",
            json!([12345.6789, 255, -31, 0, 0, 0, "Infinity", 0.5, 7.5]),
        ),
        ("x: a\n  b\n\n  c\n", json!({"x": "a b\nc"})),
        ("[{a}, {a:1}, {\"a\":1}, a#b, 12 # c\n]", json!([{"a": null}, {"a:1": null}, {"a": 1}, "a#b", 12])),
        ("[-1_0, 1-0, 2020-1-1]", json!([-10, "1-0", "2020-1-1"])),
        (
            "v: 2020-01-01 10:00:00\n? k\n: 2001-12-14t21:59:43.10-05:00\n",
            json!({"v": "2020-01-01 10:00:00", "k": "2001-12-14t21:59:43.10-05:00"}),
        ),
    ] {
        assert_eq!(yaml(text), wanted, "{text}");
    }
}

/// Protects: merge keys as kubectl reads them, where a merge replaces keys that stand before it.
#[test]
fn merge_keys_as_kubectl_reads_them() {
    let anchors = "a: &a {k: 1, z: 2}\nb: &b {k: 3, w: 4}\n";
    for (text, wanted) in [
        ("x:\n  <<: *a\n  k: 9\n", json!({"k": 9, "z": 2})),
        ("x:\n  k: 9\n  <<: *a\n", json!({"k": 1, "z": 2})),
        ("x:\n  <<: [*a, *b]\n", json!({"k": 1, "z": 2, "w": 4})),
        ("x:\n  z: 9\n  <<: [*a, *b]\n", json!({"k": 1, "z": 2, "w": 4})),
        ("x: {<<: {a: 1}, b: 2}\n", json!({"a": 1, "b": 2})),
        ("x: {\"<<\": quoted}\n", json!({"<<": "quoted"})),
        ("x: [*a, *b]\n", json!([{"k": 1, "z": 2}, {"k": 3, "w": 4}])),
    ] {
        assert_eq!(yaml(&format!("{anchors}{text}"))["x"], wanted, "{text}");
    }
}

/// Protects: what cannot be read is refused with its line and without its value, and costs bounded time and memory.
#[test]
fn refused_yaml() {
    let deep_flow = format!("x: {}", "[".repeat(5_000));
    let deep_block = (0..300).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>();
    let bomb = (1..30).fold("x0: &x0 [a,a,a,a,a,a,a,a,a,a]\n".to_owned(), |text, n| {
        format!("{text}x{n}: &x{n} [{}]\n", vec![format!("*x{}", n - 1); 10].join(","))
    });
    let chain = (1..300).fold("x0: &x0 [a]\n".to_owned(), |text, n| format!("{text}x{n}: &x{n} [*x{}]\n", n - 1));
    let copies = format!("x: &x {}\ny: [{}]\n", "s".repeat(100_000), vec!["*x"; 1000].join(","));
    for (text, line, wanted) in [
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' stands twice in the same map"),
        ("{0644: a, 420: b}", 1, "the key '420' stands twice in the same map"),
        ("x: {~: 1}\n", 1, "a key must be a text; quote it"),
        ("x: {0.00001: 1}\n", 1, "a key must be a text; quote it"),
        ("x: {[a]: 1}\n", 1, "a key must be a text, not a list or a map"),
        ("\nx: .nan\n", 2, "infinity and NaN cannot be sent to Kubernetes; quote the value to make it a text"),
        ("x: !!int hunter2\n", 1, "a value does not fit its tag"),
        ("x: !!binary aGk=\n", 1, "the tag !!binary is not supported; write the base64 text without it"),
        ("x: {<<: 3}\n", 1, "'<<' takes a map or a list of maps"),
        ("x: &a [*a]\n", 1, "an alias stands inside the value that it refers to"),
        ("x: *hunter2\n", 1, "not valid YAML: while parsing node, found unknown anchor"),
        ("a: 1\nx: hunter2: b\n", 2, "not valid YAML: mapping values are not allowed in this context"),
        ("a:\n- x\n\t- hunter2\n", 2, "not valid YAML: while scanning a plain scalar, found a tab"),
        ("a: [1,\n", 1, "not valid YAML: "),
        (&deep_flow, 1, "not valid YAML: recursion limit exceeded"),
        (&deep_block, 101, "not valid YAML: recursion limit exceeded"),
        (&chain, 100, "nested deeper than 100 levels"),
        (&bomb, 6, "the files hold more than 2000000 values, or aliases that copy more than 16 MiB"),
        (&copies, 2, "the files hold more than 2000000 values, or aliases that copy more than 16 MiB"),
    ] {
        let (_, errors) = documents(text, &mut Budget::default());
        let head: String = text.chars().take(60).collect();
        assert_eq!(errors.len(), 1, "{head}: {errors:?}");
        assert!(errors[0].message.starts_with(wanted), "{head}: {errors:?}");
        assert_eq!(errors[0].line, line, "{head}: {errors:?}");
        assert!(!errors[0].message.contains("hunter2"), "{errors:?}");
    }
}

/// Protects: documents, lists and files that are no manifests; the order and the lines of what comes out.
#[test]
fn documents_and_lists() {
    let text = format!(
        "# a comment\n---\n---\n{CONFIG}---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: Secret, metadata: {{name: s, namespace: ns}}}}\n---\napiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {{name: l}}\n"
    );
    let files = [
        file("b/all.yaml", &text),
        file("README.md", "{{{"),
        file(
            "a.json",
            "{\n\t\"apiVersion\": \"apps/v1\",\n\t\"kind\": \"Deployment\",\n\t\"metadata\": {\"name\": \"d\\u00e9\\/\"}}",
        ),
    ];
    assert_eq!(errors(&files), ["a.json:1: metadata.name 'dé/' is not valid"]);
    assert_eq!(
        names(&parse(&files[..2]).unwrap()),
        ["b/all.yaml:4 ConfigMap a", "b/all.yaml:10 Secret ns/s", "b/all.yaml:15 ConfigMap l"]
    );
    assert_eq!(parse(&[]).unwrap(), []);
}

/// Protects: all errors at once, each with file and line, at most 20 named.
#[test]
fn every_error_is_named() {
    let files = [
        file(
            "1.yaml",
            "kind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Config Map\nmetadata: {name: ../x, namespace: A}\n",
        ),
        file("2.yaml", &format!("{CONFIG}data: {{a: 1\n---\n{CONFIG}---\n{CONFIG}data: {{a: b, a: c}}\n")),
        file("3.yaml", CONFIG),
        file(
            "4.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a-, labels: {v: 1.10, ok: x}, annotations: [a]}\n",
        ),
        file("5.yaml", "- a\n"),
        file("kustomization.yaml", "resources: []\n"),
        File { path: "6.yaml".to_owned(), bytes: b"a: b\nc: \xff\n".to_vec() },
        file("7.yaml", "apiVersion: a/b/c\nkind: X\nmetadata: {name: 5}\n"),
        file(
            "8.yaml",
            "apiVersion: tidegate.dev/v1alpha1\nkind: Rollout\nmetadata: {name: w, annotations: {tidegate.dev/commit: x}}\nspec: {request: {id: a}}\nstatus: {}\n",
        ),
    ];
    assert_eq!(
        errors(&files),
        [
            "1.yaml:1: apiVersion is missing",
            "1.yaml:4: kind 'Config Map' is not valid",
            "1.yaml:4: metadata.name '../x' is not valid",
            "1.yaml:4: metadata.namespace 'A' is not valid",
            "2.yaml:4: not valid YAML: unclosed bracket '{'",
            "2.yaml:13: the key 'a' stands twice in the same map",
            "4.yaml:1: metadata.generateName is not possible: each sync would create another object; give a metadata.name",
            "4.yaml:1: metadata.labels['v'] must be a text, not a number; quote it",
            "4.yaml:1: metadata.annotations must be a map of texts, not a list",
            "5.yaml:1: a manifest must be a map with apiVersion, kind and metadata",
            "kustomization.yaml:1: kustomize is not supported; the path must hold plain manifests",
            "6.yaml:2: is not UTF-8 text",
            "7.yaml:1: apiVersion 'a/b/c' is not valid",
            "7.yaml:1: metadata.name must be a text, not a number; quote it",
            "8.yaml:1: spec.request of a Rollout is a person's command and never comes from Git; remove it",
            "8.yaml:1: status of a Rollout is what the controller saw and never comes from Git; remove it",
            "8.yaml:1: the annotation tidegate.dev/commit is written by the sync and never comes from Git; remove it",
            "3.yaml:1: ConfigMap a stands in Git twice, first in 2.yaml:6",
        ]
    );
    let many: Vec<File> = (0..33).map(|n| file(&format!("{n}.yaml"), "a: b\n")).collect();
    let found = parse(&many).unwrap_err();
    assert_eq!((found.named.len(), found.more), (20, 33 * 3 - 20));
    assert!(found.to_string().ends_with("; and 79 more"), "{found}");
}

/// Protects: an object is the same in every API version; two versions of one object are a duplicate.
#[test]
fn duplicates_across_versions() {
    let deployment =
        |version: &str| format!("apiVersion: {version}\nkind: Deployment\nmetadata: {{name: web, namespace: shop}}\n");
    let files = [file("a.yaml", &deployment("apps/v1")), file("b.yml", &deployment("apps/v1beta1"))];
    assert_eq!(errors(&files), ["b.yml:1: Deployment.apps shop/web stands in Git twice, first in a.yaml:1"]);
    let other = [file("a.yaml", &deployment("apps/v1")), file("b.yml", &deployment("extensions/v1beta1"))];
    assert_eq!(parse(&other).unwrap().len(), 2);
}

/// Protects: limits on the number of objects and on sizes; exactly at the limit is allowed.
#[test]
fn limits() {
    let objects = |count: usize| {
        (0..count).map(|n| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n}}}\n")).collect::<String>()
    };
    assert_eq!(parse(&[file("a.yaml", &objects(5_000))]).unwrap().len(), 5_000);
    assert_eq!(
        errors(&[file("a.yaml", &objects(5_001))]),
        ["a.yaml:20002: an Application may have 5000 objects; this one is more"]
    );
    let big = |bytes: usize| file("big.yaml", &format!("{CONFIG}# {}", "x".repeat(bytes - CONFIG.len() - 2)));
    assert!(parse(&[big(8 << 20)]).is_ok());
    assert_eq!(errors(&[big((8 << 20) + 1)]), ["big.yaml:1: has 8388609 bytes; a file may have 8388608"]);
    let five: Vec<File> = (0..5).map(|n| file(&format!("{n}.yaml"), &format!("# {}", "x".repeat(7 << 20)))).collect();
    assert_eq!(errors(&five), ["4.yaml:1: with this file there are more than 33554432 bytes of manifests"]);
}

/// Protects: Secrets stay out of debug output of objects and files.
#[test]
fn no_values_in_debug_output() {
    let files = [file("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n")];
    let text = format!("{files:?} {:?}", parse(&files).unwrap());
    assert!(text.contains("s.yaml") && !text.contains("hunter2"), "{text}");
}

/// Protects: what write-back compares commits by: the template and nothing else of a Rollout.
#[test]
fn rollout_digests() {
    let rollout = |name: &str, replicas: u32, image: &str| {
        format!(
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: {name}}}\nspec: {{replicas: {replicas}, template: {{spec: {{image: {image}}}}}}}\n"
        )
    };
    let read = |text: String| parse(&[file("r.yaml", &text)]).unwrap();
    let objects = read(rollout("web", 1, "web:1") + &rollout("api", 1, "api:1") + "---\n" + CONFIG);
    let digest = digest_of(&json!({"spec": {"template": {"spec": {"image": "web:1"}}}}));
    assert_eq!(
        rollouts(&objects)[0],
        RolloutContent { namespace: String::new(), name: "web".to_owned(), digest: digest.clone() }
    );
    assert_eq!(rollouts(&objects).len(), 2);
    assert_eq!(rollout_digest(&objects, "shop", "shop", "web"), Some(digest.clone()));
    assert_eq!(rollout_digest(&read(rollout("web", 9, "web:1")), "shop", "shop", "web"), Some(digest.clone()));
    assert_ne!(rollout_digest(&read(rollout("web", 1, "web:2")), "shop", "shop", "web"), Some(digest));
    assert_eq!(rollout_digest(&objects, "shop", "shop", "nope"), None);
    assert_eq!(rollout_digest(&read(rollout("web", 1, "web:1")), "shop", "other", "web"), None, "another namespace's");
}
