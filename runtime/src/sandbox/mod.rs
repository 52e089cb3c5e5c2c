//! The sandbox as the gateway sees it: processes to compile in, and a zygote per connector that forks one per call.

pub(crate) mod compiler;
pub mod jail;
mod memory;
pub(crate) mod processes;
pub(crate) mod supervisor;
mod turns;
pub mod wire;
mod zygote;

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, Signal, pidfd_send_signal};

use crate::compile::CompileError;
use crate::isolate::{Image, IsolateLimits};
use crate::limits::{Limits, MIB, whole_ms};
use crate::package::{Code, Language};
use crate::ready::wait_until_ready;
use jail::JailLimits;
#[doc(hidden)]
pub use supervisor::fuzz_supervise;
use wire::{Exit, Frame, FrameReader, Kind, WireError};
use zygote::{Command, ConnectorCommand, Loaded};

/// How long a compile may take.
const COMPILE_DEADLINE: Duration = Duration::from_secs(10);
/// What a compile may use.
const COMPILE_JAIL: JailLimits = JailLimits { address_space: 512 * MIB, cpu_seconds: 10 };
/// The longest answer of a compile: bytecode and positions, or errors.
const MAX_COMPILED: u64 = 16 * MIB;
/// How long a connector zygote may take to load its image.
const LOAD_DEADLINE: Duration = Duration::from_secs(10);
/// Address space of a call process beyond its isolate's heap: copies of requests and responses on their way.
const ADDRESS_SPACE_BESIDE_HEAP: u64 = 256 * MIB;

/// Runs the zygote where this process was exec'd as one, and then never returns; otherwise does nothing.
///
/// To be called first thing in `main`, before any thread is started: the sandbox's processes are this same binary.
pub fn init() {
    if zygote::is_zygote() {
        zygote::main();
    }
}

/// Why the sandbox could not do its part; none of these is the connector's doing.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The zygote could not be started.
    #[error("the sandbox's first process could not be started from {executable:?}")]
    Spawn {
        /// The binary that should have been exec'd.
        executable: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A process of the sandbox did not answer.
    #[error("a process of the sandbox ended or did not answer while it {doing}")]
    Lost {
        /// What it was doing.
        doing: &'static str,
    },
    /// The engine did not take an image.
    #[error("the engine did not load the connector: {0}")]
    Load(String),
    /// The operating system refused.
    #[error("the sandbox could not {doing}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Why code was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileFailure {
    /// The code is wrong; every error with its position.
    #[error(transparent)]
    Code(#[from] CompileError),
    /// The code made the compiler use more than it may, or crash.
    #[error("the code can't be compiled: {0}")]
    Refused(String),
    /// The sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// The root zygote, started when it is first needed and again when it has died.
#[derive(Debug)]
pub struct Sandbox {
    executable: PathBuf,
    root: Mutex<Option<Root>>,
}

#[derive(Debug)]
struct Root {
    control: Option<OwnedFd>,
    process: Child,
}

impl Drop for Root {
    fn drop(&mut self) {
        // A zygote leaves when its control socket is closed; its children die with it.
        self.control = None;
        let _ = self.process.wait();
    }
}

impl Sandbox {
    /// A sandbox whose processes are `executable`, which calls [`init`] first thing; by default this very binary.
    pub fn new(executable: Option<PathBuf>) -> Self {
        let executable = executable.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
        Self { executable, root: Mutex::new(None) }
    }

    /// Compiles a connector's code in a jailed process of its own.
    pub(crate) fn compile(&self, code: &Code) -> Result<Image, CompileFailure> {
        let deadline = Instant::now() + COMPILE_DEADLINE;
        let mut process = self.compile_process(deadline)?;
        let request = wire::CompileRequest { typescript: code.language() == Language::TypeScript };
        let sent = process.send(&wire::encode(Kind::Compile, &request, code.text().as_bytes()), deadline);
        let answer = sent.map_err(WireError::Io).and_then(|()| process.receive(deadline, |_| MAX_COMPILED));
        let frame = match answer {
            Ok(frame) => frame,
            Err(error) => return Err(CompileFailure::Refused(compile_refusal(&error))),
        };
        match frame.kind {
            Kind::Compiled => image_from(&frame, code.language()).ok_or_else(|| lost("compiled").into()),
            Kind::CompileErrors => Err(match frame.head::<CompileError>() {
                Ok(error) => CompileFailure::Code(error),
                Err(_) => lost("compiled").into(),
            }),
            Kind::Exited => {
                let exit = frame.head().unwrap_or(Exit { signal: None, status: None });
                Err(CompileFailure::Refused(compile_exit(exit)))
            }
            _ => Err(lost("compiled").into()),
        }
    }

    fn compile_process(&self, deadline: Instant) -> Result<CallProcess, SandboxError> {
        let (ours, theirs) =
            UnixStream::pair().map_err(|source| SandboxError::System { doing: "open a socket", source })?;
        self.command(&Command::Compile(COMPILE_JAIL), &[theirs.as_fd()])?;
        drop(theirs);
        CallProcess::born(ours, deadline).map_err(|_| lost("started"))
    }

    /// Starts a zygote that has loaded this image.
    pub(crate) fn connector(&self, image: &Image, limits: &Limits) -> Result<ConnectorZygote, SandboxError> {
        let system = |doing| move |source: io::Error| SandboxError::System { doing, source };
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|error| system("open a socket")(error.into()))?;
        let file = image_file(image).map_err(system("hand over a connector's image"))?;
        let command = connector_command(image, limits);
        self.command(&Command::Connector(command), &[theirs.as_fd(), file.as_fd()])?;
        drop(theirs);
        await_loaded(&ours)?;
        Ok(ConnectorZygote { control: ours, ready: Mutex::default() })
    }

    /// Sends a command to the root zygote, which is started where it isn't there.
    fn command(&self, command: &Command, descriptors: &[BorrowedFd<'_>]) -> Result<(), SandboxError> {
        let mut root = locked(&self.root);
        for _ in 0..2 {
            let running = match root.take() {
                Some(running) => running,
                None => self.spawn()?,
            };
            if let Some(control) = &running.control
                && send_command(control, command, descriptors).is_ok()
            {
                *root = Some(running);
                return Ok(());
            }
        }
        Err(lost("took a command"))
    }

    fn spawn(&self) -> Result<Root, SandboxError> {
        let failed = |source| SandboxError::Spawn { executable: self.executable.clone(), source };
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|error| failed(error.into()))?;
        let process = std::process::Command::new(&self.executable)
            .arg0(zygote::ARG0)
            .env_clear()
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Root { control: Some(ours), process })
    }
}

/// A zygote with one connector loaded; it leaves when this is dropped, and its call processes with it.
#[derive(Debug)]
pub(crate) struct ConnectorZygote {
    control: OwnedFd,
    /// Sockets of processes that were forked ahead of their calls.
    ready: Mutex<VecDeque<UnixStream>>,
}

impl ConnectorZygote {
    /// A process for one call: one that is ready, or a new one.
    pub(crate) fn call_process(&self, deadline: Instant) -> Result<CallProcess, SandboxError> {
        while let Some(socket) = self.pop_ready() {
            // One may have died while it waited, with its zygote or of the machine's want of memory.
            if let Ok(process) = CallProcess::born(socket, deadline)
                && !process.has_ended()
            {
                return Ok(process);
            }
        }
        let socket =
            self.fork(false).map_err(|source| SandboxError::System { doing: "start a call", source })?;
        CallProcess::born(socket, deadline).map_err(|_| lost("started a call"))
    }

    /// Forks processes ahead until `n_ready` wait for a call.
    pub(crate) fn keep_ready(&self, n_ready: usize) {
        while locked(&self.ready).len() < n_ready {
            match self.fork(true) {
                Ok(socket) => locked(&self.ready).push_back(socket),
                Err(_) => return,
            }
        }
    }

    /// Ends the processes that were forked ahead.
    pub(crate) fn drop_ready(&self) {
        locked(&self.ready).clear();
    }

    fn pop_ready(&self) -> Option<UnixStream> {
        locked(&self.ready).pop_front()
    }

    fn fork(&self, ahead: bool) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        send_command(&self.control, &Command::Fork { ahead }, &[theirs.as_fd()])?;
        Ok(ours)
    }
}

/// A jailed process, its socket and the handle to kill it by. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct CallProcess {
    socket: UnixStream,
    reader: FrameReader,
    /// Shared with what may kill the process from another thread.
    pidfd: Option<std::sync::Arc<OwnedFd>>,
    pid: Option<Pid>,
    /// Whether the process was put on this thread's processor, for its next turn.
    is_near: bool,
}

impl CallProcess {
    /// Waits for a zygote's word that the process is there.
    fn born(socket: UnixStream, deadline: Instant) -> Result<Self, WireError> {
        let mut process = Self::from_socket(socket);
        let frame = {
            let mut pidfd = None;
            let mut newborn = Newborn { socket: &process.socket, pidfd: &mut pidfd, deadline };
            let frame = process.reader.read(&mut newborn, |_| 64)?;
            process.pidfd = pidfd.map(Into::into);
            frame
        };
        process.pid = frame.head().ok().and_then(Pid::from_raw);
        if frame.kind == Kind::Born && process.pidfd.is_some() {
            Ok(process)
        } else {
            Err(WireError::Malformed)
        }
    }

    /// A process that is only a socket, for tests and fuzzing of what reads from it.
    pub(crate) fn from_socket(socket: UnixStream) -> Self {
        Self { socket, reader: FrameReader::new(), pidfd: None, pid: None, is_near: false }
    }

    /// Writes a frame, all of it before the deadline, however slowly its peer reads. It is the process's turn then.
    pub(crate) fn send(&mut self, frame: &[u8], deadline: Instant) -> io::Result<()> {
        if let Some(pid) = self.pid {
            turns::draw_near(pid);
            self.is_near = true;
        }
        Timed { socket: &self.socket, deadline }.write_all(frame)
    }

    /// The next frame that arrives before the deadline; past it, an I/O error of kind `TimedOut`.
    pub(crate) fn receive(
        &mut self,
        deadline: Instant,
        max_len: impl Fn(Kind) -> u64,
    ) -> Result<Frame, WireError> {
        if let Some(pid) = self.pid.filter(|_| self.is_near) {
            let soon = deadline.min(Instant::now() + turns::PATIENCE);
            match self.reader.read(&mut Timed { socket: &self.socket, deadline: soon }, &max_len) {
                Err(WireError::Io(error)) if error.kind() == io::ErrorKind::TimedOut => turns::let_go(pid),
                read => return read,
            }
            self.is_near = false;
        }
        self.reader.read(&mut Timed { socket: &self.socket, deadline }, max_len)
    }

    pub(crate) fn kill(&self) {
        (self.killer())();
    }

    /// What kills the process, from any thread.
    pub(crate) fn killer(&self) -> impl Fn() + Send + 'static {
        let pidfd = self.pidfd.clone();
        move || {
            if let Some(pidfd) = &pidfd {
                // It fails only where the process has ended already.
                let _ = pidfd_send_signal(pidfd, Signal::KILL);
            }
        }
    }

    /// Whether the process has ended.
    fn has_ended(&self) -> bool {
        let Some(pidfd) = &self.pidfd else { return false };
        let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
        poll(&mut ended, Some(&Timespec::default())).is_ok_and(|n_ready| n_ready > 0)
    }
}

impl Drop for CallProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads from a socket, or writes to it, until a deadline, however its bytes trickle.
struct Timed<'a> {
    socket: &'a UnixStream,
    deadline: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        wait_until_ready(self.socket, PollFlags::IN, self.deadline)?;
        (&mut &*self.socket).read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        wait_until_ready(self.socket, PollFlags::OUT, self.deadline)?;
        // Not more than there is room for: a write that waits for the rest would not look at the deadline.
        match rustix::net::send(self.socket, buffer, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(rustix::io::Errno::AGAIN) => Err(io::ErrorKind::Interrupted.into()),
            sent => Ok(sent?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the first frame of a process, and takes the descriptor that comes with it.
struct Newborn<'a> {
    socket: &'a UnixStream,
    pidfd: &'a mut Option<OwnedFd>,
    deadline: Instant,
}

impl Read for Newborn<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        wait_until_ready(self.socket, PollFlags::IN, self.deadline)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(self.socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                *self.pidfd = descriptors.last().or(self.pidfd.take());
            }
        }
        Ok(received.bytes)
    }
}

fn send_command(control: &OwnedFd, command: &Command, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(command)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(control, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn connector_command(image: &Image, limits: &Limits) -> ConnectorCommand {
    ConnectorCommand {
        typescript: image.language == Language::TypeScript,
        module: image.module,
        early: image.early,
        bytecode_len: image.bytecode.len() as u64,
        image_len: (image.bytecode.len() + image.positions.len()) as u64,
        isolate: IsolateLimits { memory: limits.memory, stack: limits.stack, cpu_ms: whole_ms(limits.cpu) },
        jail: JailLimits {
            address_space: limits.memory.saturating_add(ADDRESS_SPACE_BESIDE_HEAP),
            // The isolate stops on time where it can be stopped; the kernel counts whole seconds, for where it can't.
            cpu_seconds: limits.cpu.as_secs() + u64::from(limits.cpu.subsec_nanos() > 0),
        },
    }
}

/// An image in memory that can be handed to another process.
fn image_file(image: &Image) -> io::Result<OwnedFd> {
    let descriptor = rustix::fs::memfd_create("portcullis-image", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(descriptor);
    file.write_all(&image.bytecode)?;
    file.write_all(&image.positions)?;
    io::Seek::rewind(&mut file)?;
    Ok(file.into())
}

fn await_loaded(control: &OwnedFd) -> Result<(), SandboxError> {
    rustix::net::sockopt::set_socket_timeout(
        control,
        rustix::net::sockopt::Timeout::Recv,
        Some(LOAD_DEADLINE),
    )
    .map_err(|error| SandboxError::System { doing: "wait for a connector", source: error.into() })?;
    let mut said = [0; 4096];
    let (n_read, _) = rustix::net::recv(control, &mut said, RecvFlags::empty()).unwrap_or((0, 0));
    let loaded: Loaded = serde_json::from_slice(&said[..n_read]).map_err(|_| lost("loaded a connector"))?;
    loaded.map_err(SandboxError::Load)
}

fn image_from(frame: &Frame, language: Language) -> Option<Image> {
    let head: wire::Compiled = frame.head().ok()?;
    let bytecode_len = usize::try_from(head.bytecode_len).ok()?;
    let (bytecode, positions) = frame.payload().split_at_checked(bytecode_len)?;
    Some(Image {
        language,
        module: head.module,
        bytecode: bytecode.to_vec(),
        positions: positions.to_vec(),
        early: head.early,
    })
}

fn compile_refusal(error: &WireError) -> String {
    match error {
        WireError::Io(_) => format!("the compiler did not finish within {} s", COMPILE_DEADLINE.as_secs()),
        WireError::TooLong { .. } => "the compiled code is larger than 16 MiB".to_owned(),
        _ => "the compiler's process ended before it answered".to_owned(),
    }
}

fn compile_exit(exit: Exit) -> String {
    let reason = match exit.signal.and_then(Signal::from_named_raw) {
        Some(Signal::SEGV | Signal::BUS) => "it is nested too deeply (the compiler ran out of stack)",
        Some(Signal::XCPU) => "it takes the compiler more than 10 s of CPU time",
        Some(Signal::SYS | Signal::ABORT) => "the compiler ran out of memory (512 MiB) on it",
        _ if exit.status == Some(101) => "the compiler can't handle it (it panicked)",
        _ => "the compiler's process was ended",
    };
    reason.to_owned()
}

fn lost(doing: &'static str) -> SandboxError {
    SandboxError::Lost { doing }
}

/// A poisoned lock guards nothing here that a panic could leave half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
