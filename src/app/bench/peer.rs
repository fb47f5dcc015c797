//! Another engine as a process: a path on a line in, a JSON object on a line out. See `bench/whisper-default` and `bench/faster_whisper_peer.py`.

use crate::error::Error;
use crate::models::cache_dir;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running peer.
pub(super) struct Peer {
    pub name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What a peer made of a recording.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Answer {
    /// Recognition alone, milliseconds.
    pub ms: f64,
    pub text: String,
}

impl Peer {
    /// Every peer that `bench/setup-peers` has installed, with the same weights and threads as ours.
    pub fn installed(model: &Path, threads: usize) -> Vec<Self> {
        let threads = ["--threads".into(), threads.to_string().into()];
        let built = PathBuf::from("bench/whisper-default/target/release/whisper-default");
        let whisper = Self::start("whisper.cpp defaults", &built, [[model.into()].as_slice(), &threads].concat());
        let (python, weights) = (cache_dir().join("bench-venv/bin/python"), cache_dir().join("bench/whisper-base-ct2"));
        let script = [PathBuf::from("bench/faster_whisper_peer.py").into(), weights.into_os_string()];
        let faster = Self::start("faster-whisper int8", &python, [script.as_slice(), &threads].concat());
        [whisper, faster].into_iter().flatten().collect()
    }

    fn start(name: &'static str, program: &Path, arguments: Vec<OsString>) -> Option<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let (input, mut output) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
        // The first line says that it is ready; one that ends before is not installed as it should be.
        let mut ready = String::new();
        output.read_line(&mut ready).ok().filter(|bytes| *bytes > 0)?;
        Some(Peer { name, child, input, output })
    }

    /// Recognises one file.
    pub fn recognize(&mut self, path: &Path) -> Result<Answer, Error> {
        let failed = |why: String| Error::Usage(format!("the peer {} failed: {why}", self.name));
        writeln!(self.input, "{}", path.display()).map_err(|error| failed(error.to_string()))?;
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&line).map_err(|error| failed(format!("{error} in '{}'", line.trim())))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It is gone already or it goes now; nothing is lost either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
