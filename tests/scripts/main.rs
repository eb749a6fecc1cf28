//! Operators' stories over the real decision, with golden output. `UPDATE_GOLDEN=1` writes the output anew; read the
//! difference before you commit it. After every single effect the invariants are checked: a story that breaks one fails
//! whatever its golden file says.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a story that cannot be read fails")]

mod autoscale;
mod checker;
mod crashes;
mod generated;
mod specs;
mod upgrade;
mod world;

use std::fs;
use std::path::Path;

/// Protects: the behaviour of the engine as people experience it, effect by effect.
#[test]
fn stories() {
    let folder = Path::new("tests/scripts/stories");
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "story"));
    names.sort();
    assert!(names.len() >= 10, "the stories are gone: {names:?}");
    let mut failed = Vec::new();
    for path in names {
        let day = world::run(&fs::read_to_string(&path).unwrap());
        let (out, violations) = (day.error.map_or(day.out.clone(), |error| format!("{}{error}\n", day.out)), day.violations);
        let golden = path.with_extension("golden");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &out).unwrap();
        }
        let wanted = fs::read_to_string(&golden).unwrap_or_default();
        if out != wanted || !violations.is_empty() {
            failed.push(format!("{}: {violations:?}\n--- wanted\n{wanted}\n--- found\n{out}", path.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
