//! Live reload end to end: real folders, real events, and what the registry serves in the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::watches::Watches;
use super::{Reload, follow, watch};
use crate::identity::ProjectId;
use crate::integrations::Registry;
use crate::integrations::testing::{answering, engine, write};
use crate::store::{DatabaseUrl, Store};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A watched folder of integrations.
struct Bench {
    parent: TempDir,
    project: ProjectId,
    registry: Arc<Registry>,
    _reload: Reload,
}

impl Bench {
    async fn new(watch: impl FnOnce(&Path, Arc<Registry>) -> Reload) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let store = Store::open(&DatabaseUrl::Sqlite(parent.path().join("portcullis.db"))).await.unwrap();
        let project = store.create_project("default").await.unwrap().id;
        let root = parent.path().join("integrations");
        fs::create_dir(&root).unwrap();
        let registry = Registry::new(engine(), store, Some(root.clone()));
        let reload = watch(&root, Arc::clone(&registry));
        Self { parent, project, registry, _reload: reload }
    }

    fn root(&self) -> PathBuf {
        self.parent.path().join("integrations")
    }

    async fn answer(&self, slug: &str) -> Option<u64> {
        let found = self.registry.integration(self.project, slug).await.unwrap()?;
        let connector = &found.served.as_ref()?.connector;
        connector.declared_operations()[0].query.as_ref()?.text().strip_prefix("SELECT ")?.parse().ok()
    }

    /// Waits until the integration answers that, and looks only when a change was counted.
    async fn until(&self, slug: &str, expected: Option<u64>) {
        let mut changes = self.registry.changes();
        let waiting = async {
            while self.answer(slug).await != expected {
                changes.changed().await.unwrap();
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{slug} never answers {expected:?}"));
        // What is changed next is then not found by the look that found this.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_served_as_they_come_change_and_go() {
    let bench = Bench::new(watch).await;
    write(&bench.root(), "a", &answering(1, 1));
    bench.until("a", Some(1)).await;
    write(&bench.root(), "a", &answering(2, 2));
    bench.until("a", Some(2)).await;
    let part = bench.root().join("a/.config.json.part");
    fs::write(&part, answering(3, 3)).unwrap();
    fs::rename(part, bench.root().join("a/config.json")).unwrap();
    bench.until("a", Some(3)).await;
    fs::remove_dir_all(bench.root().join("a")).unwrap();
    bench.until("a", None).await;
    write(&bench.root(), "a", &answering(4, 4));
    bench.until("a", Some(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_moved_is_watched_where_it_stands() {
    let bench = Bench::new(watch).await;
    let (a, b, away) = (bench.root().join("a"), bench.root().join("b"), bench.parent.path().join("away"));
    write(&bench.root(), "a", &answering(1, 1));
    bench.until("a", Some(1)).await;
    // There and back: the folder is the same, the watch on it was lost on the way.
    fs::rename(&a, &away).unwrap();
    fs::rename(&away, &a).unwrap();
    write(&bench.root(), "a", &answering(2, 2));
    bench.until("a", Some(2)).await;
    write(&bench.root(), "a", &answering(3, 3));
    bench.until("a", Some(3)).await;
    // Swapped for another.
    write(bench.parent.path(), "new", &answering(4, 4));
    fs::rename(&a, &away).unwrap();
    fs::rename(bench.parent.path().join("new"), &a).unwrap();
    bench.until("a", Some(4)).await;
    write(&bench.root(), "a", &answering(5, 5));
    bench.until("a", Some(5)).await;
    fs::rename(&a, &b).unwrap();
    bench.until("a", None).await;
    bench.until("b", Some(5)).await;
    write(&bench.root(), "b", &answering(6, 6));
    bench.until("b", Some(6)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_the_roots_place_is_watched() {
    let bench = Bench::new(watch).await;
    write(&bench.root(), "a", &answering(1, 1));
    bench.until("a", Some(1)).await;
    fs::remove_dir_all(bench.root()).unwrap();
    bench.until("a", None).await;
    write(&bench.root(), "a", &answering(2, 2));
    bench.until("a", Some(2)).await;
    let next = bench.parent.path().join("next");
    write(&next, "a", &answering(3, 3));
    fs::rename(bench.root(), bench.parent.path().join("old")).unwrap();
    fs::rename(&next, bench.root()).unwrap();
    bench.until("a", Some(3)).await;
    write(&bench.root(), "a", &answering(4, 4));
    bench.until("a", Some(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_a_link_is_looked_at() {
    let bench = Bench::new(watch).await;
    write(bench.parent.path(), "v1", &answering(1, 1));
    write(bench.parent.path(), "v2", &answering(2, 2));
    let (link, current) = (bench.root().join("a"), bench.parent.path().join("current"));
    std::os::unix::fs::symlink("v1", &current).unwrap();
    std::os::unix::fs::symlink(&current, &link).unwrap();
    bench.until("a", Some(1)).await;
    fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink("v2", &current).unwrap();
    bench.until("a", Some(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_events_the_folder_is_looked_at_again_and_again() {
    let bench = Bench::new(|root, registry| {
        let touched = Arc::new(Notify::new());
        let watches = Watches::without_events(root, Arc::clone(&touched));
        Reload { task: tokio::spawn(follow(watches, touched, registry)) }
    })
    .await;
    for answer in 1..4 {
        write(&bench.root(), "a", &answering(answer, answer));
        bench.until("a", Some(answer)).await;
    }
    fs::remove_dir_all(bench.root().join("a")).unwrap();
    bench.until("a", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_ends_with_its_owner() {
    let Bench { parent: _parent, registry, _reload: reload, .. } = Bench::new(watch).await;
    let registry = {
        let weak = Arc::downgrade(&registry);
        drop(registry);
        weak
    };
    drop(reload);
    let ended = async {
        while registry.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("nothing holds the registry any more");
}

#[test]
fn looking_is_no_reason_to_look_again() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a", "{}");
    let touched = Arc::new(Notify::new());
    let watches = Watches::new(folder.path(), Arc::clone(&touched)).renewed();
    assert!(!watches.must_poll() && !watches.is_outdated());
    for _ in 0..3 {
        fs::read_dir(folder.path().join("a")).unwrap().for_each(drop);
        fs::read(folder.path().join("a/config.json")).unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(futures_util::FutureExt::now_or_never(touched.notified()).is_none());
}
