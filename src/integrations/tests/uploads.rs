//! Uploads are installed whole or not at all, and served in their project alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_runtime::package::MAX_PACKAGE_BYTES;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::identity::ProjectId;
use crate::integrations::registry::{InstallError, UninstallError};
use crate::integrations::testing::{answering, engine, package, write};
use crate::integrations::upload::Upload;
use crate::integrations::{Integration, Registry, Source};
use crate::store::integrations::UploadRecord;
use crate::store::{DatabaseUrl, Store};
use crate::time::Timestamp;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A database, a folder of integrations, and a project.
struct Bench {
    parent: TempDir,
    store: Store,
    project: ProjectId,
    registry: Arc<Registry>,
}

impl Bench {
    async fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let store = open(&parent).await;
        let project = store.create_project("default").await.unwrap().id;
        let root = parent.path().join("integrations");
        let registry = Registry::new(engine(), store.clone(), Some(root));
        registry.load_all().await.unwrap();
        Self { parent, store, project, registry }
    }

    fn root(&self) -> PathBuf {
        self.parent.path().join("integrations")
    }

    /// Another process on the same database and folder.
    async fn another(&self) -> Arc<Registry> {
        Registry::new(engine(), open(&self.parent).await, Some(self.root()))
    }

    async fn install(&self, slug: &str, manifest: &str) -> Result<Arc<Integration>, InstallError> {
        self.registry.install(self.project, upload(slug, manifest), false).await
    }

    async fn get(&self, slug: &str) -> Option<Arc<Integration>> {
        self.registry.integration(self.project, slug).await.unwrap()
    }

    async fn answer(&self, slug: &str) -> Option<u64> {
        answer(&*self.get(slug).await?)
    }
}

async fn open(parent: &TempDir) -> Store {
    Store::open(&DatabaseUrl::Sqlite(parent.path().join("portcullis.db"))).await.unwrap()
}

fn upload(slug: &str, manifest: &str) -> Upload {
    Upload::Zip { bytes: package(slug, manifest).to_zip(), slug: None }
}

fn answer(integration: &Integration) -> Option<u64> {
    let connector = &integration.served.as_ref()?.connector;
    connector.declared_operations()[0].query.as_ref()?.text().strip_prefix("SELECT ")?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_served_from_the_answer_on_in_its_project() {
    let bench = Bench::new().await;
    let other = bench.store.create_project("other").await.unwrap().id;
    let mut changes = bench.registry.changes();
    changes.mark_unchanged();
    let installed = bench.install("a", &answering(1, 1)).await.unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!((installed.source.clone(), answer(&installed)), (Source::Upload, Some(1)));
    assert!(Arc::ptr_eq(&installed, &bench.get("a").await.unwrap()));
    assert_eq!(bench.registry.integrations(bench.project).await.unwrap().len(), 1);
    assert!(bench.registry.integration(other, "a").await.unwrap().is_none());
    assert!(bench.registry.integrations(other).await.unwrap().is_empty());

    let restarted = bench.another().await;
    restarted.load_all().await.unwrap();
    let found = restarted.integration(bench.project, "a").await.unwrap().unwrap();
    assert_eq!(answer(&found), Some(1));
    assert_eq!(found.served.as_ref().unwrap().package, installed.served.as_ref().unwrap().package);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_uploads_are_there_after_a_restart() {
    let bench = Bench::new().await;
    for i in 0..30 {
        bench.install(&format!("i{i}"), &answering(1, i)).await.unwrap();
    }
    let restarted = bench.another().await;
    restarted.load_all().await.unwrap();
    let found = restarted.integrations(bench.project).await.unwrap();
    let mut answers: Vec<_> = found.iter().filter_map(|integration| answer(integration)).collect();
    answers.sort_unstable();
    assert_eq!(answers, (0..30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_one_by_one_are_an_upload_as_well() {
    let bench = Bench::new().await;
    let files = vec![("config.json".to_owned(), answering(1, 1).into_bytes())];
    let upload = Upload::Files { slug: "a".parse().unwrap(), files };
    bench.registry.install(bench.project, upload, false).await.unwrap();
    assert_eq!(bench.answer("a").await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upload_changes_nothing() {
    let bench = Bench::new().await;
    bench.install("a", &answering(1, 1)).await.unwrap();
    let (before, stored) = (bench.get("a").await, bench.store.all_uploads().await.unwrap());
    let refused = bench.install("a", "{\"title\": 5}").await;
    assert!(
        matches!(&refused, Err(InstallError::Invalid { problem, is_too_large: false }) if !problem.diagnostics.is_empty()),
        "{refused:?}"
    );
    for (bytes, too_large) in [(vec![0; MAX_PACKAGE_BYTES + 1], true), (b"PK".to_vec(), false)] {
        let upload = Upload::Zip { bytes, slug: Some("a".parse().unwrap()) };
        let refused = bench.registry.install(bench.project, upload, true).await;
        assert!(
            matches!(&refused, Err(InstallError::Invalid { is_too_large, .. }) if *is_too_large == too_large),
            "{refused:?}"
        );
    }
    assert!(Arc::ptr_eq(&before.unwrap(), &bench.get("a").await.unwrap()));
    assert_eq!(bench.store.all_uploads().await.unwrap(), stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_operations_need_a_new_version_or_force() {
    let bench = Bench::new().await;
    bench.install("a", &answering(3, 1)).await.unwrap();
    for version in [3, 2] {
        let refused = bench.install("a", &answering(version, 2)).await.unwrap_err();
        let InstallError::Drift(message) = &refused else { panic!("{refused:?}") };
        assert!(message.contains("operation \"ask\" has another query"), "{message}");
        assert!(message.contains("above 3"), "{message}");
        assert_eq!(bench.answer("a").await, Some(1));
    }
    bench.install("a", &answering(2, 1)).await.expect("the same operations may have any version");
    bench.registry.install(bench.project, upload("a", &answering(2, 2)), true).await.unwrap();
    assert_eq!(bench.answer("a").await, Some(2));
    bench.install("a", &answering(3, 3)).await.unwrap();
    assert_eq!(bench.answer("a").await, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_told_against_what_another_process_stored() {
    let bench = Bench::new().await;
    let other = bench.another().await;
    other.install(bench.project, upload("a", &answering(3, 1)), false).await.unwrap();
    let refused = bench.install("a", &answering(3, 2)).await;
    assert!(matches!(refused, Err(InstallError::Drift(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_package_again_is_no_change() {
    let bench = Bench::new().await;
    let first = bench.install("a", &answering(1, 1)).await.unwrap();
    let (epoch, mut changes) = (bench.store.epoch(), bench.registry.changes());
    changes.mark_unchanged();
    let second = bench.install("a", &answering(1, 1)).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(bench.store.epoch(), epoch);
    assert!(!changes.has_changed().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_at_once_dont_mix() {
    let bench = Bench::new().await;
    let other = bench.another().await;
    let uploads = (1..=24).map(|version| {
        let registry = if version % 2 == 0 { &bench.registry } else { &other };
        let (registry, project) = (Arc::clone(registry), bench.project);
        tokio::spawn(async move {
            let installed = registry.install(project, upload("a", &answering(version, version)), false).await;
            match installed {
                Ok(integration) => Some((version, answer(&integration))),
                Err(InstallError::Drift(_)) => None,
                Err(error) => panic!("{version}: {error:?}"),
            }
        })
    });
    let mut installed = Vec::new();
    for upload in uploads.collect::<Vec<_>>() {
        installed.extend(upload.await.unwrap());
    }
    assert!(installed.iter().all(|(version, answer)| Some(*version) == *answer), "{installed:?}");
    assert!(installed.iter().any(|(version, _)| *version == 24), "the newest version is never refused");
    let record = bench.store.all_uploads().await.unwrap().remove(0);
    let (digest, zip) = bench.store.upload_package(bench.project, &record.slug).await.unwrap().unwrap();
    let stored = portcullis_runtime::Package::from_zip(&zip, None).unwrap();
    assert_eq!((record.version, record.digest.as_str()), (24, digest.as_str()));
    assert_eq!((stored.manifest(), stored.digest()), (answering(24, 24).as_str(), digest));
    assert_eq!(bench.answer("a").await, Some(24));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_onto_a_folders_slug_is_refused() {
    let bench = Bench::new().await;
    write(&bench.root(), "a", &answering(1, 1));
    bench.registry.rescan().await;
    let refused = bench.install("a", &answering(2, 2)).await.unwrap_err();
    assert!(
        matches!(&refused, InstallError::Clash(message) if message.contains("integrations/a")),
        "{refused:?}"
    );
    assert!(bench.store.all_uploads().await.unwrap().is_empty());
    let refused = bench.registry.uninstall(bench.project, "a").await;
    assert!(
        matches!(&refused, Err(UninstallError::Folder(message)) if message.contains("integrations/a")),
        "{refused:?}"
    );
    assert_eq!(bench.answer("a").await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_comes_later_doesnt_replace_an_upload() {
    let bench = Bench::new().await;
    let other = bench.store.create_project("other").await.unwrap().id;
    bench.install("a", &answering(1, 1)).await.unwrap();
    write(&bench.root(), "a", &answering(1, 2));
    assert!(bench.registry.rescan().await);
    let upload = bench.get("a").await.unwrap();
    assert_eq!((upload.source.clone(), answer(&upload)), (Source::Upload, Some(1)));
    let problem = upload.problem.clone().unwrap();
    assert!(problem.message.contains("integrations/a"), "{}", problem.message);
    assert_eq!(bench.registry.integrations(bench.project).await.unwrap().len(), 1);
    let folder = bench.registry.integration(other, "a").await.unwrap().unwrap();
    assert_eq!((answer(&folder), folder.problem.clone()), (Some(2), None), "others get the folder's");

    bench.registry.uninstall(bench.project, "a").await.unwrap();
    assert_eq!(bench.answer("a").await, Some(2), "without the upload the folder's is served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clash_ends_with_the_folder() {
    let bench = Bench::new().await;
    let installed = bench.install("a", &answering(1, 1)).await.unwrap();
    write(&bench.root(), "a", &answering(1, 2));
    bench.registry.rescan().await;
    std::fs::remove_dir_all(bench.root().join("a")).unwrap();
    bench.registry.rescan().await;
    let after = bench.get("a").await.unwrap();
    assert_eq!(after.problem, None);
    assert!(Arc::ptr_eq(after.served.as_ref().unwrap(), installed.served.as_ref().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_is_gone_and_held_versions_stay() {
    let bench = Bench::new().await;
    let held = bench.install("a", &answering(1, 1)).await.unwrap();
    bench.registry.uninstall(bench.project, "a").await.unwrap();
    assert!(bench.get("a").await.is_none());
    assert_eq!(answer(&held), Some(1));
    for slug in ["a", "never", "No Slug"] {
        let missing = bench.registry.uninstall(bench.project, slug).await;
        assert!(matches!(missing, Err(UninstallError::NotFound(_))), "{slug}: {missing:?}");
    }
    let weak = Arc::downgrade(held.served.as_ref().unwrap());
    drop(held);
    assert!(weak.upgrade().is_none(), "nothing keeps a version that nobody uses");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_processes_uploads_are_counted_and_served() {
    let bench = Bench::new().await;
    let other = bench.another().await;
    let mut changes = bench.registry.changes();
    assert!(bench.get("a").await.is_none());

    other.install(bench.project, upload("a", &answering(1, 1)), false).await.unwrap();
    wait_for(&mut changes, || bench.answer("a"), Some(1)).await;
    other.install(bench.project, upload("a", &answering(2, 2)), false).await.unwrap();
    wait_for(&mut changes, || bench.answer("a"), Some(2)).await;
    other.uninstall(bench.project, "a").await.unwrap();
    wait_for(&mut changes, || bench.answer("a"), None).await;
}

/// Waits until what is asked for is the answer, and asks only when a change was counted.
async fn wait_for<F: Future<Output = Option<u64>>>(
    changes: &mut watch::Receiver<u64>,
    ask: impl Fn() -> F,
    expected: Option<u64>,
) {
    let waiting = async {
        loop {
            changes.changed().await.unwrap();
            if ask().await == expected {
                return;
            }
        }
    };
    timeout(PATIENCE, waiting).await.expect("the change is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_at_once_load_an_upload_once() {
    let bench = Bench::new().await;
    bench.install("a", &answering(1, 1)).await.unwrap();
    let fresh = bench.another().await;
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let (fresh, project) = (Arc::clone(&fresh), bench.project);
            tokio::spawn(async move { fresh.integration(project, "a").await.unwrap().unwrap() })
        })
        .collect();
    let mut found = Vec::new();
    for asked in asked {
        found.push(asked.await.unwrap());
    }
    let first = found[0].served.as_ref().unwrap();
    assert!(found.iter().all(|found| Arc::ptr_eq(found.served.as_ref().unwrap(), first)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_no_longer_loads_says_why_and_can_be_replaced() {
    let bench = Bench::new().await;
    bench.install("good", &answering(1, 1)).await.unwrap();
    let bad = package("a", "{\"title\": 5}");
    let now = Timestamp::now();
    let record = UploadRecord {
        project: bench.project,
        slug: "a".parse().unwrap(),
        version: 1,
        digest: bad.digest(),
        created_at: now,
        updated_at: now,
    };
    assert!(bench.store.put_upload(&record, &bad.to_zip(), None).await.unwrap());
    let broken = bench.get("a").await.unwrap();
    assert!(broken.served.is_none());
    let problem = broken.problem.clone().unwrap();
    assert!(problem.diagnostics.iter().any(|found| found.pointer == "/title"), "{problem:?}");
    assert_eq!(bench.answer("good").await, Some(1));
    bench.install("a", &answering(1, 2)).await.unwrap();
    assert_eq!(bench.answer("a").await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_writes_leave_what_is_served_as_it_is() {
    let bench = Bench::new().await;
    write(&bench.root(), "b", &answering(1, 1));
    bench.registry.rescan().await;
    let installed = bench.install("a", &answering(1, 1)).await.unwrap();
    let list = bench.registry.integrations(bench.project).await.unwrap();
    let mut changes = bench.registry.changes();
    changes.mark_unchanged();
    let epoch = bench.store.epoch();
    bench.store.create_project("another").await.unwrap();
    assert_ne!(bench.store.epoch(), epoch, "that was a write of configuration");
    assert!(Arc::ptr_eq(&installed, &bench.get("a").await.unwrap()));
    assert!(Arc::ptr_eq(&list, &bench.registry.integrations(bench.project).await.unwrap()));
    assert!(!changes.has_changed().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn checking_tells_everything_and_changes_nothing() {
    let bench = Bench::new().await;
    let good = bench.registry.check(upload("a", &answering(1, 1))).await.unwrap();
    assert_eq!((good.valid, good.slug.as_deref(), good.problem), (true, Some("a"), None));
    let bad = bench.registry.check(upload("a", "{\"title\": 5}")).await.unwrap();
    assert_eq!((bad.valid, bad.slug.as_deref()), (false, Some("a")));
    assert!(bad.problem.unwrap().diagnostics.len() > 1);
    let none = bench.registry.check(Upload::Zip { bytes: b"PK".to_vec(), slug: None }).await.unwrap();
    assert_eq!((none.valid, none.slug), (false, None));
    assert!(bench.get("a").await.is_none());
    assert!(bench.store.all_uploads().await.unwrap().is_empty());
}

/// Not a test of time: it prints what finding an integration costs, for whoever runs it with `--no-capture`.
#[tokio::test(flavor = "multi_thread")]
async fn finding_an_integration_asks_nobody() {
    let bench = Bench::new().await;
    bench.install("a", &answering(1, 1)).await.unwrap();
    bench.get("a").await;
    let started = Instant::now();
    const N: u32 = 10_000;
    for _ in 0..N {
        let found = bench.registry.integration(bench.project, "a");
        assert!(futures_util::FutureExt::now_or_never(found).is_some(), "it is known, so nothing is awaited");
    }
    println!("{:?} each", started.elapsed() / N);
}
