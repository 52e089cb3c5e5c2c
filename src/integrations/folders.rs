//! The integrations in folders: what is known of each, and what a new look at them changes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portcullis_runtime::manifest::name::Slug;
use portcullis_runtime::package::{Fingerprint, MANIFEST_FILE};
use portcullis_runtime::{Diagnostic, Engine, Severity};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::drift::drift;
use super::loader::{Lane, Loader, serve};
use super::problem::{Fault, NotLoaded};
use super::scan::{Found, Listing, Reading, list, read};
use super::serving::Serving;
use super::{Integration, Problem, Served, Source};
use crate::time::Timestamp;

/// How often one folder is loaded in one look because it changed while it was loaded.
const MAX_LOADS: usize = 4;
/// How many folders are loaded before the next are chosen: somebody's edit needn't wait for a thousand folders that were
/// copied in before it.
const BATCH: usize = 128;
/// Many folders are served as they are loaded, not all at the end; no more often than this.
const PUBLISH_EVERY: Duration = Duration::from_millis(50);

/// The folder of integrations.
pub(super) struct Folders {
    root: PathBuf,
    /// Held for a whole look, so that looks follow one another.
    known: Mutex<Known>,
}

/// What the last look found.
#[derive(Default)]
struct Known {
    entries: BTreeMap<Slug, Entry>,
    /// Folders whose name is no slug, as the log says already.
    misnamed: BTreeSet<PathBuf>,
    /// Whether the log says already that the root can't be read.
    is_unreadable: bool,
}

/// What is known of one folder.
struct Entry {
    /// The folder as it was read.
    fingerprint: Fingerprint,
    /// Whether an equal fingerprint means that the folder needn't be read again.
    is_settled: bool,
    /// What was read; none if it is to be loaded again in any case.
    contents: Option<Contents>,
    integration: Arc<Integration>,
}

/// What a folder's new contents are compared with.
struct Before {
    contents: Option<Contents>,
    served: Option<Contents>,
}

/// What stood in a folder; equal ones load alike.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Contents {
    /// A package with this digest.
    Package(String),
    /// None, for this reason.
    Unreadable(String),
}

/// A folder that was read because it is new or may have changed.
struct Examined {
    slug: Slug,
    path: PathBuf,
    fingerprint: Fingerprint,
    is_settled: bool,
    contents: Option<Contents>,
    finding: Finding,
}

enum Finding {
    /// The same as the last time.
    Same,
    /// The version that is served already, after others that weren't good.
    Restored,
    Loaded(Arc<Served>),
    Failed(NotLoaded),
}

impl Folders {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, known: Mutex::default() }
    }

    /// Looks at all folders, loads what is new or changed, and serves it. True if anything is served otherwise than before.
    pub(super) async fn rescan(&self, loader: &Arc<Loader>, serving: &Serving) -> bool {
        let mut known = self.known.lock().await;
        let mut has_changed = false;
        let mut n_loads = BTreeMap::new();
        loop {
            let root = self.root.clone();
            let listing = match loader.run(Lane::Folders, move |_| list(&root)).await {
                Ok(Ok(listing)) => listing,
                Ok(Err(error)) => {
                    known.report_unreadable(&self.root, &error);
                    return has_changed;
                }
                Err(_) => return has_changed,
            };
            known.is_unreadable = false;
            known.report_misnamed(&listing);
            known.forget_all_but(&listing);
            has_changed |= known.publish(serving);
            let stale = known.stale(listing, &n_loads);
            if stale.is_empty() {
                return has_changed;
            }
            for (slug, _) in &stale {
                *n_loads.entry(slug.clone()).or_default() += 1;
            }
            has_changed |= known.load(stale, loader, serving).await;
        }
    }
}

impl Known {
    fn report_unreadable(&mut self, root: &Path, error: &std::io::Error) {
        if !self.is_unreadable {
            tracing::error!(folder = ?root, %error, "the integrations can't be read; those loaded stay as they are");
        }
        self.is_unreadable = true;
    }

    fn report_misnamed(&mut self, listing: &Listing) {
        for path in listing.misnamed.difference(&self.misnamed) {
            tracing::warn!(
                folder = ?path,
                "not served: a folder's name is its slug, 1 to 40 lower-case letters and digits with single `_` or `-` between; rename it"
            );
        }
        self.misnamed.clone_from(&listing.misnamed);
    }

    fn forget_all_but(&mut self, listing: &Listing) {
        self.entries.retain(|slug, _| {
            let stays = listing.folders.contains_key(slug);
            if !stays {
                tracing::info!(integration = slug.as_str(), "its folder is gone: no longer served");
            }
            stays
        });
    }

    /// Some of the folders that are to be read: those changed last. `n_loads` counts what was loaded in this look already;
    /// what has not settled is read once in each.
    fn stale(&self, listing: Listing, n_loads: &BTreeMap<Slug, usize>) -> Vec<(Slug, Found)> {
        let is_stale = |slug: &Slug, found: &Found| {
            let n_loads = n_loads.get(slug).copied().unwrap_or_default();
            match self.entries.get(slug) {
                Some(entry) if entry.fingerprint == found.fingerprint => !entry.is_settled && n_loads == 0,
                _ => n_loads < MAX_LOADS,
            }
        };
        let mut stale: Vec<_> =
            listing.folders.into_iter().filter(|(slug, found)| is_stale(slug, found)).collect();
        stale.sort_by_key(|(_, found)| Reverse(found.fingerprint.changed_at()));
        stale.truncate(BATCH);
        stale
    }

    /// Reads and loads these folders, some at a time, and serves them.
    async fn load(&mut self, stale: Vec<(Slug, Found)>, loader: &Arc<Loader>, serving: &Serving) -> bool {
        let mut loads = JoinSet::new();
        for (slug, found) in stale {
            let before = self.entries.get(&slug).map(Entry::before);
            let loader = Arc::clone(loader);
            loads.spawn(async move {
                let (broken_slug, broken_found) = (slug.clone(), found.path.clone());
                let work = move |engine: &Engine| examine(engine, slug, found.path, before);
                match loader.run(Lane::Folders, work).await {
                    Ok(examined) => examined,
                    Err(failure) => Examined::panicked(broken_slug, broken_found, failure),
                }
            });
        }
        let (mut has_changed, mut published) = (false, Instant::now());
        while let Some(loaded) = loads.join_next().await {
            match loaded {
                Ok(examined) => self.take(examined),
                Err(error) => tracing::error!(%error, "a folder of integrations was not loaded"),
            }
            if published.elapsed() >= PUBLISH_EVERY {
                has_changed |= self.publish(serving);
                published = Instant::now();
            }
        }
        self.publish(serving) || has_changed
    }

    fn take(&mut self, examined: Examined) {
        let Examined { slug, path, fingerprint, is_settled, contents, finding } = examined;
        let before = self.entries.get(&slug).map(|entry| Arc::clone(&entry.integration));
        let changed_at = timestamp(fingerprint.changed_at());
        let integration = match (finding, before) {
            (Finding::Same, Some(before)) => before,
            (Finding::Restored, Some(before)) => {
                tracing::info!(integration = slug.as_str(), "repaired: as it was served all along");
                Arc::new(Integration { problem: None, ..(*before).clone() })
            }
            (Finding::Loaded(served), before) => {
                Arc::new(loaded(&slug, path, served, before.as_deref(), changed_at))
            }
            (Finding::Failed(failure), before) => {
                Arc::new(failed(&slug, path, failure.problem, before.as_deref(), changed_at))
            }
            // Only what was known before can be the same.
            (Finding::Same | Finding::Restored, None) => return,
        };
        self.entries.insert(slug, Entry { fingerprint, is_settled, contents, integration });
    }

    fn publish(&self, serving: &Serving) -> bool {
        serving.set_folders(self.entries.iter().map(|(slug, entry)| (slug, &entry.integration)))
    }
}

impl Entry {
    fn before(&self) -> Before {
        let served = self.integration.served.as_ref();
        let digest = served.map(|served| served.connector.digest().to_owned());
        Before { contents: self.contents.clone(), served: digest.map(Contents::Package) }
    }
}

impl Examined {
    fn panicked(slug: Slug, path: PathBuf, failure: NotLoaded) -> Self {
        let (fingerprint, finding) = (Fingerprint::default(), Finding::Failed(failure));
        Self { slug, path, fingerprint, is_settled: false, contents: None, finding }
    }
}

/// Reads a folder, and loads its package unless it is what was read or is served already. Blocks.
fn examine(engine: &Engine, slug: Slug, path: PathBuf, before: Option<Before>) -> Examined {
    let Reading { package, fingerprint, is_settled } = read(&path);
    let (contents, package) = match package {
        Ok(package) => (Contents::Package(package.digest()), Ok(package)),
        Err(error) => {
            let failure = NotLoaded::from(error);
            (Contents::Unreadable(failure.problem.message.clone()), Err(failure))
        }
    };
    let is_what = |known: fn(&Before) -> &Option<Contents>| {
        before.as_ref().is_some_and(|before| known(before).as_ref() == Some(&contents))
    };
    let finding = if is_what(|before| &before.contents) {
        Finding::Same
    } else if is_what(|before| &before.served) {
        Finding::Restored
    } else {
        match package.and_then(|package| Ok(serve(engine, package)?)) {
            Ok(served) => Finding::Loaded(served),
            Err(failure) => Finding::Failed(failure),
        }
    };
    let failed_here = matches!(&finding, Finding::Failed(NotLoaded { fault: Fault::Sandbox, .. }));
    Examined {
        slug,
        path,
        fingerprint,
        is_settled: is_settled && !failed_here,
        contents: (!failed_here).then_some(contents),
        finding,
    }
}

fn loaded(
    slug: &Slug,
    path: PathBuf,
    served: Arc<Served>,
    before: Option<&Integration>,
    updated_at: Timestamp,
) -> Integration {
    let version = served.connector.manifest().version;
    let mut warnings = served.connector.warnings().to_vec();
    let old = before.and_then(|before| before.served.as_ref());
    if let Some(what) = old.and_then(|old| drift(&old.connector, &served.connector)) {
        tracing::warn!(integration = slug.as_str(), version, "changed without a new version: {what}");
        warnings.push(drift_warning(version, &what));
    }
    tracing::info!(integration = slug.as_str(), version, n_warnings = warnings.len(), "loaded");
    Integration {
        slug: slug.clone(),
        source: Source::Folder(path),
        served: Some(served),
        problem: None,
        warnings,
        updated_at,
    }
}

fn failed(
    slug: &Slug,
    path: PathBuf,
    problem: Problem,
    before: Option<&Integration>,
    updated_at: Timestamp,
) -> Integration {
    let served = before.and_then(|before| before.served.clone());
    let consequence = if served.is_some() { "the last good version stays" } else { "not served" };
    tracing::warn!(integration = slug.as_str(), problem = problem.message, "broken: {consequence}");
    let (warnings, updated_at) = match before {
        Some(before) if served.is_some() => (before.warnings.clone(), before.updated_at),
        _ => (Vec::new(), updated_at),
    };
    Integration {
        slug: slug.clone(),
        source: Source::Folder(path),
        served,
        problem: Some(problem),
        warnings,
        updated_at,
    }
}

fn drift_warning(version: u64, what: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        file: MANIFEST_FILE.to_owned(),
        pointer: "/version".to_owned(),
        line: 1,
        column: 1,
        message: format!("is still {version} though the operations changed: {what}"),
        help: Some(format!("set \"version\" to {}", version.saturating_add(1))),
    }
}

fn timestamp(time: Option<SystemTime>) -> Timestamp {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or_else(Timestamp::now, |since| Timestamp(0).plus(since))
}
