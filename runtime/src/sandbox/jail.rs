//! The jail: what a zygote gives up once, and what each process that it forks gives up before it touches foreign code.
#![allow(unsafe_code)]

use std::io;
use std::mem::offset_of;
use std::os::fd::BorrowedFd;

use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid, UnshareFlags};
use seccompiler::sock_filter;
use serde::{Deserialize, Serialize};

/// The user that nothing belongs to: what a zygote started by root becomes.
const NOBODY: u32 = 65_534;
/// The most descriptors that a zygote may hold: one per process that it has forked, and a few.
const MAX_ZYGOTE_FILES: u64 = 65_536;

/// What the kernel allows a jailed process, as hard limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JailLimits {
    /// Bytes of address space beyond what the zygote has mapped already.
    pub address_space: u64,
    /// Seconds of processor time.
    pub cpu_seconds: u64,
}

/// Gives up what a zygote never needs: privileges, namespaces, the right to write files. Called once, before any fork,
/// while the process has one thread.
pub fn enter_zygote() {
    drop_namespaces_and_user();
    // Each of these lowers a right that the next layer doesn't depend on; where a kernel lacks one, the others hold.
    let _ = rustix::thread::set_no_new_privs(true);
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    limit(Resource::Core, 0);
    limit(Resource::Fsize, 0);
    let most = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(MAX_ZYGOTE_FILES);
    limit(Resource::Nofile, most.min(MAX_ZYGOTE_FILES));
    // A kill arrives sooner at a process that doesn't compete with its killer.
    let _ = rustix::process::nice(19);
    std::panic::set_hook(Box::new(|_| {}));
    default_fault_signals();
}

/// Locks the calling process in: `socket` becomes descriptor 0 and the only one, the process dies with its `zygote`, and
/// from here on every system call but a few kills it. There is no way back.
pub fn enter_call(socket: BorrowedFd<'_>, zygote: Pid, limits: JailLimits) -> io::Result<()> {
    rustix::stdio::dup2_stdin(socket)?;
    close_all_but_stdin()?;
    die_with(zygote)?;
    limit(Resource::Nofile, 1);
    // The soft limit's SIGXCPU says why; the hard limit's SIGKILL a second later would not.
    let cpu = Rlimit { current: Some(limits.cpu_seconds), maximum: Some(limits.cpu_seconds + 1) };
    rustix::process::setrlimit(Resource::Cpu, cpu)?;
    limit(Resource::As, mapped_bytes().saturating_add(limits.address_space));
    seccompiler::apply_filter(&FILTER).map_err(io::Error::other)
}

/// Asks the kernel to kill this process when its parent ends, and makes sure that it hasn't ended already.
pub fn die_with(parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotConnected.into()) }
}

/// Closes every descriptor but 0.
pub fn close_all_but_stdin() -> io::Result<()> {
    // SAFETY: the caller is a fork that is about to be jailed, or a zygote that has just started: nothing in it uses any
    // descriptor but 0 again, and the owners of the closed ones are never dropped (the process leaves by `_exit`).
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 1u32, u32::MAX, 0u32) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// As root: leave the network, IPC and host-name namespaces, then become nobody. Otherwise: the same inside a user
/// namespace, where the kernel grants one, and without the capabilities that it brings.
fn drop_namespaces_and_user() {
    let namespaces = UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if rustix::process::geteuid().is_root() {
        let _ = unshare(namespaces);
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        let _ = rustix::thread::set_thread_groups(&[]);
        let _ = rustix::thread::set_thread_res_gid(gid, gid, gid);
        let _ = rustix::thread::set_thread_res_uid(uid, uid, uid);
    } else {
        let _ = unshare(namespaces | UnshareFlags::NEWUSER);
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    let _ = rustix::thread::set_capabilities(None, none);
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: unsafe only where file descriptors are unshared between threads; none of the flags does that, and the
    // process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

fn limit(resource: Resource, value: u64) {
    let _ = rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) });
}

/// Bytes of address space that are mapped now.
fn mapped_bytes() -> u64 {
    // Read by the zygote that this process was forked from; a fork maps the same.
    MAPPED.get().copied().unwrap_or(0)
}

static MAPPED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();

/// Notes how much address space is mapped, for the limits of the processes that will be forked from this one.
pub fn note_mapped_bytes() {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split(' ').next()?.parse::<u64>().ok());
    // Without /proc the limit would be guesswork: the isolate's own heap limit holds all the same.
    let bytes = pages.map_or(u64::MAX / 2, |pages| pages * rustix::param::page_size() as u64);
    let _ = MAPPED.set(bytes);
}

/// What a process is about to do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Read,
    /// Write to it: a private copy of each page is made.
    Write,
}

/// Makes the pages of a mapping present. On a kernel older than 5.14, or where nothing is mapped, nothing happens.
pub fn populate(start: usize, len: usize, access: Access) {
    let advice = match access {
        Access::Read => rustix::mm::Advice::LinuxPopulateRead,
        Access::Write => rustix::mm::Advice::LinuxPopulateWrite,
    };
    // SAFETY: the two kinds of advice fault pages in as an access would, and leave their contents as they are.
    let _ = unsafe { rustix::mm::madvise(std::ptr::with_exposed_provenance_mut(start), len, advice) };
}

/// A fault ends the process by its own signal, which says what happened; Rust's handlers would print and abort.
fn default_fault_signals() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: sets the default disposition; no handler of ours runs.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// The system calls that a jailed process may make whatever their arguments; the most frequent first.
const ALLOWED: [i64; 15] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_mremap,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_gettimeofday,
    libc::SYS_exit,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
];

/// The filter: a short linear program, since its length is what installing it costs.
static FILTER: [sock_filter; FILTER_LEN] = filter();
const FILTER_LEN: usize = 4 + ALLOWED.len() + 2 + 3 + 3 + 2;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "constants, all small")]
const fn filter() -> [sock_filter; FILTER_LEN] {
    const ARGUMENT: u32 = offset_of!(libc::seccomp_data, args) as u32;
    const PROTECTION: u32 = ARGUMENT + 2 * 8;
    const FLAGS: u32 = ARGUMENT + 3 * 8;
    /// Numbers from here on are x32's, another table of system calls.
    const X32: u32 = 0x4000_0000;
    let kill = FILTER_LEN - 2;
    let allow = FILTER_LEN - 1;
    const KILL: sock_filter = instruction(RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0);
    let mut program = [KILL; FILTER_LEN];
    let mut at = 0;
    program[at] = instruction(LOAD, offset_of!(libc::seccomp_data, arch) as u32, 0, 0);
    at += 1;
    program[at] = instruction(JUMP_IF_EQUAL, AUDIT_ARCH, 0, (kill - at - 1) as u8);
    at += 1;
    program[at] = instruction(LOAD, offset_of!(libc::seccomp_data, nr) as u32, 0, 0);
    at += 1;
    program[at] = instruction(JUMP_IF_AT_LEAST, X32, (kill - at - 1) as u8, 0);
    at += 1;
    let mut i = 0;
    while i < ALLOWED.len() {
        program[at] = instruction(JUMP_IF_EQUAL, ALLOWED[i] as u32, (allow - at - 1) as u8, 0);
        at += 1;
        i += 1;
    }
    let mmap = at + 2;
    let protect = mmap + 3;
    program[at] = instruction(JUMP_IF_EQUAL, libc::SYS_mmap as u32, (mmap - at - 1) as u8, 0);
    at += 1;
    program[at] = instruction(
        JUMP_IF_EQUAL,
        libc::SYS_mprotect as u32,
        (protect - at - 1) as u8,
        (kill - at - 1) as u8,
    );
    at += 1;
    // mmap: private and anonymous, then as mprotect.
    program[at] = instruction(LOAD, FLAGS, 0, 0);
    at += 1;
    program[at] = instruction(AND, !(libc::MAP_NORESERVE | libc::MAP_STACK) as u32, 0, 0);
    at += 1;
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u32;
    program[at] = instruction(JUMP_IF_EQUAL, anonymous, 0, (kill - at - 1) as u8);
    at += 1;
    // Never executable.
    program[at] = instruction(LOAD, PROTECTION, 0, 0);
    at += 1;
    program[at] = instruction(AND, libc::PROT_EXEC as u32, 0, 0);
    at += 1;
    program[at] = instruction(JUMP_IF_EQUAL, 0, (allow - at - 1) as u8, (kill - at - 1) as u8);
    at += 1;
    assert!(at == kill);
    program[allow] = instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    program
}

const fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "the kernel's filter sees 32 bits as well")]
mod tests {
    use super::*;

    /// Runs the filter on one system call as the kernel would.
    fn verdict(arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let load = |offset: u32| match offset as usize {
            0 => number,
            4 => arch,
            at => args[(at - 16) / 8] as u32,
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = FILTER[at].clone();
            at += 1;
            match code {
                LOAD => accumulator = load(k),
                AND => accumulator &= k,
                JUMP_IF_EQUAL => at += usize::from(if accumulator == k { jt } else { jf }),
                JUMP_IF_AT_LEAST => at += usize::from(if accumulator >= k { jt } else { jf }),
                RETURN => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn allowed(number: i64, args: [u64; 6]) -> bool {
        verdict(AUDIT_ARCH, number as u32, args) == libc::SECCOMP_RET_ALLOW
    }

    #[test]
    fn only_the_listed_calls_pass() {
        let passed: Vec<i64> = (0..1024).filter(|&number| allowed(number, [0; 6])).collect();
        let mut expected = ALLOWED.to_vec();
        expected.push(libc::SYS_mprotect);
        expected.sort_unstable();
        assert_eq!(passed, expected);
    }

    #[test]
    fn memory_is_never_shared_executable_or_from_a_file() {
        let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let map =
            |protection: i32, flags: u64| allowed(libc::SYS_mmap, [0, 4096, protection as u64, flags, 0, 0]);
        assert!(map(libc::PROT_READ | libc::PROT_WRITE, anonymous));
        assert!(map(libc::PROT_NONE, anonymous | libc::MAP_NORESERVE as u64));
        assert!(!map(libc::PROT_READ | libc::PROT_EXEC, anonymous));
        assert!(!map(libc::PROT_READ, libc::MAP_PRIVATE as u64));
        assert!(!map(libc::PROT_READ, (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64));
        assert!(!allowed(libc::SYS_mprotect, [0, 4096, libc::PROT_EXEC as u64, 0, 0, 0]));
    }

    #[test]
    fn another_architectures_numbers_are_refused() {
        assert_eq!(verdict(0x4000_0003, libc::SYS_read as u32, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(verdict(AUDIT_ARCH, 0x4000_0000, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    }
}
