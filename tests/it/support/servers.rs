//! Settings of managed servers for tests, and a look at processes.

use super::llama::{SMOL, model, program};
use bestbox::servers::{GpuLayers, Launcher, Port, ServerSettings};
use std::path::Path;
use std::time::{Duration, Instant};

/// The smallest model on any free port, registered under `dir`.
pub fn settings(dir: &Path) -> ServerSettings {
    ServerSettings { program: program(), model: model(SMOL), ..bare_settings(dir) }
}

/// The same with neither program nor model.
pub fn bare_settings(dir: &Path) -> ServerSettings {
    ServerSettings {
        name: "light".to_owned(),
        program: dir.join("no-such-program"),
        launcher: Launcher::Native,
        model: dir.join("no-such-model"),
        host: "127.0.0.1".to_owned(),
        port: Port::Any,
        context_per_request: 512,
        parallel: 2,
        speculate: 0,
        gpu_layers: GpuLayers::Count(0),
        // One: on a busy machine two threads that wait for each other are slower.
        threads: Some(1),
        device: None,
        cache_ram_mib: 0,
        prompt_dir: None,
        api_key: None,
        extra_args: Vec::new(),
        startup_timeout: Duration::from_secs(60),
        grace: Duration::from_secs(5),
        run_dir: dir.join("run"),
        log_dir: dir.join("logs"),
        keeper: env!("CARGO_BIN_EXE_bestbox").into(),
    }
}

/// Whether a process is there and not a zombie.
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Fails if the process is still there after `limit`.
pub fn assert_gone(pid: u32, limit: Duration) {
    let start = Instant::now();
    while runs(pid) {
        assert!(start.elapsed() < limit, "process {pid} is still there after {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Parent of a process.
pub fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("process is there");
    let (_, rest) = stat.rsplit_once(") ").expect("a state");
    rest.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("a parent")
}

/// `kill -9`.
pub fn kill_9(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("kill");
}
