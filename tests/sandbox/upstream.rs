//! A small HTTP server on loopback that answers, hangs, or answers too much, as its path says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// The running server; its threads end with the test's process.
pub(crate) struct Upstream {
    address: SocketAddr,
    n_requests: Arc<AtomicUsize>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let n_requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&n_requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                thread::spawn(move || answer(stream, &counted));
            }
        });
        Self { address, n_requests }
    }

    /// The entry of `allowedHosts` for it.
    pub(crate) fn allowed(&self) -> Vec<String> {
        vec![format!("http://{}", self.address)]
    }

    /// `/ok`, `/slow/MS`, `/hang`, `/bytes/N`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn n_requests(&self) -> usize {
        self.n_requests.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, n_requests: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    n_requests.fetch_add(1, Ordering::SeqCst);
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let number = || path.rsplit('/').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    let body = match path.split('/').nth(1) {
        Some("slow") => {
            thread::sleep(Duration::from_millis(number()));
            b"slow".to_vec()
        }
        Some("hang") => {
            let _ = reader.read_to_end(&mut Vec::new());
            return;
        }
        Some("bytes") => vec![b'x'; usize::try_from(number()).expect("a length")],
        _ => b"ok".to_vec(),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // A client that has heard enough hangs up.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}
