//! A process that outlives this one to serve the clipboard. On X11 and Wayland the content of a clipboard lives in the
//! process that put it there: a picture that was given back after a paste would be gone with the program that pasted.

use super::keys::Session;
use super::wayland::WaylandClipboard;
use super::x11::X11Clipboard;
use super::{ToolError, chain};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};

/// First argument of the process, which is bestbox itself.
pub const KEEPER_ARGUMENT: &str = "__keep-clipboard";
/// What it says when it has taken over.
const TAKEN: &str = "taken";

/// Everything that one selection offers, as it goes from process to process.
#[derive(Serialize, Deserialize)]
pub struct Held {
    /// 0: the clipboard; 1: the primary selection.
    pub slot: usize,
    pub content: HeldContent,
    /// What it is to offer again once the text that it offers now has been read.
    pub before: Option<HeldContent>,
    /// Any resource of the program that is to read that text (X11); none: whichever reads.
    pub reader: Option<u32>,
}

/// What a selection offers, or is to offer.
#[derive(Serialize, Deserialize)]
pub struct HeldContent {
    /// Names of all targets, also of those without data (X11).
    pub advertised: Vec<String>,
    pub items: Vec<HeldItem>,
}

/// One type.
#[derive(Serialize, Deserialize)]
pub struct HeldItem {
    /// Target (X11) or media type (Wayland).
    pub name: String,
    /// Type of the property (X11).
    pub kind: String,
    /// Bits a unit (X11).
    pub format: u8,
    #[serde(with = "base64_bytes")]
    pub bytes: Vec<u8>,
}

/// Hands what this process serves to a process of its own. Nothing happens where it serves nothing.
pub fn hand_over() -> Result<(), ToolError> {
    let held = match Session::detect() {
        Some(Session::X11) => X11Clipboard::export()?,
        Some(Session::Wayland) => WaylandClipboard::export()?,
        None => Vec::new(),
    };
    if held.is_empty() {
        return Ok(());
    }
    let failed = |reason: String| ToolError::Clipboard(format!("nobody can be found to keep it: {reason}"));
    let io = |error: std::io::Error| failed(error.to_string());
    let mut command = Command::new(std::env::current_exe().map_err(io)?);
    command.arg(KEEPER_ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // Ctrl-C in this terminal is not for it, and no folder is kept busy by it.
    std::os::unix::process::CommandExt::process_group(&mut command, 0).current_dir("/");
    let mut child = command.spawn().map_err(io)?;
    if let Some(mut stdin) = child.stdin.take() {
        let json = serde_json::to_vec(&held).map_err(|error| failed(error.to_string()))?;
        stdin.write_all(&json).map_err(io)?;
    }
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut said).map_err(io)?;
    }
    // It lives on; when this process ends it belongs to the system.
    if said.trim() == TAKEN { Ok(()) } else { Err(failed("it did not start".into())) }
}

/// The keeper: takes the selections over and serves them until something else is copied.
pub fn keeper_main() -> ExitCode {
    let mut json = Vec::new();
    let read = std::io::stdin().read_to_end(&mut json).ok().and_then(|_| serde_json::from_slice(&json).ok());
    let Some(held): Option<Vec<Held>> = read else { return ExitCode::FAILURE };
    drop(json);
    let taken = match Session::detect() {
        Some(Session::X11) => X11Clipboard::import(held),
        Some(Session::Wayland) => WaylandClipboard::import(held),
        None => return ExitCode::FAILURE,
    };
    if taken.is_err() {
        return ExitCode::FAILURE;
    }
    let mut out = std::io::stdout();
    // Whoever handed over may be gone; the clipboard is served all the same.
    let _ = writeln!(out, "{TAKEN}").and_then(|()| out.flush());
    chain::wait_released();
    ExitCode::SUCCESS
}

mod base64_bytes {
    use super::{BASE64_STANDARD, Engine};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}
