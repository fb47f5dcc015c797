//! The installed `ffmpeg`, for what the built-in decoders lack: fixed arguments, confined, never a name or an option
//! that came from outside.

use super::Ffmpeg;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Containers that ffmpeg may be asked to read. None of them refers to other files, as playlists do.
const DEMUXERS: &[&str] = &[
    "aac",
    "ac3",
    "aiff",
    "amr",
    "ape",
    "asf",
    "au",
    "avi",
    "caf",
    "dsf",
    "dts",
    "eac3",
    "flac",
    "flv",
    "iff",
    "loas",
    "matroska",
    "mov",
    "mp3",
    "mpc",
    "mpc8",
    "mpeg",
    "mpegts",
    "nistsphere",
    "ogg",
    "rm",
    "tta",
    "w64",
    "wav",
    "wv",
];

/// The container's name if it may be used.
pub(super) fn allowed(demuxer: &str) -> Option<&'static str> {
    DEMUXERS.iter().copied().find(|known| *known == demuxer)
}

/// The program, where it is on `PATH`.
pub(super) fn find(choice: Ffmpeg) -> Option<PathBuf> {
    let name = if cfg!(windows) { "ffmpeg.exe" } else { "ffmpeg" };
    let path = match choice {
        Ffmpeg::Auto => std::env::var_os("PATH")?,
        Ffmpeg::Off => return None,
    };
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file))
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.is_file()
}

/// First audio track of standard input to a WAV stream of 32-bit floats, at its own rate and channels.
fn arguments(demuxer: &'static str) -> Vec<OsString> {
    // Read through the file protocol where that can reopen standard input: the pipe protocol cannot seek.
    let input = if cfg!(unix) { "file:/dev/stdin" } else { "pipe:0" };
    let fixed = [
        "-nostdin",
        "-hide_banner",
        "-loglevel",
        "error",
        "-threads",
        "1",
        "-protocol_whitelist",
        "file,pipe,fd",
        "-format_whitelist",
        demuxer,
        "-f",
        demuxer,
        "-i",
        input,
        "-map",
        "0:a:0",
        "-vn",
        "-sn",
        "-dn",
        "-threads",
        "1",
        "-c:a",
        "pcm_f32le",
        "-f",
        "wav",
        "-rf64",
        "never",
        "pipe:1",
    ];
    fixed.iter().map(OsString::from).collect()
}

/// Turns this process into ffmpeg; comes back only with an error.
#[cfg(unix)]
pub(super) fn replace_process(program: &Path, demuxer: &str) -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    let demuxer = allowed(demuxer).ok_or_else(|| io::Error::other("unknown container"))?;
    Err(Command::new(program).args(arguments(demuxer)).env_clear().envs(super::process::kept_environment()).exec())
}

#[cfg(not(unix))]
pub(super) fn replace_process(program: &Path, demuxer: &str) -> io::Result<()> {
    let demuxer = allowed(demuxer).ok_or_else(|| io::Error::other("unknown container"))?;
    let status = Command::new(program).args(arguments(demuxer)).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("ffmpeg: {status}"))) }
}
