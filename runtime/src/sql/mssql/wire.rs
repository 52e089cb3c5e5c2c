//! What stands between tiberius and a server that may be hostile: a bound on what it reads, and on what its panics reach.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How many bytes may still be read from a socket, before TLS is taken off. tiberius holds a whole row in memory, however
/// long it is: so much is granted for each row anew, and no row takes more.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    n_bytes: Arc<AtomicU64>,
}

impl Allowance {
    pub(super) fn new(n_bytes: u64) -> Self {
        Self { n_bytes: Arc::new(AtomicU64::new(n_bytes)) }
    }

    /// From now on so many bytes may be read.
    pub(super) fn grant(&self, n_bytes: u64) {
        self.n_bytes.store(n_bytes, Ordering::Relaxed);
    }

    /// Whether all of it was used.
    pub(super) fn is_used(&self) -> bool {
        self.n_bytes.load(Ordering::Relaxed) == 0
    }

    fn take(&self, n_read: usize) {
        let left = self.n_bytes.load(Ordering::Relaxed);
        self.grant(left.saturating_sub(n_read as u64));
    }
}

/// A socket that is read no further than its allowance.
#[derive(Debug)]
pub(super) struct Metered {
    stream: TcpStream,
    allowance: Allowance,
}

impl Metered {
    pub(super) fn new(stream: TcpStream, allowance: Allowance) -> Self {
        Self { stream, allowance }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.allowance.is_used() {
            return Poll::Ready(Err(io::Error::other("the server's answer is larger than it may be")));
        }
        let n_before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.allowance.take(buf.filled().len() - n_before);
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// The driver panicked, over an answer that it didn't expect.
#[derive(Debug, thiserror::Error)]
#[error("the server's answer isn't TDS as the driver knows it")]
pub(super) struct Panicked;

/// What a future of the driver's gives, or that it panicked. A connection that it worked on can only be closed then.
pub(super) async fn guarded<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn no_more_is_read_than_is_granted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(&[7; 100]).await.unwrap();
        let allowance = Allowance::new(60);
        let mut metered = Metered::new(client, allowance.clone());
        let mut read = [0; 50];
        metered.read_exact(&mut read).await.unwrap();
        assert!(!allowance.is_used());
        metered.read_exact(&mut read[..10]).await.unwrap();
        assert!(allowance.is_used());
        let error = metered.read_exact(&mut read[..1]).await.unwrap_err();
        assert!(error.to_string().contains("larger"), "{error}");
        allowance.grant(1);
        metered.read_exact(&mut read[..1]).await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let panics = async {
            tokio::task::yield_now().await;
            panic!("unexpected");
        };
        let ended: Result<(), Panicked> = guarded(panics).await;
        std::panic::set_hook(hook);
        assert!(ended.is_err());
        assert!(matches!(guarded(async { 3 }).await, Ok(3)));
    }
}
