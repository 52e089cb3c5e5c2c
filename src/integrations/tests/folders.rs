//! Folders come, change and go; what is served of each.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use crate::integrations::folders::Folders;
use crate::integrations::loader::Loader;
use crate::integrations::serving::Serving;
use crate::integrations::testing::{answering, engine, manifest, write};
use crate::integrations::{Integration, Source};

/// A folder of integrations, and what is served of it.
struct Bench {
    parent: TempDir,
    folders: Folders,
    loader: Arc<Loader>,
    serving: Serving,
}

impl Bench {
    fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("integrations");
        fs::create_dir(&root).unwrap();
        Self {
            folders: Folders::new(root),
            loader: Arc::new(Loader::new(engine())),
            serving: Serving::new(),
            parent,
        }
    }

    /// A folder with one integration `a` that answers 1, looked at.
    async fn with_a() -> Self {
        let bench = Self::new();
        write(&bench.root(), "a", &answering(1, 1));
        assert!(bench.look().await);
        assert_eq!(bench.answer("a"), Some(1));
        bench
    }

    fn root(&self) -> PathBuf {
        self.parent.path().join("integrations")
    }

    /// The manifest of `a`.
    fn file(&self) -> PathBuf {
        self.root().join("a/config.json")
    }

    async fn look(&self) -> bool {
        self.folders.rescan(&self.loader, &self.serving).await
    }

    fn get(&self, slug: &str) -> Option<Arc<Integration>> {
        self.serving.folder(slug)
    }

    fn answer(&self, slug: &str) -> Option<u64> {
        answer(&*self.get(slug)?)
    }

    fn problem(&self, slug: &str) -> Option<String> {
        Some(self.get(slug)?.problem.clone()?.message)
    }
}

/// What the connector that is served answers.
fn answer(integration: &Integration) -> Option<u64> {
    let connector = &integration.served.as_ref()?.connector;
    let query = connector.declared_operations()[0].query.as_ref().unwrap();
    query.text().strip_prefix("SELECT ")?.parse().ok()
}

#[tokio::test]
async fn a_folder_comes_changes_and_goes() {
    let bench = Bench::new();
    assert!(!bench.look().await, "there is nothing");
    write(&bench.root(), "a", &answering(1, 1));
    assert!(bench.look().await);
    assert!(!bench.look().await, "nothing has changed since");
    let held = bench.get("a").unwrap();
    assert_eq!(held.source, Source::Folder(bench.root().join("a")));

    write(&bench.root(), "a", &answering(2, 2));
    assert!(bench.look().await);
    assert_eq!(bench.answer("a"), Some(2));
    assert_eq!(answer(&held), Some(1), "who held the old version still has it");

    fs::remove_dir_all(bench.root().join("a")).unwrap();
    assert!(bench.look().await);
    assert!(bench.get("a").is_none());
}

#[tokio::test]
async fn a_broken_edit_keeps_the_last_good_version_and_says_where_it_is_wrong() {
    let bench = Bench::with_a().await;
    let good = bench.get("a").unwrap();
    write(&bench.root(), "a", "{\n  \"title\": 5\n}");
    assert!(bench.look().await);
    let broken = bench.get("a").unwrap();
    assert!(Arc::ptr_eq(broken.served.as_ref().unwrap(), good.served.as_ref().unwrap()));
    assert_eq!(broken.updated_at, good.updated_at);
    let problem = broken.problem.clone().unwrap();
    assert!(problem.message.starts_with("config.json:"), "{}", problem.message);
    let title = problem.diagnostics.iter().find(|found| found.pointer == "/title").unwrap();
    assert_eq!((title.file.as_str(), title.line, title.column), ("config.json", 2, 12));
    assert!(!bench.look().await, "looking again finds the same");

    write(&bench.root(), "a", &answering(1, 1));
    assert!(bench.look().await);
    let repaired = bench.get("a").unwrap();
    assert!(repaired.problem.is_none());
    assert!(Arc::ptr_eq(repaired.served.as_ref().unwrap(), good.served.as_ref().unwrap()));

    write(&bench.root(), "a", "{");
    bench.look().await;
    write(&bench.root(), "a", &answering(2, 2));
    bench.look().await;
    assert_eq!((bench.answer("a"), bench.problem("a")), (Some(2), None));
}

#[tokio::test]
async fn one_that_was_never_good_is_listed_as_broken() {
    let bench = Bench::with_a().await;
    write(&bench.root(), "b", "{");
    bench.look().await;
    assert!(bench.get("b").unwrap().served.is_none());
    assert!(bench.problem("b").is_some());
    assert_eq!(bench.answer("a"), Some(1), "the others don't mind");
}

#[tokio::test]
async fn edits_are_seen_however_an_editor_makes_them() {
    let bench = Bench::with_a().await;
    let beside = |name: &str| bench.root().join("a").join(name);

    fs::write(beside("config.json.tmp"), answering(2, 2)).unwrap();
    fs::rename(beside("config.json.tmp"), bench.file()).unwrap();
    bench.look().await;
    assert_eq!(bench.answer("a"), Some(2), "renamed over");

    let mut file = OpenOptions::new().write(true).truncate(true).open(bench.file()).unwrap();
    bench.look().await;
    assert_eq!(bench.answer("a"), Some(2), "truncated");
    assert!(bench.problem("a").is_some());
    file.write_all(answering(3, 3).as_bytes()).unwrap();
    bench.look().await;
    assert_eq!((bench.answer("a"), bench.problem("a")), (Some(3), None), "and written");

    for swap in [".config.json.swp", "config.json~", "#config.json#", "4913", ".#config.json"] {
        fs::write(beside(swap), "not a manifest").unwrap();
    }
    assert!(!bench.look().await, "swap files are no part of it");
    fs::rename(bench.file(), beside("config.json~")).unwrap();
    fs::write(bench.file(), answering(4, 4)).unwrap();
    bench.look().await;
    assert_eq!((bench.answer("a"), bench.problem("a")), (Some(4), None), "written anew beside a backup");
}

#[tokio::test]
async fn a_folder_that_is_swapped_for_another_is_seen() {
    let bench = Bench::with_a().await;
    write(bench.parent.path(), "new", &answering(2, 2));
    fs::rename(bench.root().join("a"), bench.parent.path().join("old")).unwrap();
    fs::rename(bench.parent.path().join("new"), bench.root().join("a")).unwrap();
    assert!(bench.look().await);
    assert_eq!(bench.answer("a"), Some(2));
}

#[tokio::test]
async fn a_half_copied_folder_is_broken_until_it_is_whole() {
    let bench = Bench::new();
    let folder = bench.root().join("a");
    fs::create_dir(&folder).unwrap();
    bench.look().await;
    assert!(bench.get("a").is_none(), "an empty folder is nothing yet");
    fs::write(folder.join("README.md"), "# A").unwrap();
    bench.look().await;
    assert!(bench.problem("a").unwrap().contains("no config.json"), "{:?}", bench.problem("a"));
    let whole = answering(1, 1);
    fs::write(folder.join("config.json"), &whole[..whole.len() / 2]).unwrap();
    bench.look().await;
    assert!(bench.problem("a").unwrap().starts_with("config.json:1:"), "{:?}", bench.problem("a"));
    let rest_without_code =
        json!({"title": "R", "authMethod": "none", "operations": [{"name": "a"}]}).to_string();
    fs::write(folder.join("config.json"), rest_without_code).unwrap();
    bench.look().await;
    assert!(bench.problem("a").unwrap().contains("connector.ts"), "{:?}", bench.problem("a"));
    fs::write(folder.join("config.json"), whole).unwrap();
    bench.look().await;
    assert_eq!((bench.answer("a"), bench.problem("a")), (Some(1), None));
}

#[tokio::test]
async fn an_edit_that_leaves_size_and_modification_time_alone_is_seen() {
    let bench = Bench::with_a().await;
    let modified = bench.file().metadata().unwrap().modified().unwrap();
    fs::write(bench.file(), answering(1, 2)).unwrap();
    File::options().write(true).open(bench.file()).unwrap().set_modified(modified).unwrap();
    assert!(bench.look().await);
    assert_eq!(bench.answer("a"), Some(2));
}

#[tokio::test]
async fn a_touch_changes_nothing() {
    let bench = Bench::with_a().await;
    let before = bench.get("a").unwrap();
    let changes = bench.serving.changes();
    fs::write(bench.file(), answering(1, 1)).unwrap();
    assert!(!bench.look().await);
    assert!(Arc::ptr_eq(&before, &bench.get("a").unwrap()));
    assert!(!changes.has_changed().unwrap());
}

#[tokio::test]
async fn a_change_without_a_new_version_warns_and_is_served() {
    let bench = Bench::with_a().await;
    write(&bench.root(), "a", &answering(1, 2));
    bench.look().await;
    let drifted = bench.get("a").unwrap();
    assert_eq!((answer(&drifted), drifted.problem.clone()), (Some(2), None));
    let [warning] = drifted.warnings.as_slice() else { panic!("{:?}", drifted.warnings) };
    assert_eq!(
        warning.to_string().lines().next().unwrap(),
        "config.json:1:1: warning: /version: is still 1 though the operations changed: operation \"ask\" has another query"
    );

    write(&bench.root(), "a", &answering(2, 3));
    bench.look().await;
    assert!(bench.get("a").unwrap().warnings.is_empty(), "a new version may change");
}

#[tokio::test]
async fn of_a_thousand_folders_only_the_edited_one_is_loaded_again() {
    let bench = Bench::new();
    for i in 0..1000 {
        write(&bench.root(), &format!("i{i}"), &answering(1, i));
    }
    assert!(bench.look().await);
    let all = || (0..1000).map(|i| bench.get(&format!("i{i}")).unwrap()).collect::<Vec<_>>();
    let before = all();
    assert!(before.iter().zip(0..).all(|(integration, i)| answer(integration) == Some(i)));

    write(&bench.root(), "i500", &answering(2, 77_777));
    assert!(bench.look().await);
    let after = all();
    let reloaded: Vec<usize> = (0..1000).filter(|&i| !Arc::ptr_eq(&before[i], &after[i])).collect();
    assert_eq!(reloaded, [500]);
    assert_eq!(answer(&after[500]), Some(77_777));
}

#[tokio::test]
async fn what_is_no_integration_is_left_alone() {
    let bench = Bench::new();
    for name in [".git", ".hidden", "My Folder", "UPPER", "a--b"] {
        write(&bench.root(), name, &answering(1, 1));
    }
    fs::write(bench.root().join("README.md"), "# Integrations").unwrap();
    fs::write(bench.root().join("zip"), "PK").unwrap();
    assert!(!bench.look().await);
    for name in [".git", "My Folder", "UPPER", "a--b", "README.md", "zip"] {
        assert!(bench.get(name).is_none(), "{name}");
    }
}

#[tokio::test]
async fn a_link_to_a_folder_is_one_and_a_link_in_a_folder_is_refused() {
    let bench = Bench::new();
    write(bench.parent.path(), "elsewhere", &answering(1, 1));
    symlink(bench.parent.path().join("elsewhere"), bench.root().join("linked")).unwrap();
    symlink("/nowhere", bench.root().join("dangling")).unwrap();
    fs::create_dir(bench.root().join("inner")).unwrap();
    symlink(bench.parent.path().join("elsewhere/config.json"), bench.root().join("inner/config.json"))
        .unwrap();
    bench.look().await;
    assert_eq!(bench.answer("linked"), Some(1));
    assert!(bench.get("dangling").is_none());
    assert!(bench.problem("inner").unwrap().contains("a symbolic link"), "{:?}", bench.problem("inner"));
    write(bench.parent.path(), "elsewhere", &answering(2, 2));
    bench.look().await;
    assert_eq!(bench.answer("linked"), Some(2));
}

#[tokio::test]
async fn the_root_may_go_and_come_back() {
    let bench = Bench::with_a().await;
    fs::remove_dir_all(bench.root()).unwrap();
    assert!(bench.look().await);
    assert!(bench.get("a").is_none());
    write(&bench.root(), "b", &answering(1, 1));
    assert!(bench.look().await);
    assert_eq!(bench.answer("b"), Some(1));
}

#[tokio::test]
async fn a_root_that_cant_be_read_takes_nothing_away() {
    let bench = Bench::with_a().await;
    fs::rename(bench.root(), bench.parent.path().join("kept")).unwrap();
    fs::write(bench.root(), "a file in its place").unwrap();
    assert!(!bench.look().await);
    assert_eq!(bench.answer("a"), Some(1));
}

#[tokio::test]
async fn a_folder_that_is_written_all_the_time_ends_as_it_was_written_last() {
    let bench = Bench::with_a().await;
    let file = bench.file();
    let writer = tokio::task::spawn_blocking(move || {
        for i in 1..=200 {
            write_whole(&file, &answering(i, i));
        }
    });
    while !writer.is_finished() {
        bench.look().await;
    }
    writer.await.unwrap();
    bench.look().await;
    assert_eq!((bench.answer("a"), bench.problem("a")), (Some(200), None));
}

#[tokio::test]
async fn a_list_is_by_slug() {
    let bench = Bench::new();
    for slug in ["b", "a-b", "a", "a1"] {
        write(&bench.root(), slug, &manifest(1, json!([{"name": "ask", "query": "SELECT 1"}])));
    }
    bench.look().await;
    let view = bench.serving.set_uploads(crate::identity::ProjectId(uuid::Uuid::nil()), 0, Vec::new());
    let slugs: Vec<_> = view.list().iter().map(|integration| integration.slug.to_string()).collect();
    assert_eq!(slugs, ["a", "a-b", "a1", "b"]);
}

fn write_whole(path: &Path, text: &str) {
    let part = path.with_extension("part");
    fs::write(&part, text).unwrap();
    fs::rename(part, path).unwrap();
}
