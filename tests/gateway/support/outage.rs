//! A door to a server that can be shut: what is behind it is then as if it were down.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Passes connections on while it is open.
pub(crate) struct Door {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_shut: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Door {
    /// A door to a port on 127.0.0.1; its thread ends with the test's process.
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Self { port: listener.local_addr().unwrap().port(), shared: Arc::default() };
        let shared = Arc::clone(&door.shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !shared.is_shut.load(Ordering::SeqCst) {
                    let _ = pass_on(stream, target, &shared);
                }
            }
        });
        door
    }

    /// Where the door is.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Cuts all connections, and every new one at once.
    pub(crate) fn shut(&self) {
        self.shared.is_shut.store(true, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections pass again.
    pub(crate) fn open(&self) {
        self.shared.is_shut.store(false, Ordering::SeqCst);
    }
}

fn pass_on(client: TcpStream, target: u16, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", target))?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    shared.streams.lock().unwrap().extend([client.try_clone()?, server.try_clone()?]);
    copy(client.try_clone()?, server.try_clone()?);
    copy(server, client);
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
