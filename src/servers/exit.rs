//! Why a server ended: its wait status, what the kernel counted meanwhile, and its last words.

use serde::{Deserialize, Serialize};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// How a server ended, as its keeper saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// In the words of the system: `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub how: String,
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// Signal, if one ended it.
    pub signal: Option<i32>,
    /// Whether it was asked to.
    pub asked: bool,
    /// Processes that the kernel killed for want of memory during its life, on the whole machine or in its cgroup.
    pub oom_kills: u64,
}

/// The class of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitKind {
    /// It was asked to end.
    Asked,
    /// Memory of the machine, the container or the GPU ran out.
    OutOfMemory,
    /// An argument that this build does not know, or a bad value of one.
    BadFlag,
    /// Another program has its port.
    PortTaken,
    /// The model's file is not there.
    ModelMissing,
    /// The model's file is damaged, or not for this build.
    ModelCorrupt,
    /// Killed from outside.
    Killed,
    /// A signal that means a mistake in the program or its build.
    Crashed,
    /// It is there and does not answer.
    Hung,
    /// There is no llama-server.
    ProgramMissing,
    /// Docker has no such image.
    ImageMissing,
    /// Docker does not answer.
    DaemonDown,
    /// Docker or the image refused to run it.
    NotStarted,
    /// Anything else.
    Failed,
}

/// Why a server ended, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitReason {
    /// The class.
    pub kind: ExitKind,
    /// In the words of the system.
    pub how: String,
    /// One clause for a person.
    #[serde(skip_deserializing, default)]
    pub advice: &'static str,
}

impl Exit {
    /// What a keeper has seen.
    pub(super) fn new(status: ExitStatus, asked: bool, oom_kills: u64) -> Self {
        Exit { how: status.to_string(), code: status.code(), signal: status.signal(), asked, oom_kills }
    }

    /// Nobody saw it.
    pub(super) fn unknown(how: &str) -> Self {
        Exit { how: how.to_owned(), code: None, signal: None, asked: false, oom_kills: 0 }
    }

    /// The reason, given the last lines of the log.
    pub fn reason(&self, tail: &str) -> ExitReason {
        let kind = self.kind(tail);
        ExitReason { kind, how: self.how.clone(), advice: kind.advice() }
    }

    fn kind(&self, tail: &str) -> ExitKind {
        if self.asked {
            return ExitKind::Asked;
        }
        let said = |words: &[&str]| words.iter().any(|word| tail.contains(word));
        match self.signal {
            // A program that is killed has no last words; what its log ends with is about something else.
            Some(9) if self.oom_kills > 0 => return ExitKind::OutOfMemory,
            Some(9 | 15 | 2 | 1) => return ExitKind::Killed,
            // A failed allocation aborts too.
            Some(_) if !said(&OUT_OF_MEMORY) => return ExitKind::Crashed,
            _ => {}
        }
        // What it says is more exact than its status. The order matters: a model that does not fit is first "failed to
        // allocate" and then "failed to load model".
        let told = [
            (&OUT_OF_MEMORY[..], ExitKind::OutOfMemory),
            (&BIND[..], ExitKind::PortTaken),
            (&DAEMON_DOWN[..], ExitKind::DaemonDown),
            (&IMAGE_MISSING[..], ExitKind::ImageMissing),
            (&BAD_FLAG[..], ExitKind::BadFlag),
            (&MODEL_CORRUPT[..], ExitKind::ModelCorrupt),
            (&MODEL_MISSING[..], ExitKind::ModelMissing),
        ];
        if let Some((_, kind)) = told.into_iter().find(|(words, _)| said(words)) {
            return kind;
        }
        // As docker and shells give signals: 128 and the signal's number.
        match self.code {
            Some(137) if self.oom_kills > 0 => ExitKind::OutOfMemory,
            Some(137 | 143) => ExitKind::Killed,
            Some(132 | 134 | 135 | 136 | 139) => ExitKind::Crashed,
            Some(125..=127) => ExitKind::NotStarted,
            _ if said(&MODEL_FAILED) => ExitKind::ModelCorrupt,
            _ => ExitKind::Failed,
        }
    }
}

impl ExitReason {
    /// With the advice, which is not read but follows from the class.
    pub fn whole(self) -> Self {
        ExitReason { advice: self.kind.advice(), ..self }
    }

    /// It is there and does not answer.
    pub fn hung(how: impl Into<String>) -> Self {
        ExitReason { kind: ExitKind::Hung, how: how.into(), advice: ExitKind::Hung.advice() }
    }
}

impl std::fmt::Display for ExitReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.how, self.kind.advice())
    }
}

impl ExitKind {
    /// One clause for a person: what it was and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            ExitKind::Asked => "it was asked to end",
            ExitKind::OutOfMemory => {
                "it was out of memory; choose a smaller model or context, or fewer slots (`bestbox up --dry-run` says what fits)"
            }
            ExitKind::BadFlag => "this build refuses an argument; see the log, and take it out of extra_args",
            ExitKind::PortTaken => "its port is taken by another program; end that, or set another port",
            ExitKind::ModelMissing => "its model is not there; run `bestbox models pull`, or set its path",
            ExitKind::ModelCorrupt => {
                "its model is damaged, or too new for this llama-server; `bestbox models verify` checks it, `make setup` \
                 builds a newer server"
            }
            ExitKind::Killed => {
                "it was killed: by somebody, or because memory ran out; a smaller model or context needs less"
            }
            ExitKind::Crashed => {
                "it crashed: a build for another CPU, or a compiler bug; `make setup` builds it again, \
                 and `--no-repack` in its extra_args avoids the newest CPU kernels"
            }
            ExitKind::Hung => "it does not answer and is replaced; if that happens again, look at the GPU driver",
            ExitKind::ProgramMissing => "run `make setup`, or set servers.program",
            ExitKind::ImageMissing => {
                "docker has no such image; build it (deploy/Dockerfile.llama), or set the tier's image under [up]"
            }
            ExitKind::DaemonDown => "docker does not answer: start its daemon, and check that this user may use it",
            ExitKind::NotStarted => "docker could not start llama-server in the container; see the log",
            ExitKind::Failed => "see its log",
        }
    }
}

/// llama.cpp's, ggml's and the C++ runtime's words for memory that is not there.
const OUT_OF_MEMORY: [&str; 12] = [
    "insufficient memory",
    "std::bad_alloc",
    "failed to allocate",
    "unable to allocate",
    "out of memory",
    "Out of memory",
    "OutOfDeviceMemory",
    "ErrorOutOfHostMemory",
    "cannot allocate memory",
    "Cannot allocate memory",
    "alloc_tensor_range: failed",
    "OCI runtime create failed: container init was OOM-killed",
];
const BIND: [&str; 3] = ["couldn't bind", "ddress already in use", "port is already allocated"];
const DAEMON_DOWN: [&str; 3] = [
    "Cannot connect to the Docker daemon",
    "permission denied while trying to connect",
    "Is the docker daemon running",
];
const IMAGE_MISSING: [&str; 3] = ["Unable to find image", "pull access denied", "No such image"];
const BAD_FLAG: [&str; 6] = [
    "error: invalid argument",
    "error while handling argument",
    "unrecognized option",
    "unknown argument",
    "invalid value for",
    "error: unknown device",
];
const MODEL_MISSING: [&str; 1] = ["failed to open GGUF file"];
const MODEL_CORRUPT: [&str; 8] = [
    "invalid magic",
    "failed to read magic",
    "tensor data is not within the file bounds",
    "failed to read key-value",
    "failed to read tensor",
    "unknown model architecture",
    "is corrupted or incomplete",
    "failed to read header",
];
const MODEL_FAILED: [&str; 2] = ["error loading model", "failed to load model"];

/// The words of llama-server and of docker for a port that was taken.
pub(super) fn is_bind_error(tail: &str) -> bool {
    BIND.iter().any(|words| tail.contains(words))
}

/// Processes that the kernel has killed for want of memory so far: on the machine, or in this process's cgroup.
pub(super) fn oom_kills() -> u64 {
    let count = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
        line.trim().parse::<u64>().ok()
    };
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/vmstat").and_then(|text| count(&text));
    let group = read("/proc/self/cgroup").and_then(|text| {
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?.trim().to_owned();
        count(&read(&format!("/sys/fs/cgroup{path}/memory.events"))?)
    });
    machine.unwrap_or_default().max(group.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(signal: Option<i32>, code: Option<i32>) -> Exit {
        Exit { how: String::new(), code, signal, asked: false, oom_kills: 0 }
    }

    #[test]
    fn ends_are_told_apart_by_status_and_last_words() {
        let cases = [
            (exit(Some(9), None), "", ExitKind::Killed),
            (Exit { oom_kills: 1, ..exit(Some(9), None) }, "", ExitKind::OutOfMemory),
            (Exit { oom_kills: 1, ..exit(Some(11), None) }, "", ExitKind::Crashed),
            (exit(Some(4), None), "loading", ExitKind::Crashed),
            // Of a backtrace.
            (exit(Some(6), None), "58 libc_start.h: No such file or directory.", ExitKind::Crashed),
            (exit(Some(9), None), "an earlier request was out of memory", ExitKind::Killed),
            (
                exit(Some(6), None),
                "terminate called after throwing an instance of 'std::bad_alloc'",
                ExitKind::OutOfMemory,
            ),
            (
                exit(None, Some(1)),
                "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 5\nfailed to load model",
                ExitKind::OutOfMemory,
            ),
            (exit(None, Some(1)), "error: invalid argument: --mlok", ExitKind::BadFlag),
            (
                exit(None, Some(1)),
                "couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8081",
                ExitKind::PortTaken,
            ),
            (
                exit(None, Some(1)),
                "gguf_init_from_file: failed to open GGUF file '/m.gguf' (No such file or directory)\nfailed to load model",
                ExitKind::ModelMissing,
            ),
            (
                exit(None, Some(1)),
                "gguf_init: invalid magic characters: 'nope'\nfailed to load model",
                ExitKind::ModelCorrupt,
            ),
            (exit(None, Some(1)), "srv load_model: failed to load model, 'x.gguf'", ExitKind::ModelCorrupt),
            (exit(None, Some(125)), "docker: Cannot connect to the Docker daemon at unix:///", ExitKind::DaemonDown),
            (exit(None, Some(125)), "docker: Error: pull access denied for bestbox-llama", ExitKind::ImageMissing),
            (exit(None, Some(125)), "Bind for 127.0.0.1:8081 failed: port is already allocated", ExitKind::PortTaken),
            (exit(None, Some(127)), "exec: \"llama-server\": not found", ExitKind::NotStarted),
            (Exit { oom_kills: 2, ..exit(None, Some(137)) }, "", ExitKind::OutOfMemory),
            (exit(None, Some(3)), "bad luck", ExitKind::Failed),
            (Exit { asked: true, ..exit(Some(15), None) }, "out of memory", ExitKind::Asked),
        ];
        for (exit, tail, expected) in cases {
            assert_eq!(exit.reason(tail).kind, expected, "{exit:?} {tail}");
            assert!(!expected.advice().is_empty());
        }
    }
}
