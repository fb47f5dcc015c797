//! Another engine as a process: a path on a line in, a JSON object on a line out. See `bench/README.md`.

use crate::error::Error;
use crate::models::cache_dir;
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
    /// whisper.cpp's defaults on the same weights; `None` where `bench/setup-peers` has not built it.
    pub fn whisper_default(model: &Path, threads: usize) -> Option<Self> {
        let program = cache_dir().join("bench/whisper-default");
        let arguments = [model.to_owned(), PathBuf::from(threads.to_string())];
        Self::start("whisper.cpp defaults", &program, &arguments)
    }

    /// faster-whisper, int8, greedy, on the weights that ours were imported from; `None` where it is not installed.
    pub fn faster_whisper(threads: usize) -> Option<Self> {
        let folder = cache_dir().join("bench");
        let arguments = [folder.join("faster_whisper_peer.py"), folder.join("base-ct2"), threads.to_string().into()];
        Self::start("faster-whisper int8", &folder.join("venv/bin/python"), &arguments)
    }

    fn start(name: &'static str, program: &Path, arguments: &[PathBuf]) -> Option<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let (input, output) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
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
