//! Mirrors that a killed process, a full disk or a careless hand left behind.

use std::fs;
use std::path::{Path, PathBuf};

use crate::client::{World, main_branch, mirror};
use crate::fixture::{Repo, git};
use tidegate::git::client::GitObjects;
use tidegate::git::revision::{FileKind, Objects, ObjectsError, TreeId};

fn packs(mirror: &Path) -> Vec<PathBuf> {
    let mut packs: Vec<PathBuf> = fs::read_dir(mirror.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path()).collect();
    packs.sort();
    packs
}

fn cut(file: &Path) {
    let _ = std::process::Command::new("chmod").arg("644").arg(file).output().unwrap();
    let length = fs::metadata(file).unwrap().len();
    fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length / 2).unwrap();
}

type Damage = Box<dyn Fn(&Path)>;

/// Protects: a mirror is a cache. However it was damaged, the next process fetches, commits and pushes.
#[test]
fn damaged_mirrors_are_made_anew() {
    let damage: Vec<(&str, Damage)> = vec![
        (
            "an empty folder",
            Box::new(|mirror| {
                fs::remove_dir_all(mirror).unwrap();
                fs::create_dir_all(mirror).unwrap();
            }),
        ),
        (
            "a file in its place",
            Box::new(|mirror| {
                fs::remove_dir_all(mirror).unwrap();
                fs::write(mirror, "x").unwrap();
            }),
        ),
        ("no HEAD", Box::new(|mirror| fs::remove_file(mirror.join("HEAD")).unwrap())),
        ("no objects", Box::new(|mirror| fs::remove_dir_all(mirror.join("objects")).unwrap())),
        ("a broken config", Box::new(|mirror| fs::write(mirror.join("config"), "[core\nbroken").unwrap())),
        ("packs cut off", Box::new(|mirror| packs(mirror).iter().for_each(|pack| cut(pack)))),
        ("packs gone", Box::new(|mirror| packs(mirror).iter().for_each(|pack| fs::remove_file(pack).unwrap()))),
        (
            "locks of a killed process",
            Box::new(|mirror| {
                fs::write(mirror.join("refs/tidegate/tracking/main.lock"), "").unwrap();
                fs::write(mirror.join("config.lock"), "").unwrap();
                fs::write(mirror.join("packed-refs.lock"), "").unwrap();
            }),
        ),
        ("a reference cut off", Box::new(|mirror| fs::write(mirror.join("refs/tidegate/tracking/main"), "").unwrap())),
        (
            "a half-made mirror beside it",
            Box::new(|mirror| fs::create_dir_all(mirror.with_extension("new-1-2").join("objects")).unwrap()),
        ),
        ("a half-written pack", Box::new(|mirror| fs::write(mirror.join("objects/pack/pack_git2_x"), "x").unwrap())),
    ];
    for (name, damage) in damage {
        let (world, good, _, _) = World::with_candidate();
        damage(world.mirror.path());
        // Another process.
        let world = World { mirror: mirror(world.data.path(), &world.server.url()), ..world };
        world.forge.colleague.write("docs/x", name).commit("docs");
        world.forge.colleague_pushes();
        let head = world.fetch();
        assert_eq!(head, world.forge.tip(), "{name}");
        let candidate = world.candidate(head, good);
        world.push(head, candidate).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(world.forge.subjects()[0], "Revert it", "{name}");
        let left: Vec<PathBuf> =
            fs::read_dir(world.mirror.path().parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [world.mirror.path()], "{name}");
        assert!(packs(world.mirror.path()).iter().all(|pack| !pack.to_string_lossy().contains("git2")), "{name}");
    }
}

/// Protects: damage that shows only while reading is noticed, said, and mended by the next fetch.
#[test]
fn damage_found_while_reading() {
    let world = World::new();
    let head = world.fetch();
    let objects = world.mirror.objects().unwrap();
    let tree = objects.commit(&head).unwrap().tree;
    drop(objects);
    packs(world.mirror.path()).iter().filter(|pack| pack.extension().is_some_and(|e| e == "pack")).for_each(|pack| cut(pack));
    let broken = world.mirror.objects().unwrap().files(&tree).is_err();
    assert!(broken);
    assert_eq!(world.fetch(), head);
    let files = world.mirror.objects().unwrap().files(&tree).unwrap();
    assert_eq!(files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["apps/shop/web.yaml"]);
}

/// Protects: a data directory that cannot be written is an error with a name, not a panic.
#[test]
fn no_place_to_write() {
    let world = World::new();
    let file = world.data.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = mirror(&file, &world.server.url()).fetch(&world.access, &main_branch()).unwrap_err();
    assert!(error.to_string().starts_with("failed to fetch: failed to use the mirror on disk: "), "{error}");
}

/// Protects: each remote has its own mirror, and the address's form does not make two of one.
#[test]
fn one_mirror_per_remote() {
    let world = World::new();
    let other = mirror(world.data.path(), &world.server.url_of("team/other.git"));
    let same = mirror(world.data.path(), &format!("{}/", world.server.url()));
    assert_ne!(other.path(), world.mirror.path());
    assert_eq!(same.path(), world.mirror.path());
}

/// Protects: what a tree may hold, as the reader of manifests sees it.
#[test]
fn files_and_their_kinds() {
    let repo = Repo::new();
    repo.write("apps/shop/b.yaml", "1234567890").write("apps/shop/a/run.sh", "x");
    repo.git(&["add", "-A"]);
    repo.git(&["update-index", "--chmod=+x", "apps/shop/a/run.sh"]);
    let blob = repo.git(&["hash-object", "-w", "apps/shop/b.yaml"]);
    let entry =
        |mode: &str, id: &str, path: &str| repo.git(&["update-index", "--add", "--cacheinfo", &format!("{mode},{id},{path}")]);
    entry("120000", &blob, "apps/shop/link");
    entry("160000", "00000000000000000000000000000000000000aa", "apps/shop/module");
    repo.git(&["commit", "-q", "-m", "all kinds"]);
    let objects = repo.objects();
    let root = objects.commit(&repo.head()).unwrap().tree;
    let subtree = objects.subtree(&root, &"apps/shop".parse().unwrap()).unwrap().unwrap();
    let files = objects.files(&subtree).unwrap();
    let kinds: Vec<(&str, FileKind)> = files.iter().map(|file| (file.path.as_str(), file.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("a/run.sh", FileKind::Executable),
            ("b.yaml", FileKind::File),
            ("link", FileKind::Symlink),
            ("module", FileKind::Submodule)
        ]
    );
    assert_eq!(objects.blob(&files[1].blob, 10).unwrap(), b"1234567890");
    let too_large = ObjectsError::TooLarge { what: format!("file content {blob}"), limit: 9 };
    assert_eq!(objects.blob(&files[1].blob, 9), Err(too_large));
    assert_eq!(objects.subtree(&root, &"apps/none".parse().unwrap()), Ok(None));
    for path in ["apps/shop/link", "apps/shop/link/x", "apps/shop/module", "apps/shop/b.yaml"] {
        assert_eq!(objects.subtree(&root, &path.parse().unwrap()), Err(ObjectsError::NotADirectory(path.to_owned())));
    }
    let absent = TreeId::from_bytes([7; 20]);
    assert_eq!(objects.files(&absent), Err(ObjectsError::Missing(absent.to_string())));
}

/// Protects: memory and disk from trees that stand for more than they weigh, and readers from names that lead away.
#[test]
fn hostile_trees() {
    let repo = Repo::new();
    let raw_tree = |entries: &[(&str, &[u8], &str)]| {
        let mut raw = Vec::new();
        for (mode, name, id) in entries {
            raw.extend_from_slice(mode.as_bytes());
            raw.push(b' ');
            raw.extend_from_slice(name);
            raw.push(0);
            raw.extend((0..20).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap()));
        }
        let file = repo.path().join("raw");
        fs::write(&file, raw).unwrap();
        git(repo.path(), &["hash-object", "-w", "-t", "tree", "--literally", "raw"])
    };
    fs::write(repo.path().join("blob"), "x").unwrap();
    let blob = repo.git(&["hash-object", "-w", "blob"]);
    let objects = || GitObjects::open(&repo.path().join(".git")).unwrap();
    for name in [&b".."[..], b".", b".git", b".GIT", b"a/b", b"a\\b", b"a\nb", b"\xff"] {
        let tree: TreeId = raw_tree(&[("100644", name, &blob)]).parse().unwrap();
        let error = objects().files(&tree).unwrap_err();
        assert!(matches!(error, ObjectsError::Name(_) | ObjectsError::Broken(_)), "{name:?}: {error:?}");
    }
    // Ten trees of ten entries each: ten thousand million files in a few kilobytes.
    let mut tree = blob.clone();
    for level in 0..10 {
        let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        let mode = if level == 0 { "100644" } else { "40000" };
        let entries: Vec<(&str, &[u8], &str)> = names.iter().map(|name| (mode, name.as_bytes(), tree.as_str())).collect();
        tree = raw_tree(&entries);
    }
    let bomb: TreeId = tree.parse().unwrap();
    let too_many = ObjectsError::TooLarge { what: "the number of files".to_owned(), limit: 20_000 };
    assert_eq!(objects().files(&bomb), Err(too_many));
    assert!(matches!(objects().merge(&bomb, &TreeId::EMPTY, &TreeId::EMPTY), Err(ObjectsError::TooLarge { .. })));
    let mut tree = raw_tree(&[("100644", b"x", &blob)]);
    for _ in 0..70 {
        tree = raw_tree(&[("40000", b"d", &tree)]);
    }
    assert!(matches!(objects().files(&tree.parse().unwrap()), Err(ObjectsError::TooLarge { limit: 64, .. })));
}
