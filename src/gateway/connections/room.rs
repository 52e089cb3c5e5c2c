//! Room for tests of connections, so that they can't starve the machine, nor one project's the others'.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::GatewayError;
use crate::identity::ProjectId;

/// Tests under way at once, of all projects. Each has a thread of its own, which the server's runtime has beside those of
/// calls.
const MAX_TESTS: usize = 32;
/// Tests under way at once, of one project.
const MAX_TESTS_PER_PROJECT: usize = 8;

/// The process's room.
pub(super) static ROOM: LazyLock<TestRoom> = LazyLock::new(TestRoom::default);

/// Room for tests.
pub(super) struct TestRoom {
    all: Arc<Semaphore>,
    projects: Mutex<HashMap<ProjectId, Arc<Semaphore>>>,
}

/// A test's place; free again once this is dropped.
pub(super) struct Place {
    _of_project: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Default for TestRoom {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(MAX_TESTS)), projects: Mutex::default() }
    }
}

impl TestRoom {
    /// Waits for a place, for so long at most.
    pub(super) async fn enter(&self, project: ProjectId, patience: Duration) -> Result<Place, GatewayError> {
        let of_project = self.of_project(project);
        let places = async {
            // The project's first: who waits for one of those holds up nobody else.
            let of_project = of_project.acquire_owned().await?;
            let of_all = Arc::clone(&self.all).acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>(Place { _of_project: of_project, _of_all: of_all })
        };
        match tokio::time::timeout(patience, places).await {
            Ok(Ok(place)) => Ok(place),
            // The semaphores are never closed.
            Ok(Err(_)) | Err(_) => Err(GatewayError::TooBusy {
                message: "too many connections are being tested at once: try again in a moment".to_owned(),
                retry_after: Duration::from_secs(5),
            }),
        }
    }

    fn of_project(&self, project: ProjectId) -> Arc<Semaphore> {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        // What is used is held elsewhere too: by whoever waits, or by a permit.
        projects.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        let semaphore =
            projects.entry(project).or_insert_with(|| Arc::new(Semaphore::new(MAX_TESTS_PER_PROJECT)));
        Arc::clone(semaphore)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_full_project_is_refused_and_others_are_not() {
        let room = TestRoom::default();
        let [busy, other] = [(); 2].map(|()| ProjectId(Uuid::now_v7()));
        let mut places = Vec::new();
        for _ in 0..MAX_TESTS_PER_PROJECT {
            places.push(room.enter(busy, Duration::ZERO).await.expect("room"));
        }
        assert!(matches!(room.enter(busy, Duration::ZERO).await, Err(GatewayError::TooBusy { .. })));
        drop(room.enter(other, Duration::ZERO).await.expect("room"));
        places.pop();
        places.push(room.enter(busy, Duration::ZERO).await.expect("room again"));
        places.clear();
        drop(room.enter(other, Duration::ZERO).await.expect("room"));
        assert_eq!(room.projects.lock().expect("the lock").len(), 1);
        assert_eq!(room.all.available_permits(), MAX_TESTS);
    }
}
