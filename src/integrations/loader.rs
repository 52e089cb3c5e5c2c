//! Loading packages: on threads that may block, and only some at a time.

use std::sync::Arc;
use std::thread::available_parallelism;

use portcullis_runtime::{Engine, LoadError, Package};
use tokio::sync::Semaphore;

use super::Served;
use super::problem::NotLoaded;

/// Who waits for a package to load. Each has room of its own, so that uploads can't hold up the operator's folders.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lane {
    /// The operator, whose folders are loaded.
    Folders,
    /// Those who upload or check, and the uploads that other processes took in.
    Uploads,
}

/// Loads packages with one engine.
pub(super) struct Loader {
    engine: Engine,
    folders: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

impl Loader {
    /// A loader that keeps to the machine's cores.
    pub(super) fn new(engine: Engine) -> Self {
        let n_cores = available_parallelism().map_or(2, usize::from);
        Self {
            engine,
            folders: Arc::new(Semaphore::new(n_cores.clamp(2, 4))),
            uploads: Arc::new(Semaphore::new(n_cores)),
        }
    }

    /// Does blocking work with the engine once there is room for it. The room is kept until the work is done, even where
    /// nobody waits for it any more.
    pub(super) async fn run<T, W>(&self, lane: Lane, work: W) -> Result<T, NotLoaded>
    where
        T: Send + 'static,
        W: FnOnce(&Engine) -> T + Send + 'static,
    {
        let room = match lane {
            Lane::Folders => &self.folders,
            Lane::Uploads => &self.uploads,
        };
        // Neither semaphore is ever closed.
        let permit = Arc::clone(room).acquire_owned().await.ok();
        let engine = self.engine.clone();
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&engine);
            drop(permit);
            done
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "loading an integration panicked");
            NotLoaded::sandbox("the program failed; its log says more")
        })
    }
}

/// Makes a connector of the package. Blocks.
pub(super) fn serve(engine: &Engine, package: Package) -> Result<Arc<Served>, LoadError> {
    let connector = engine.load(&package)?;
    Ok(Arc::new(Served { package, connector }))
}
