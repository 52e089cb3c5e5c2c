//! Telling clients that their list of tools has changed: only when what they would be shown differs from what they know.

use std::sync::PoisonError;
use std::time::Duration;

use rmcp::service::{Peer, SubscriptionSink};
use rmcp::{ErrorData, RoleServer};

use super::server::{Line, McpServer};
use super::toolbox::{Changes, Toolbox};

/// How long changes are gathered before a list is looked at.
const GATHER: Duration = Duration::from_millis(50);

impl<T: Toolbox> McpServer<T> {
    /// Tells a session's client until the session ends. Returns at once.
    pub(super) async fn tell_of_changes(&self, line: Line<T::Caller>, peer: Peer<RoleServer>) {
        // Subscribed before the list is looked at, so that nothing falls in between.
        let mut changes = self.all_changes();
        let known = self.known.clone();
        if let Ok(listed) = self.listed(&line).await {
            known.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(listed.digest());
        }
        let server = self.again(&line);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = line.ended.cancelled() => return,
                    () = changes.next() => {}
                }
                tokio::time::sleep(GATHER).await;
                // A store that is away for a moment changes nothing; what comes after it is another change.
                let Ok(listed) = server.listed(&line).await else { continue };
                let now = Some(listed.digest());
                let before =
                    std::mem::replace(&mut *known.lock().unwrap_or_else(PoisonError::into_inner), now);
                if before != now && peer.notify_tool_list_changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Tells one that listens, for as long as it does.
    pub(super) async fn tell_listener(
        &self,
        line: &Line<T::Caller>,
        sink: &SubscriptionSink,
    ) -> Result<(), ErrorData> {
        let mut changes = self.all_changes();
        let mut before = self.listed(line).await?.digest();
        loop {
            changes.next().await;
            tokio::time::sleep(GATHER).await;
            let Ok(listed) = self.listed(line).await else { continue };
            let now = listed.digest();
            if std::mem::replace(&mut before, now) != now && sink.notify_tool_list_changed().await.is_err() {
                return Ok(());
            }
        }
    }

    fn all_changes(&self) -> Changes {
        let mut changes = self.toolbox.changes();
        changes.0.push(self.pages.changes());
        changes
    }

    /// The same server, for a task of its own.
    fn again(&self, line: &Line<T::Caller>) -> Self {
        Self::new(self.toolbox.clone(), self.settings.clone(), self.pages.clone(), Some(line.clone()))
    }
}
