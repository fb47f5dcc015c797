//! systemd's readiness protocol (sd_notify(3)): one datagram a message, to the socket that it names. Without it, nothing.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// The service manager, if there is one.
pub(super) struct Manager(Option<UnixDatagram>);

impl Manager {
    /// As `NOTIFY_SOCKET` says.
    pub fn from_env() -> Self {
        Manager(std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let socket = UnixDatagram::unbound().ok()?;
            // A send must never block the supervisor.
            socket.set_nonblocking(true).ok()?;
            match name.as_bytes().split_first() {
                #[cfg(target_os = "linux")]
                Some((b'@', name)) => {
                    use std::os::linux::net::SocketAddrExt;
                    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).ok()?;
                    socket.connect_addr(&address).ok()?;
                }
                _ => socket.connect(&name).ok()?,
            }
            Some(socket)
        }))
    }

    /// Everything that was asked for has come up, or has been tried.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is being read again; [`Manager::ready`] ends it.
    pub fn reloading(&self) {
        // CLOCK_MONOTONIC in microseconds, as Type=notify-reload wants it.
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a valid timespec that lives beyond the call, and the call writes nothing else.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        let now = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// It ends.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// It is alive.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    /// How often the manager wants to hear that: half of the time after which it gives us up.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let limit = number("WATCHDOG_USEC").filter(|limit| ours && *limit > 0)?;
        Some(Duration::from_micros(limit / 2))
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.0 {
            // A manager that is gone or busy is no reason to stop.
            let _ = socket.send(message.as_bytes());
        }
    }
}
