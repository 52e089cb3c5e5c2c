//! The server's loop: accepts connections within bounds, serves HTTP/1.1 on each, and drains at shutdown.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::extract::Peer;

/// Connections at once; more wait in the system's queue. See [`max_connections`].
const MAX_CONNECTIONS: usize = 4096;
/// File descriptors that connections leave to all else: the store, the watches, and calls, which need several each.
const RESERVED_DESCRIPTORS: u64 = 512;
/// How long a request's head may take to arrive, and how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 100;
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// What a connection may hold in memory, in bytes.
const MAX_BUFFER: usize = 128 * 1024;
/// How long a client may take none of what it is sent before its connection is closed, in milliseconds.
const SEND_TIMEOUT_MS: u32 = 30_000;
/// How long to wait after an accept that failed for want of something, such as file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);

/// Half of what the process may open beyond the reserve, so that idle connections can't keep calls from running.
fn max_connections() -> usize {
    let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current else {
        return MAX_CONNECTIONS;
    };
    let half = limit.saturating_sub(RESERVED_DESCRIPTORS) / 2;
    usize::try_from(half).unwrap_or(MAX_CONNECTIONS).clamp(16, MAX_CONNECTIONS)
}

/// Serves the router on the listener until `shutdown`; then requests in flight may end within `drain`.
pub(super) async fn run(
    listener: TcpListener,
    router: Router,
    drain: Duration,
    shutdown: &CancellationToken,
) {
    let connections = TaskTracker::new();
    let kill = CancellationToken::new();
    let room = Arc::new(Semaphore::new(max_connections()));
    while let Some((stream, peer, permit)) = next(&listener, &room, shutdown).await {
        let (router, shutdown, kill) = (router.clone(), shutdown.clone(), kill.clone());
        connections.spawn(async move {
            connection(stream, peer, router, shutdown, kill).await;
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!(
            n_connections = connections.len(),
            "requests did not end in time; their connections are closed"
        );
        kill.cancel();
        connections.wait().await;
    }
}

/// The next connection, once there is room for it; none at shutdown.
async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let accepted = async {
        // The semaphore is never closed.
        let permit = Arc::clone(room).acquire_owned().await.ok()?;
        let mut is_failing = false;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, permit)),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Told once for each connection that has to wait, not for each attempt.
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "can't accept connections; trying on");
                    }
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        accepted = accepted => accepted,
    }
}

/// Whether the error tells of a client that went away before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
    kill: CancellationToken,
) {
    set_options(&stream);
    let peer = Peer(peer.ip());
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        // A router is always ready.
        router.clone().call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        biased;
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                ended = serving => ended,
                () = kill.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        // A client that goes away or talks something else: nothing that the operator can do about.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Answers leave at once; a client that is gone, or reads nothing, is noticed. Without them it still works.
fn set_options(stream: &TcpStream) {
    let outcome = stream
        .set_nodelay(true)
        .and_then(|()| Ok(sockopt::set_socket_keepalive(stream, true)?))
        .and_then(|()| Ok(sockopt::set_tcp_user_timeout(stream, SEND_TIMEOUT_MS)?));
    if let Err(error) = outcome {
        tracing::debug!(%error, "a socket option could not be set");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    struct Running {
        address: SocketAddr,
        shutdown: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    async fn start(router: Router, drain: Duration) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let task = tokio::spawn(async move { run(listener, router, drain, &token).await });
        Running { address, shutdown, task }
    }

    /// A handler that tells when it began, and answers when it is told to.
    fn gated() -> (Router, Arc<Notify>, Arc<Notify>) {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begun_too, go_too) = (Arc::clone(&begun), Arc::clone(&go));
        let handler = move || {
            let (begun, go) = (Arc::clone(&begun_too), Arc::clone(&go_too));
            async move {
                begun.notify_one();
                go.notified().await;
                "done"
            }
        };
        (Router::new().route("/", get(handler)), begun, go)
    }

    async fn send(address: SocketAddr, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream
    }

    async fn rest(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        // A connection that is cut may be reset; what was read before counts.
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn a_request_in_flight_ends_before_the_server_does() {
        let (router, begun, go) = gated();
        let server = start(router, Duration::from_secs(60)).await;
        let stream = send(server.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        begun.notified().await;
        server.shutdown.cancel();
        go.notify_one();
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        server.task.await.unwrap();
        assert!(TcpStream::connect(server.address).await.is_err(), "it still listens");
    }

    #[tokio::test]
    async fn past_the_drain_time_connections_are_cut() {
        let (router, begun, _go) = gated();
        let server = start(router, Duration::from_millis(1)).await;
        let stream = send(server.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        begun.notified().await;
        server.shutdown.cancel();
        server.task.await.unwrap();
        assert_eq!(rest(stream).await, "");
    }

    #[tokio::test]
    async fn heads_that_are_too_large_get_431() {
        let server = start(gated().0, Duration::from_secs(1)).await;
        let many = "X-A: b\r\n".repeat(MAX_HEADERS + 1);
        let long = format!("X-A: {}\r\n", "b".repeat(MAX_HEAD_BYTES));
        for headers in [many, long] {
            let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
            let answer = rest(send(server.address, request.as_bytes()).await).await;
            assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
        server.shutdown.cancel();
        server.task.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_goes_away_drops_its_handler() {
        struct Told(Arc<Notify>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let (begun, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begun_too, dropped_too) = (Arc::clone(&begun), Arc::clone(&dropped));
        let handler = move || {
            let (begun, told) = (Arc::clone(&begun_too), Told(Arc::clone(&dropped_too)));
            async move {
                let _told = told;
                begun.notify_one();
                std::future::pending::<()>().await;
            }
        };
        let server = start(Router::new().route("/", get(handler)), Duration::from_secs(1)).await;
        let stream = send(server.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        begun.notified().await;
        drop(stream);
        dropped.notified().await;
        server.shutdown.cancel();
        server.task.await.unwrap();
    }
}
