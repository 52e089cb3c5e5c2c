//! Streamable HTTP: the protocol's transport on the server's own routes, with sessions that belong to who began them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, SizeHint};
use rmcp::transport::streamable_http_server::session::SessionManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::gateway::{GatewayCaller, GatewayTools};
use super::pages::Pages;
use super::server::{Line, Listing, McpServer, McpSettings};
use super::sessions::{Owner, Session, Sessions};
use crate::gateway::Gateway;

/// The header that names the session.
const SESSION: &str = "mcp-session-id";
/// How long a client waits before it comes back for a stream that broke off: we ask it to.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);
/// How long a call goes on whose client went away, in case it comes back.
const GRACE: Duration = Duration::from_secs(4);
/// How often idle sessions are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Why a request isn't served, for whoever writes the answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

/// MCP over HTTP.
pub(crate) struct McpHttp {
    service: StreamableHttpService<McpServer<GatewayTools>, LocalSessionManager>,
    manager: Arc<LocalSessionManager>,
    sessions: Arc<Sessions>,
    shutdown: CancellationToken,
}

impl McpHttp {
    /// Serves the gateway's tools. At shutdown the streams that only listen end; answers still come.
    pub(crate) fn new(gateway: Gateway, settings: McpSettings, shutdown: CancellationToken) -> Self {
        let (tools, pages) = (GatewayTools::new(gateway), Pages::default());
        let mut manager = LocalSessionManager::default();
        // How long sessions live is decided here, where it is known who listens.
        manager.session_config.keep_alive = None;
        manager.session_config.sse_retry = Some(COME_BACK_AFTER);
        let manager = Arc::new(manager);
        let mut config = StreamableHttpServerConfig::default().disable_allowed_hosts();
        config.sse_retry = Some(COME_BACK_AFTER);
        // The body was read within the route's own limit.
        config.max_request_body_bytes = usize::MAX;
        let make = move || Ok(McpServer::new(tools.clone(), settings.clone(), pages.clone(), None));
        let service = StreamableHttpService::new(make, Arc::clone(&manager), config);
        Self { service, manager, sessions: Arc::default(), shutdown }
    }

    /// Begins to end idle sessions, as long as the server runs.
    pub(crate) fn keep_up(&self) {
        let (sessions, manager) = (Arc::downgrade(&self.sessions), Arc::clone(&self.manager));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(sessions) = sessions.upgrade() else { return };
                close(&manager, sessions.end_idle(Instant::now())).await;
            }
        });
    }

    /// Answers a request whose host and origin were checked.
    pub(crate) async fn handle(
        &self,
        caller: GatewayCaller,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Body>, Refusal> {
        let owner = Owner::of(&caller);
        let method = request.method().clone();
        let (id, session) = self.session(request.headers(), &owner)?;
        if let (Some(session), true) = (&session, request.headers().contains_key("last-event-id")) {
            session.n_resumed.fetch_add(1, Ordering::Relaxed);
        }
        let ended = session.as_ref().map_or_else(CancellationToken::new, |session| session.ended.clone());
        let gone = ended.child_token();
        let listing = listing(request.uri().query());
        let line = Line { caller, listing, session: id.clone(), ended, gone: gone.clone() };
        request.extensions_mut().insert(line);
        // The request's head goes along with its message; who sent it is known by now.
        request.headers_mut().remove(AUTHORIZATION);
        request.headers_mut().remove(COOKIE);
        if let (&Method::DELETE, Some(id)) = (&method, &id) {
            self.sessions.remove(id);
        }
        let response = self.service.handle(request).await.map(Body::new);
        if let (None, Some(begun)) = (&id, header(response.headers(), SESSION)) {
            let ending = self.sessions.add(begun.to_owned(), owner);
            close(&self.manager, ending).await;
        }
        let response = readable(response).await?;
        Ok(response.map(|body| self.watched(body, &method, gone, session)))
    }

    /// The session that the request names, which must be the owner's.
    fn session(
        &self,
        headers: &HeaderMap,
        owner: &Owner,
    ) -> Result<(Option<String>, Option<Arc<Session>>), Refusal> {
        let Some(id) = headers.get(SESSION) else { return Ok((None, None)) };
        let id = id.to_str().unwrap_or_default();
        let n_named = headers.get_all(SESSION).iter().count();
        match self.sessions.find(id, owner).filter(|_| n_named == 1) {
            Some(session) => Ok((Some(id.to_owned()), Some(session))),
            None => {
                let message = "there is no such session; begin one with initialize".to_owned();
                Err(Refusal { status: StatusCode::NOT_FOUND, message })
            }
        }
    }

    fn watched(
        &self,
        body: Body,
        method: &Method,
        gone: CancellationToken,
        session: Option<Arc<Session>>,
    ) -> Body {
        let listens = method == Method::GET;
        let until = listens.then(|| Box::pin(self.shutdown.clone().cancelled_owned()));
        let watch = match (listens, session) {
            (true, session) => Watch::Listening(session.inspect(|session| {
                session.n_streams.fetch_add(1, Ordering::Relaxed);
            })),
            (false, session) => Watch::Answer { gone, session, is_whole: false },
        };
        Body::new(Watched { body, until, watch })
    }
}

async fn close(manager: &LocalSessionManager, ids: Vec<String>) {
    for id in ids {
        if let Err(error) = manager.close_session(&id.as_str().into()).await {
            tracing::debug!(%error, "an MCP session was not closed");
        }
    }
}

/// Which tools the URL asks for.
fn listing(query: Option<&str>) -> Listing {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let asked = pairs.filter(|(key, _)| key == "tools").last();
    match asked.as_ref().map(|(_, value)| value.as_ref()) {
        Some("search") => Listing::Search,
        Some("all") => Listing::All,
        _ => Listing::Fitting,
    }
}

/// The answer as it is, but for errors that are plain text.
async fn readable(response: Response<Body>) -> Result<Response<Body>, Refusal> {
    let status = response.status();
    let is_json = header(response.headers(), CONTENT_TYPE.as_str())
        .is_some_and(|kind| kind.starts_with("application/json"));
    if status.is_success() || is_json {
        return Ok(response);
    }
    // These bodies are sentences that were put together in memory.
    let text =
        response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Err(Refusal { status, message: String::from_utf8_lossy(&text).into_owned() })
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// An answer's body, and who is told of its end.
struct Watched {
    body: Body,
    /// Ends the body early.
    until: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    watch: Watch,
}

enum Watch {
    /// A stream to listen to.
    Listening(Option<Arc<Session>>),
    /// A stream with an answer at its end. If it breaks off, nobody waits for the answer, unless the session's client comes back.
    Answer { gone: CancellationToken, session: Option<Arc<Session>>, is_whole: bool },
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.until.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Ready(None), Watch::Answer { is_whole, .. }) = (&polled, &mut self.watch) {
            *is_whole = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        match &self.watch {
            Watch::Listening(Some(session)) => {
                session.n_streams.fetch_sub(1, Ordering::Relaxed);
                session.touch();
            }
            Watch::Answer { gone, session, is_whole: false } if !self.body.is_end_stream() => {
                let Some(session) = session.clone() else { return gone.cancel() };
                let (gone, n_resumed) = (gone.clone(), session.n_resumed.load(Ordering::Relaxed));
                // Dropped inside the server's runtime, or with it.
                let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
                runtime.spawn(async move {
                    tokio::time::sleep(GRACE).await;
                    if session.n_resumed.load(Ordering::Relaxed) == n_resumed {
                        gone.cancel();
                    }
                });
            }
            Watch::Listening(None) | Watch::Answer { .. } => {}
        }
    }
}
