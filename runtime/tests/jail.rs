//! Attacks from inside the jail: a child of the test enters it as a call process does, then tries one thing that it may
//! not; the kernel must end it with SIGSYS. What a connector's code needs goes on working.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::unistd::{Gid, Uid};
use portcullis_runtime::sandbox::jail::{self, JailLimits};
use rustix::fs::{MemfdFlags, Mode, OFlags, Timespec};
use rustix::process::{Pid, Resource, Rlimit, Signal};

/// Names, in the child's environment, what it is to try.
const ATTACK: &str = "PORTCULLIS_JAIL_ATTACK";
/// What the child says once it is jailed: what ends it after that is the attack.
const JAILED: &[u8] = b"jailed";
/// What a control says when all of it worked.
const DONE: &[u8] = b"done";
/// The child's exit status where an attack was not stopped.
const SURVIVED: u8 = 7;

type Attack = fn();

fn main() -> ExitCode {
    if let Some(name) = std::env::var_os(ATTACK) {
        return child(&name.to_string_lossy());
    }
    let arguments = Arguments::from_args();
    let trials =
        ATTACKS.iter().map(|&(name, _)| Trial::test(format!("killed::{name}"), move || check_killed(name)));
    let works =
        CONTROLS.iter().map(|&(name, _)| Trial::test(format!("works::{name}"), move || check_works(name)));
    let more = [
        Trial::test("limits::memory", || check_ends("memory", |status| !status.success())),
        Trial::test("limits::cpu", || check_ends("cpu", |status| status.signal() == Some(24))),
        Trial::test("a child that is not its zygote's is not let in", || {
            check_ends("orphan", |status| status.code() == Some(3))
        }),
        Trial::test("it dies with its zygote", check_dies_with_parent),
    ];
    libtest_mimic::run(&arguments, trials.chain(works).chain(more).collect()).exit_code()
}

// The child.

/// Enters the jail and tries what `name` names. The process has one thread, as a zygote's fork has.
fn child(name: &str) -> ExitCode {
    jail::note_mapped_bytes();
    if name == "idle parent" {
        return idle_parent();
    }
    let all = ATTACKS.iter().chain(CONTROLS).chain(HOGS);
    let Some((_, attack)) = all.into_iter().find(|(known, _)| *known == name) else {
        return ExitCode::from(2);
    };
    let parent = if name == "orphan" { Pid::INIT } else { rustix::process::getppid().expect("a parent") };
    let limits = JailLimits { address_space: 64 << 20, cpu_seconds: 1 };
    if jail::enter_call(socket(), parent, limits).is_err() {
        return ExitCode::from(3);
    }
    say(JAILED);
    attack();
    ExitCode::from(SURVIVED)
}

fn say(text: &[u8]) {
    // Nobody to hear it is nothing to die of.
    let _ = rustix::io::write(socket(), text);
}

/// The jailed child's only descriptor.
fn socket() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

// The parent.

/// A child that tries `name`, and our end of its socket.
fn spawn(name: &str) -> (std::process::Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let child = Command::new(std::env::current_exe().expect("this test"))
        .env_clear()
        .env(ATTACK, name)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child");
    (child, ours)
}

/// How a child ends, and all that it said.
fn ended(name: &str) -> (ExitStatus, Vec<u8>) {
    let (mut child, mut socket) = spawn(name);
    let mut said = Vec::new();
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let heard = socket.read_to_end(&mut said);
    if heard.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().expect("its end");
    heard.unwrap_or_else(|error| panic!("{name} went on for 20 s: {error}, {status}"));
    (status, said)
}

fn check_killed(name: &str) -> Result<(), Failed> {
    let (status, said) = ended(name);
    expect(said == JAILED, || {
        format!("it said {:?} before it ended with {status}", String::from_utf8_lossy(&said))
    })?;
    expect(status.signal() == Some(Signal::SYS.as_raw()), || format!("it ended with {status}, not by SIGSYS"))
}

fn check_works(name: &str) -> Result<(), Failed> {
    let (status, said) = ended(name);
    let expected = [JAILED, DONE].concat();
    expect(said.ends_with(DONE) && said.starts_with(JAILED), || {
        format!(
            "it said {:?}, not {:?}, and ended with {status}",
            String::from_utf8_lossy(&said),
            String::from_utf8_lossy(&expected)
        )
    })?;
    expect(status.code() == Some(i32::from(SURVIVED)), || format!("it ended with {status}"))
}

fn check_ends(name: &str, is_expected: fn(ExitStatus) -> bool) -> Result<(), Failed> {
    let (status, _) = ended(name);
    expect(is_expected(status), || format!("it ended with {status}"))
}

/// A parent is killed; the jailed child that it had must be gone at once.
fn check_dies_with_parent() -> Result<(), Failed> {
    let (mut parent, mut socket) = spawn("idle parent");
    let mut said = [0; JAILED.len()];
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    socket.read_exact(&mut said)?;
    parent.kill()?;
    parent.wait()?;
    // The child held the socket's other end; reading ends when it is gone.
    let ended = socket.read_to_end(&mut Vec::new());
    expect(ended.is_ok(), || format!("the child outlives its parent: {ended:?}"))
}

/// A parent that has a jailed child on its own socket, and waits.
fn idle_parent() -> ExitCode {
    let socket = io::stdin().as_fd().try_clone_to_owned().expect("the socket");
    let mut child = Command::new("/proc/self/exe");
    let child = child.env(ATTACK, "wait").stdin(socket).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.spawn().expect("a child");
    // Only the child may hold the socket now.
    let nothing = File::open("/dev/null").expect("/dev/null");
    rustix::stdio::dup2_stdin(&nothing).expect("a descriptor");
    let _ = child.wait();
    ExitCode::SUCCESS
}

fn expect(holds: bool, message: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(message().into()) }
}

// What works.

const CONTROLS: &[(&str, Attack)] = &[
    ("heap", || {
        let mut map = BTreeMap::new();
        for i in 0..20_000u64 {
            map.insert(i, vec![i; 16]);
        }
        let mut large = vec![1u8; 8 << 20];
        large.extend_from_within(..);
        large.truncate(10);
        large.shrink_to_fit();
        if map.len() == 20_000 && large.len() == 10 {
            say(DONE);
        }
    }),
    ("clocks", || {
        let started = Instant::now();
        if SystemTime::now().elapsed().is_ok() && started.elapsed() < Duration::from_secs(5) {
            say(DONE);
        }
    }),
    ("processor time", || {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        if used.tv_sec < 5 {
            say(DONE);
        }
    }),
    ("randomness", || {
        let mut bytes = [0; 32];
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        if filled.is_ok() && bytes != [0; 32] {
            say(DONE);
        }
    }),
    ("arithmetic and text", || {
        let text: String = (0..1000).map(|i| format!("{:.3} ", f64::from(i).sqrt())).collect();
        if text.len() > 5000 {
            say(DONE);
        }
    }),
    ("the socket", || {
        say(&[b'x'; 1000]);
        say(DONE);
    }),
    ("a panic that is caught", || {
        std::panic::set_hook(Box::new(|_| {}));
        if std::panic::catch_unwind(|| panic!("no")).is_err() {
            say(DONE);
        }
    }),
];

/// What ends in another way than by SIGSYS.
const HOGS: &[(&str, Attack)] = &[
    ("memory", || {
        let mut hogs = Vec::new();
        loop {
            hogs.push(vec![1u8; 1 << 20]);
        }
    }),
    ("cpu", || {
        let mut n = 0u64;
        loop {
            n = std::hint::black_box(n.wrapping_mul(3) + 1);
        }
    }),
    ("wait", || {
        let _ = rustix::io::read(socket(), &mut [0; 1]);
    }),
    ("orphan", || {}),
];

// What kills.

fn c(text: &str) -> std::ffi::CString {
    std::ffi::CString::new(text).expect("no NUL")
}

/// An attack's own outcome is of no interest: it must not come to one.
fn try_it<T, E>(_: Result<T, E>) {}

/// The same, of what can't fail.
fn tried<T>(_: T) {}

const ATTACKS: &[(&str, Attack)] = &[
    // Files.
    ("open a file", || try_it(File::open("/etc/passwd"))),
    ("open itself", || try_it(File::open("/proc/self/mem"))),
    ("make a file", || {
        try_it(OpenOptions::new().write(true).create(true).truncate(true).open("/tmp/portcullis-jail"));
    }),
    ("open below a folder", || {
        try_it(rustix::fs::open("/", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()));
    }),
    ("list a folder", || try_it(fs::read_dir("/"))),
    ("stat", || try_it(fs::metadata("/"))),
    ("stat the socket", || try_it(rustix::fs::fstat(socket()))),
    ("access", || try_it(nix::unistd::access("/etc/passwd", nix::unistd::AccessFlags::R_OK))),
    ("read a link", || try_it(fs::read_link("/proc/self/exe"))),
    ("make a link", || try_it(symlink("/etc/passwd", "/tmp/portcullis-jail-link"))),
    ("hard link", || try_it(fs::hard_link("/etc/passwd", "/tmp/portcullis-jail-link"))),
    ("rename", || try_it(fs::rename("/tmp/portcullis-jail-a", "/tmp/portcullis-jail-b"))),
    ("unlink", || try_it(fs::remove_file("/tmp/portcullis-jail-a"))),
    ("make a folder", || try_it(fs::create_dir("/tmp/portcullis-jail-folder"))),
    ("remove a folder", || try_it(fs::remove_dir("/tmp/portcullis-jail-folder"))),
    ("chmod", || try_it(fs::set_permissions("/tmp/portcullis-jail-a", fs::Permissions::from_mode(0o777)))),
    ("chown", || try_it(std::os::unix::fs::chown("/tmp/portcullis-jail-a", Some(0), Some(0)))),
    ("truncate", || try_it(nix::unistd::truncate("/tmp/portcullis-jail-a", 0))),
    ("current folder", || try_it(std::env::current_dir())),
    ("change the folder", || try_it(std::env::set_current_dir("/"))),
    ("change the root", || try_it(nix::unistd::chroot("/"))),
    ("pivot the root", || try_it(nix::unistd::pivot_root("/", "/"))),
    ("make a pipe file", || {
        try_it(nix::unistd::mkfifo("/tmp/portcullis-jail-fifo", nix::sys::stat::Mode::S_IRUSR));
    }),
    ("watch files", || try_it(rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::empty()))),
    ("file system of a path", || try_it(rustix::fs::statfs("/"))),
    ("sync", || nix::unistd::sync()),
    ("umask", || tried(nix::sys::stat::umask(nix::sys::stat::Mode::empty()))),
    // Descriptors.
    ("dup", || try_it(rustix::io::dup(socket()))),
    ("fcntl dup", || try_it(rustix::io::fcntl_dupfd_cloexec(socket(), 0))),
    ("fcntl", || try_it(rustix::io::fcntl_getfd(socket()))),
    ("ioctl", || try_it(rustix::io::ioctl_fionread(socket()))),
    ("ioctl nonblocking", || try_it(rustix::io::ioctl_fionbio(socket(), true))),
    ("pipe", || try_it(rustix::pipe::pipe())),
    ("splice", || {
        try_it(rustix::pipe::splice(socket(), None, socket(), None, 1, rustix::pipe::SpliceFlags::empty()));
    }),
    ("sendfile", || try_it(rustix::fs::sendfile(socket(), socket(), None, 1))),
    ("copy_file_range", || try_it(rustix::fs::copy_file_range(socket(), None, socket(), None, 1))),
    ("seek", || try_it(rustix::fs::seek(socket(), rustix::fs::SeekFrom::Start(0)))),
    ("readv", || try_it(rustix::io::readv(socket(), &mut [IoSliceMut::new(&mut [0])]))),
    ("writev", || try_it(rustix::io::writev(socket(), &[IoSlice::new(b"x")]))),
    ("pread", || try_it(rustix::io::pread(socket(), &mut [0u8; 1], 0))),
    ("close", || try_it(nix::unistd::close(socket().as_raw_fd()))),
    ("memfd", || try_it(rustix::fs::memfd_create("a", MemfdFlags::CLOEXEC))),
    ("shared memory", || {
        try_it(nix::sys::mman::shm_open(
            "/portcullis-jail",
            nix::fcntl::OFlag::O_RDWR,
            nix::sys::stat::Mode::S_IRUSR,
        ));
    }),
    ("eventfd", || try_it(rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()))),
    ("epoll", || try_it(rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC))),
    ("poll", || {
        let mut one = [rustix::event::PollFd::from_borrowed_fd(socket(), rustix::event::PollFlags::IN)];
        try_it(rustix::event::poll(&mut one, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })));
    }),
    ("timerfd", || {
        try_it(rustix::time::timerfd_create(
            rustix::time::TimerfdClockId::Monotonic,
            rustix::time::TimerfdFlags::empty(),
        ));
    }),
    ("signalfd", || try_it(nix::sys::signalfd::SignalFd::new(&SigSet::empty()))),
    // Sockets.
    ("TCP socket", || try_it(TcpStream::connect("127.0.0.1:1"))),
    ("TCP listener", || try_it(TcpListener::bind("127.0.0.1:0"))),
    ("UDP socket", || try_it(UdpSocket::bind("127.0.0.1:0"))),
    ("Unix socket", || try_it(UnixStream::connect("/tmp/portcullis-jail-socket"))),
    ("Unix listener", || try_it(UnixListener::bind("/tmp/portcullis-jail-socket"))),
    ("Unix datagrams", || try_it(UnixDatagram::unbound())),
    ("socket pair", || try_it(UnixStream::pair())),
    ("netlink socket", || {
        try_it(rustix::net::socket(rustix::net::AddressFamily::NETLINK, rustix::net::SocketType::RAW, None));
    }),
    ("packet socket", || {
        try_it(rustix::net::socket(rustix::net::AddressFamily::PACKET, rustix::net::SocketType::RAW, None));
    }),
    ("send", || try_it(rustix::net::send(socket(), b"x", rustix::net::SendFlags::empty()))),
    ("receive", || try_it(rustix::net::recv(socket(), &mut [0u8; 1], rustix::net::RecvFlags::DONTWAIT))),
    ("pass a descriptor", || {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
        let descriptors = [socket()];
        ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(&descriptors));
        try_it(rustix::net::sendmsg(
            socket(),
            &[IoSlice::new(b"x")],
            &mut ancillary,
            rustix::net::SendFlags::empty(),
        ));
    }),
    ("take a descriptor", || {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut into = [IoSliceMut::new(&mut byte)];
        try_it(rustix::net::recvmsg(socket(), &mut into, &mut ancillary, rustix::net::RecvFlags::DONTWAIT));
    }),
    ("shut the socket", || try_it(rustix::net::shutdown(socket(), rustix::net::Shutdown::Both))),
    ("socket options", || try_it(rustix::net::sockopt::socket_recv_buffer_size(socket()))),
    ("set socket options", || try_it(rustix::net::sockopt::set_socket_send_buffer_size(socket(), 1 << 20))),
    ("who is the peer", || try_it(rustix::net::getpeername(socket()))),
    ("what is the peer's process", || try_it(rustix::net::sockopt::socket_peercred(socket()))),
    ("accept", || try_it(rustix::net::accept(socket()))),
    ("listen", || try_it(rustix::net::listen(socket(), 1))),
    // Processes and threads.
    ("fork, as a daemon does", || try_it(nix::unistd::daemon(true, true))),
    ("spawn", || try_it(Command::new("/bin/true").spawn())),
    ("exec", || tried(Command::new("/bin/true").exec())),
    ("execve", || try_it(nix::unistd::execve(&c("/bin/true"), &[c("true")], &[c("A=b")]))),
    ("execveat", || {
        try_it(nix::unistd::execveat(
            socket(),
            &c("/bin/true"),
            &[c("true")],
            &[c("A=b")],
            nix::fcntl::AtFlags::empty(),
        ));
    }),
    ("fexecve", || try_it(nix::unistd::fexecve(socket(), &[c("true")], &[c("A=b")]))),
    ("thread", || try_it(thread::Builder::new().spawn(|| say(b"a thread")).map(thread::JoinHandle::join))),
    ("wait", || try_it(rustix::process::wait(rustix::process::WaitOptions::NOHANG))),
    ("ptrace its parent", || try_it(nix::sys::ptrace::attach(nix::unistd::Pid::from_raw(1)))),
    ("seize", || {
        try_it(nix::sys::ptrace::seize(nix::unistd::Pid::from_raw(1), nix::sys::ptrace::Options::empty()));
    }),
    ("be traced", || try_it(nix::sys::ptrace::traceme())),
    ("signal a process", || try_it(rustix::process::test_kill_process(Pid::INIT))),
    ("signal its parent", || try_it(nix::sys::signal::kill(nix::unistd::Pid::from_raw(1), None))),
    ("signal its group", || try_it(rustix::process::test_kill_current_process_group())),
    ("raise", || try_it(nix::sys::signal::raise(NixSignal::SIGUSR1))),
    ("abort", || std::process::abort()),
    ("pidfd", || try_it(rustix::process::pidfd_open(Pid::INIT, rustix::process::PidfdFlags::empty()))),
    ("process group", || try_it(rustix::process::setpgid(None, None))),
    ("session", || try_it(rustix::process::setsid())),
    ("nice", || try_it(rustix::process::nice(-20))),
    ("affinity", || try_it(rustix::thread::sched_setaffinity(None, &rustix::thread::CpuSet::new()))),
    ("yield", || rustix::thread::sched_yield()),
    ("sleep", || thread::sleep(Duration::from_millis(1))),
    ("alarm", || tried(nix::unistd::alarm::set(1))),
    ("mask signals", || try_it(nix::sys::signal::SigSet::all().thread_block())),
    ("its number", || tried(rustix::process::getppid())),
    // Rights.
    ("become root", || try_it(nix::unistd::setuid(Uid::from_raw(0)))),
    ("become root, all of it", || {
        let root = Uid::from_raw(0);
        try_it(nix::unistd::setresuid(root, root, root));
    }),
    ("root's group", || try_it(nix::unistd::setgid(Gid::from_raw(0)))),
    ("groups", || try_it(nix::unistd::setgroups(&[Gid::from_raw(0)]))),
    ("who am I", || tried(nix::unistd::getuid())),
    ("capabilities", || try_it(rustix::thread::capabilities(None))),
    ("all capabilities", || {
        let all = rustix::thread::CapabilitySet::all();
        let sets = rustix::thread::CapabilitySets { effective: all, permitted: all, inheritable: all };
        try_it(rustix::thread::set_capabilities(None, sets));
    }),
    ("more files", || {
        try_it(rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(1), maximum: Some(1) }));
    }),
    ("its limits", || tried(rustix::process::getrlimit(Resource::As))),
    ("another's limits", || {
        let limit = Rlimit { current: None, maximum: None };
        try_it(rustix::process::prlimit(Some(Pid::INIT), Resource::Core, limit));
    }),
    ("prctl: dumpable", || {
        try_it(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable));
    }),
    ("prctl: outlive its zygote", || try_it(rustix::process::set_parent_process_death_signal(None))),
    ("prctl: no_new_privs", || try_it(rustix::thread::set_no_new_privs(true))),
    ("prctl: its name", || try_it(rustix::thread::set_name(&c("portcullis")))),
    ("prctl: keep capabilities", || try_it(rustix::thread::set_keep_capabilities(true))),
    ("new user namespace", || try_it(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER))),
    ("new network namespace", || try_it(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET))),
    ("enter a namespace", || try_it(nix::sched::setns(socket(), nix::sched::CloneFlags::CLONE_NEWNET))),
    // The system.
    ("its name", || tried(rustix::system::uname())),
    ("its load", || tried(rustix::system::sysinfo())),
    ("set the clock", || {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        try_it(rustix::time::clock_settime(rustix::time::ClockId::Monotonic, now));
    }),
    ("lock all memory", || try_it(nix::sys::mman::mlockall(nix::sys::mman::MlockAllFlags::MCL_CURRENT))),
    ("standard output", || {
        // Descriptor 1 is closed: writing to it fails and does not kill; opening one anew does.
        let _ = io::stdout().write_all(b"x");
        try_it(File::create(Path::new("/dev/stdout")));
    }),
];
