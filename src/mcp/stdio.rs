//! MCP on standard input and output: one client, which started this program and ends it by closing its input.

use rmcp::ServiceExt as _;
use rmcp::service::ServerInitializeError;
use tokio_util::sync::CancellationToken;

use super::folder::FolderTools;
use super::pages::Pages;
use super::server::{Line, Listing, McpServer, McpSettings};

/// Serves a folder's tools until the client closes standard input. An error is in words.
pub(crate) async fn serve(tools: FolderTools, settings: McpSettings) -> Result<(), String> {
    let ended = CancellationToken::new();
    let line = Line {
        caller: (),
        listing: Listing::default(),
        session: None,
        ended: ended.clone(),
        gone: ended.child_token(),
    };
    let _ending = ended.drop_guard();
    let server = McpServer::new(tools, settings, Pages::default(), Some(line));
    match server.serve(rmcp::transport::stdio()).await {
        Ok(running) => running.waiting().await.map(drop).map_err(|error| error.to_string()),
        // A client that goes before it says anything wants nothing.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
