//! A call process's end of its one socket, and what else natives need: secrets, positions, randomness.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use super::Image;
use crate::compile::PositionMap;
use crate::sandbox::wire::{
    CallRequest, Failure, Frame, FrameReader, Kind, Log, LogLevel, Refusal, WireError, encode,
};

/// The host of an isolate: made with it in the zygote, attached to a socket in the call process.
pub(super) struct Host {
    channel: RefCell<Option<Channel>>,
    secrets: RefCell<BTreeMap<String, String>>,
    file_name: &'static str,
    positions: Vec<u8>,
    position_map: OnceCell<Option<PositionMap>>,
    random: Cell<u64>,
    cpu_limit: Duration,
    /// Processor time that the process had used before the code's turn came.
    cpu_before: Cell<Duration>,
    cpu_exceeded: Cell<bool>,
}

struct Channel {
    /// The socket, as a file: `read` and `write` are the only two calls that the jail leaves to it.
    socket: File,
    reader: FrameReader,
}

impl Host {
    /// A host that is not attached yet.
    pub(super) fn new(image: &Image, cpu_limit: Duration) -> Self {
        Self {
            channel: RefCell::new(None),
            secrets: RefCell::default(),
            file_name: image.language.file_name(),
            positions: image.positions.clone(),
            position_map: OnceCell::new(),
            random: Cell::new(0x9e37_79b9_7f4a_7c15),
            cpu_limit,
            cpu_before: Cell::new(Duration::ZERO),
            cpu_exceeded: Cell::new(false),
        }
    }

    /// Attaches the call's socket.
    pub(super) fn attach(&self, socket: File) {
        *self.channel.borrow_mut() = Some(Channel { socket, reader: FrameReader::new() });
    }

    /// Waits for the call; none when the gateway has gone.
    pub(super) fn accept(&self) -> Option<CallRequest> {
        let frame = self.receive().ok().filter(|frame| frame.kind == Kind::Call)?;
        let mut call: CallRequest = frame.head().ok()?;
        *self.secrets.borrow_mut() = std::mem::take(&mut call.secrets);
        Some(call)
    }

    /// Gives Math.random a state of this process's own: a fork copies its parent's.
    pub(super) fn seed(&self) {
        let mut seed = [0; 8];
        if rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).is_ok() {
            self.random.set(u64::from_le_bytes(seed) | 1);
        }
    }

    /// A number in [0, 1), by xorshift64*.
    pub(super) fn random(&self) -> f64 {
        let mut state = self.random.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.random.set(state);
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 * STEP
    }

    /// Counts processor time from here on.
    pub(super) fn start_cpu_clock(&self) {
        self.cpu_before.set(cpu_time());
    }

    /// Processor time since the clock was started.
    pub(super) fn cpu_used(&self) -> Duration {
        cpu_time().saturating_sub(self.cpu_before.get())
    }

    /// Whether the code has used up its processor time; called between bytecodes.
    pub(super) fn is_out_of_cpu(&self) -> bool {
        let exceeded = self.cpu_used() > self.cpu_limit;
        self.cpu_exceeded.set(exceeded);
        exceeded
    }

    /// Whether [`Host::is_out_of_cpu`] has stopped the code.
    pub(super) fn was_out_of_cpu(&self) -> bool {
        self.cpu_exceeded.get()
    }

    pub(super) fn secret(&self, key: &str) -> Option<String> {
        self.secrets.borrow().get(key).cloned()
    }

    /// `connector.ts:LINE:COLUMN` for a position in the generated code.
    pub(super) fn position(&self, line: u32, column: u32) -> String {
        let map = self.position_map.get_or_init(|| PositionMap::from_bytes(&self.positions).ok());
        match map.as_ref().and_then(|map| map.lookup(line, column)) {
            Some((line, column)) => format!("{}:{line}:{column}", self.file_name),
            None => self.file_name.to_owned(),
        }
    }

    /// Sends a request of the code's; the answer's head and body, or the message of the Error to throw.
    pub(super) fn http(&self, head: String) -> Result<(String, String), String> {
        self.ask(Kind::HttpRequest, head, b"", Kind::HttpResponse)
    }

    pub(super) fn download(&self, head: String) -> Result<String, String> {
        self.ask(Kind::FileDownload, head, b"", Kind::FileReference).map(|(reference, _)| reference)
    }

    pub(super) fn store(&self, head: String, data: &str) -> Result<String, String> {
        self.ask(Kind::FileStore, head, data.as_bytes(), Kind::FileReference).map(|(reference, _)| reference)
    }

    pub(super) fn log(&self, level: LogLevel, message: &str) {
        self.send(Kind::Log, &Log { level }, message.as_bytes());
    }

    pub(super) fn succeed(&self, json: &str) {
        self.send(Kind::Result, &(), json.as_bytes());
    }

    pub(super) fn fail(&self, failure: &Failure) {
        self.send(Kind::Failure, failure, b"");
    }

    /// Sends the failure and ends the process.
    pub(super) fn end(&self, failure: &Failure) {
        self.fail(failure);
        leave()
    }

    fn ask(
        &self,
        kind: Kind,
        head: String,
        payload: &[u8],
        answer: Kind,
    ) -> Result<(String, String), String> {
        match serde_json::value::RawValue::from_string(head) {
            Ok(head) => self.send(kind, &head, payload),
            Err(_) => return Err("the request can't be said in JSON".to_owned()),
        }
        match self.receive() {
            Ok(frame) if frame.kind == answer => Ok((frame.head_text(), frame.text())),
            Ok(frame) if frame.kind == Kind::Refusal => {
                Err(frame.head::<Refusal>().map_or_else(|error| error.to_string(), |refusal| refusal.message))
            }
            _ => leave(),
        }
    }

    fn send(&self, kind: Kind, head: &impl Serialize, payload: &[u8]) {
        if let Some(channel) = self.channel.borrow_mut().as_mut()
            && channel.socket.write_all(&encode(kind, head, payload)).is_err()
        {
            leave();
        }
    }

    fn receive(&self) -> Result<Frame, WireError> {
        match self.channel.borrow_mut().as_mut() {
            Some(Channel { socket, reader }) => reader.read(socket, |_| u64::from(u32::MAX)),
            None => Err(WireError::Closed),
        }
    }
}

/// Processor time that this process has used.
fn cpu_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

/// Ends the process: its supervisor has gone, and nobody is left to answer or to hear.
fn leave() -> ! {
    std::process::exit(0)
}
