//! Limits that a child process puts on itself before it reads a single untrusted byte.
//!
//! They are set in the child's own code rather than between fork and exec: so the parent can spawn without forking its
//! whole address space, nothing here has to be async-signal-safe, and loading the program's own libraries is not counted.

use super::protocol::Limits;
use std::io;

/// What the confined process is going to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// This program's own decoder: one thread, opens nothing more.
    Decoder,
    /// ffmpeg, which loads libraries and starts threads.
    Ffmpeg,
}

/// Address space for ffmpeg's own libraries, bytes.
#[cfg(target_os = "linux")]
const FFMPEG_LIBRARIES: u64 = 512 << 20;

/// Confines the calling process; irreversible.
///
/// # Errors
/// When a limit cannot be set, or the parent has already gone. The caller must then not go on.
#[cfg(unix)]
pub(super) fn confine(limits: &Limits, role: Role) -> io::Result<()> {
    use nix::sys::resource::Resource;
    #[cfg(target_os = "linux")]
    {
        use nix::sys::{prctl, signal::Signal};
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        prctl::set_no_new_privs()?;
        if nix::unistd::getppid().as_raw().cast_unsigned() != limits.parent {
            return Err(io::Error::other("the parent process has ended"));
        }
        let base = match role {
            Role::Decoder => mapped()?,
            Role::Ffmpeg => FFMPEG_LIBRARIES,
        };
        lower(Resource::RLIMIT_AS, base.saturating_add(limits.memory_bytes), 0)?;
    }
    lower(Resource::RLIMIT_CORE, 0, 0)?;
    lower(Resource::RLIMIT_FSIZE, 0, 0)?;
    // At the soft limit SIGXCPU says what happened; the hard limit is for a process that ignores it.
    lower(Resource::RLIMIT_CPU, limits.cpu_seconds, 5)?;
    match role {
        Role::Decoder => {
            lower(Resource::RLIMIT_NOFILE, 16, 0)?;
            // Counts all processes of the user: 0 means that none can be added. Root is exempt.
            #[cfg(not(target_os = "solaris"))]
            lower(Resource::RLIMIT_NPROC, 0, 0)?;
        }
        Role::Ffmpeg => lower(Resource::RLIMIT_NOFILE, 64, 0)?,
    }
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn confine(_limits: &Limits, _role: Role) -> io::Result<()> {
    Ok(())
}

/// Lowers a limit; one that is already lower stays.
#[cfg(unix)]
fn lower(resource: nix::sys::resource::Resource, soft: u64, grace: u64) -> io::Result<()> {
    use nix::sys::resource::{getrlimit, setrlimit};
    let (_, hard) = getrlimit(resource)?;
    let hard = hard.min(soft.saturating_add(grace));
    setrlimit(resource, soft.min(hard), hard)?;
    Ok(())
}

/// Address space of this process, bytes.
#[cfg(target_os = "linux")]
fn mapped() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1024).ok_or_else(|| io::Error::other("/proc/self/status has no VmSize"))
}
