//! The zygotes: processes that do nothing but fork, on the gateway's word, processes that are jailed before they do more.
//!
//! The root zygote is this very binary, exec'd with an empty environment and one socket. It forks compile processes and
//! connector zygotes; a connector zygote loads one connector's bytecode and forks a process per call. Neither ever holds
//! a secret: a call's secrets travel over the call's own socket, which its process alone reads.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, wait};
use serde::{Deserialize, Serialize};

use super::compiler;
use super::jail::{self, JailLimits};
use super::memory::{HotMemory, fill_holes};
use super::wire::{Exit, Kind, encode};
use crate::isolate::{Image, Isolate, IsolateLimits};
use crate::package::Language;

/// The name (argument 0) by which the binary knows that it was exec'd as a zygote.
pub(super) const ARG0: &str = "portcullis-zygote";
/// The longest command, in bytes.
const MAX_COMMAND: usize = 4096;

/// What a gateway asks of a zygote; descriptors come with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Command {
    /// To the root: fork a compile process. Descriptor: its socket.
    Compile(JailLimits),
    /// To the root: fork a connector zygote. Descriptors: its control socket, and a file with the image.
    Connector(ConnectorCommand),
    /// To a connector zygote: fork a call process. Descriptor: its socket.
    Fork {
        /// Whether the process will wait for its call: it then touches its memory ahead of it.
        ahead: bool,
    },
}

/// How a connector zygote is to be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ConnectorCommand {
    /// Whether the code was TypeScript.
    pub(super) typescript: bool,
    /// Whether the image's bytecode is a module.
    pub(super) module: bool,
    /// Whether the code may be evaluated before its call is there.
    pub(super) early: bool,
    /// Bytes of bytecode at the image file's start; the rest are positions.
    pub(super) bytecode_len: u64,
    /// Bytes in the image file.
    pub(super) image_len: u64,
    /// The isolate's limits.
    pub(super) isolate: IsolateLimits,
    /// The kernel's limits for its call processes.
    pub(super) jail: JailLimits,
}

/// What a connector zygote says once: it has loaded, or why it couldn't.
pub(super) type Loaded = Result<(), String>;

/// Whether this process was exec'd as a zygote.
pub(super) fn is_zygote() -> bool {
    std::env::args_os().next().is_some_and(|name| name == ARG0)
}

/// The root zygote's life.
pub(super) fn main() -> ! {
    use_utc();
    // What swc asks of the system once, it asks here: a compile process may not.
    crate::compile::warm_up();
    if jail::close_all_but_stdin().is_err() {
        exit(1);
    }
    jail::enter_zygote();
    serve(|command, descriptors, nursery| match command {
        Command::Compile(limits) => {
            let Some(socket) = descriptors.into_iter().next() else { return };
            nursery.fork(Some(socket), |socket, zygote| compile(&socket, zygote, limits));
        }
        Command::Connector(command) => {
            let mut descriptors = descriptors.into_iter();
            let (Some(control), Some(image)) = (descriptors.next(), descriptors.next()) else { return };
            nursery.fork_zygote(|root| connector(root, &control, image, command));
        }
        Command::Fork { .. } => {}
    })
}

/// Dates in a sandbox are in UTC, wherever the server stands.
fn use_utc() {
    // SAFETY: the process has just been exec'd and has one thread.
    unsafe { std::env::set_var("TZ", "UTC0") };
    // SAFETY: as above. The first use of a zone looks for its file, which a call process may not: so it's used here.
    unsafe { tzset() };
}

// SAFETY: the declaration is POSIX's: no arguments, no result.
unsafe extern "C" {
    /// The libc crate has it for other systems only.
    fn tzset();
}

/// A connector zygote's life.
fn connector(root: Pid, control: &OwnedFd, image: OwnedFd, command: ConnectorCommand) {
    let loaded = read_image(image, command).and_then(|image| Isolate::load(&image, command.isolate));
    // Descriptor 0 is the root's control socket until here.
    let ready = rustix::stdio::dup2_stdin(control).is_ok()
        && jail::close_all_but_stdin().is_ok()
        && jail::die_with(root).is_ok();
    let said: Loaded = loaded.as_ref().map(|_| ()).map_err(Clone::clone);
    let told = serde_json::to_vec(&said)
        .is_ok_and(|said| rustix::net::send(stdin(), &said, SendFlags::NOSIGNAL).is_ok());
    let (true, true, Ok(isolate)) = (ready, told, loaded) else { exit(1) };
    jail::note_mapped_bytes();
    isolate.rehearse();
    fill_holes();
    let memory = HotMemory::of_this_process();
    serve(|asked, descriptors, nursery| {
        let (Command::Fork { ahead }, Some(socket)) = (asked, descriptors.into_iter().next()) else {
            return;
        };
        nursery.fork(Some(socket), |socket, zygote| {
            if ahead {
                memory.populate();
            }
            run_jailed(&socket, zygote, command.jail, |socket| isolate.run(socket, ahead && command.early));
        });
    })
}

/// A compile process's life.
fn compile(socket: &OwnedFd, zygote: Pid, limits: JailLimits) {
    jail::note_mapped_bytes();
    run_jailed(socket, zygote, limits, compiler::serve);
}

/// Jails this process and runs `work` on its socket; a panic ends the process and nothing else.
fn run_jailed(socket: &OwnedFd, zygote: Pid, limits: JailLimits, work: impl FnOnce(File)) {
    if jail::enter_call(socket.as_fd(), zygote, limits).is_err() {
        exit(1);
    }
    // SAFETY: descriptor 0 is the call's socket; this is its only owner, and the process leaves by `_exit`.
    let socket = unsafe { File::from_raw_fd(0) };
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(socket)));
    exit(if unwound.is_ok() { 0 } else { 101 });
}

fn read_image(image: OwnedFd, command: ConnectorCommand) -> Result<Image, String> {
    let mut bytes = Vec::new();
    File::from(image).take(command.image_len).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let bytecode_len = usize::try_from(command.bytecode_len).unwrap_or(usize::MAX);
    if bytecode_len > bytes.len() {
        return Err("the image is truncated".to_owned());
    }
    let positions = bytes.split_off(bytecode_len);
    let language = if command.typescript { Language::TypeScript } else { Language::JavaScript };
    Ok(Image { language, module: command.module, bytecode: bytes, positions, early: command.early })
}

/// Carries out commands from descriptor 0 until it is closed, and buries what has died.
fn serve(mut handle: impl FnMut(Command, Vec<OwnedFd>, &mut Nursery)) -> ! {
    let Some(mut nursery) = Nursery::new() else { exit(1) };
    loop {
        let (commanded, died) = {
            let mut ready = [
                PollFd::from_borrowed_fd(stdin(), PollFlags::IN),
                PollFd::from_borrowed_fd(nursery.deaths.as_fd(), PollFlags::IN),
            ];
            if poll(&mut ready, None).is_err_and(|error| error != rustix::io::Errno::INTR) {
                exit(1);
            }
            (!ready[0].revents().is_empty(), !ready[1].revents().is_empty())
        };
        if died {
            nursery.bury();
        }
        if commanded {
            match receive() {
                Some((command, descriptors)) => handle(command, descriptors, &mut nursery),
                None => exit(0),
            }
        }
    }
}

/// The next command; none when the gateway has gone.
fn receive() -> Option<(Command, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; MAX_COMMAND];
    let received =
        recvmsg(stdin(), &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC).ok()?;
    if received.bytes == 0 {
        return None;
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    Some((serde_json::from_slice(&bytes[..received.bytes]).ok()?, descriptors))
}

/// The processes that a zygote has forked and not yet buried, each with its socket, on which its end is told.
struct Nursery {
    children: HashMap<Pid, Option<OwnedFd>>,
    /// Readable when a child has died.
    deaths: OwnedFd,
}

impl Nursery {
    fn new() -> Option<Self> {
        let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: initialises the set that the calls below read.
        unsafe { libc::sigemptyset(signals.as_mut_ptr()) };
        // SAFETY: the set is initialised.
        unsafe { libc::sigaddset(signals.as_mut_ptr(), libc::SIGCHLD) };
        // SAFETY: the set is initialised; the process has one thread.
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, signals.as_ptr(), std::ptr::null_mut()) };
        // SAFETY: the set is initialised.
        let raw = unsafe { libc::signalfd(-1, signals.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if raw < 0 {
            return None;
        }
        // SAFETY: the kernel has just returned this descriptor; nothing else owns it.
        let deaths = unsafe { OwnedFd::from_raw_fd(raw) };
        Some(Self { children: HashMap::new(), deaths })
    }

    /// Forks a process that runs `life` and leaves. Its pidfd goes out on its socket before anything else does; where
    /// there can be no process, the socket is closed and its other end hears that.
    ///
    /// `life` is told who its zygote is: asked after the fork, the kernel would name init where the zygote has just died.
    fn fork(&mut self, socket: Option<OwnedFd>, life: impl FnOnce(OwnedFd, Pid)) {
        let Some(socket) = socket else { return };
        let zygote = rustix::process::getpid();
        match fork() {
            Forked::Child => {
                life(socket, zygote);
                exit(0)
            }
            Forked::Parent(pid) => {
                announce(&socket, pid);
                self.children.insert(pid, Some(socket));
            }
            Forked::Failed => {}
        }
    }

    /// Forks a zygote: it has a control socket of its own, and its end needs no telling.
    fn fork_zygote(&mut self, life: impl FnOnce(Pid)) {
        let root = rustix::process::getpid();
        match fork() {
            Forked::Child => {
                life(root);
                exit(0)
            }
            Forked::Parent(pid) => {
                self.children.insert(pid, None);
            }
            Forked::Failed => {}
        }
    }

    /// Reaps every child that has died, and tells on its socket how.
    fn bury(&mut self) {
        let mut drained = [0; 1024];
        while rustix::io::read(&self.deaths, &mut drained).is_ok_and(|n_read| n_read == drained.len()) {}
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let Some(Some(socket)) = self.children.remove(&pid) else { continue };
            let exit = Exit { signal: status.terminating_signal(), status: status.exit_status() };
            let _ = rustix::net::send(
                &socket,
                &encode(Kind::Exited, &exit, b""),
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            );
        }
    }
}

enum Forked {
    Child,
    Parent(Pid),
    Failed,
}

fn fork() -> Forked {
    // SAFETY: a zygote has one thread, so the child may go on with all that the parent could do.
    match unsafe { libc::fork() } {
        0 => Forked::Child,
        pid => Pid::from_raw(pid).filter(|_| pid > 0).map_or(Forked::Failed, Forked::Parent),
    }
}

/// Sends a child's pidfd on the child's socket. The child can't have been reaped: this thread is the one that reaps.
fn announce(socket: &OwnedFd, pid: Pid) {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [pidfd.as_fd()];
    if ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        let frame = encode(Kind::Born, &pid.as_raw_nonzero().get(), b"");
        let _ = sendmsg(
            socket,
            &[IoSlice::new(&frame)],
            &mut ancillary,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
    }
}

fn stdin() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

/// Leaves without running what a parent registered to run at its own end.
fn exit(status: i32) -> ! {
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(status) }
}
