//! What the decoder process runs: confine, then decode standard input to standard output. Nothing else is initialised.

use super::protocol::{Failure, Frame, Limits, Request, write_frame};
use super::sandbox::{Role, confine};
use super::{decode, ffmpeg};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Second argument of the hidden command, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// Decode standard input to frames on standard output.
    Decode(Request),
    /// Confine this process and become ffmpeg: standard input to WAV on standard output.
    Ffmpeg { limits: Limits, program: PathBuf, demuxer: String },
}

/// Runs the hidden command [`WORKER_ARG`](super::WORKER_ARG). `main` calls it before anything else when that is the
/// first argument. Answers in frames on standard output; the exit code only matters where none could be written.
pub fn worker_main() -> ExitCode {
    let job = std::env::args().nth(2).and_then(|json| serde_json::from_str(&json).ok());
    let result = match job {
        None => Err(io::Error::other("this command is for bestbox itself")),
        Some(Job::Decode(request)) => decode(&request),
        Some(Job::Ffmpeg { limits, program, demuxer }) => {
            confine(&limits, Role::Ffmpeg).and_then(|()| ffmpeg::replace_process(&program, &demuxer))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn decode(request: &Request) -> io::Result<()> {
    let (input, mut out) = standard_files()?;
    confine(&request.limits, Role::Decoder)?;
    // A panic is an answer like any other: no message on standard error, no backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    let run = std::panic::AssertUnwindSafe(|| decode::run(input, request, &mut out));
    match std::panic::catch_unwind(run) {
        Ok(result) => result,
        Err(panic) => {
            let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            write_frame(&mut out, &Frame::Failed(Failure::Panic(message.chars().take(200).collect())))
        }
    }
}

/// Standard input and output as files: unbuffered, and seekable where the input is a file.
#[cfg(unix)]
fn standard_files() -> io::Result<(File, File)> {
    use std::os::fd::AsFd;
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    Ok((input.into(), output.into()))
}

#[cfg(windows)]
fn standard_files() -> io::Result<(File, File)> {
    use std::os::windows::io::AsHandle;
    let input = io::stdin().as_handle().try_clone_to_owned()?;
    let output = io::stdout().as_handle().try_clone_to_owned()?;
    Ok((input.into(), output.into()))
}
