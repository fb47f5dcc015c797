//! Other people's programs that press keys.

use super::config::PasteKeys;
use super::{KeyPress, ToolError};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest run of one program, besides what typing takes.
const LIMIT: Duration = Duration::from_secs(5);
/// Milliseconds between the keys that xdotool types: without a pause it loses characters that are not in the layout.
const XDOTOOL_DELAY_MS: u64 = 12;
/// Milliseconds between the keys that ydotool types.
const YDOTOOL_DELAY_MS: u64 = 4;

/// The program xdotool.
pub fn xdotool_press(what: KeyPress) -> Result<(), ToolError> {
    let keys = match what {
        KeyPress::Paste(PasteKeys::CtrlV) => "ctrl+v",
        KeyPress::Paste(PasteKeys::CtrlShiftV) => "ctrl+shift+v",
        KeyPress::Paste(PasteKeys::ShiftInsert) => "shift+Insert",
        KeyPress::Enter => "Return",
        KeyPress::ShiftEnter => "shift+Return",
    };
    run("xdotool", &["key", "--clearmodifiers", keys], None, LIMIT)
}

/// The text goes through standard input, so that other users do not see it in the list of processes.
pub fn xdotool_type(text: &str) -> Result<(), ToolError> {
    let delay = XDOTOOL_DELAY_MS.to_string();
    run(
        "xdotool",
        &["type", "--clearmodifiers", "--delay", &delay, "--file", "-"],
        Some(text),
        typing(text, XDOTOOL_DELAY_MS),
    )
}

/// The program wtype.
pub fn wtype_press(what: KeyPress) -> Result<(), ToolError> {
    let args: &[&str] = match what {
        KeyPress::Paste(PasteKeys::CtrlV) => &["-M", "ctrl", "-k", "v", "-m", "ctrl"],
        KeyPress::Paste(PasteKeys::CtrlShiftV) => {
            &["-M", "ctrl", "-M", "shift", "-k", "v", "-m", "shift", "-m", "ctrl"]
        }
        KeyPress::Paste(PasteKeys::ShiftInsert) => &["-M", "shift", "-k", "Insert", "-m", "shift"],
        KeyPress::Enter => &["-k", "Return"],
        KeyPress::ShiftEnter => &["-M", "shift", "-k", "Return", "-m", "shift"],
    };
    run("wtype", args, None, LIMIT)
}

pub fn wtype_type(text: &str) -> Result<(), ToolError> {
    run("wtype", &["-"], Some(text), typing(text, 2))
}

/// The program ydotool, which presses keys by number as the kernel counts them (linux/input-event-codes.h).
pub fn ydotool_press(what: KeyPress) -> Result<(), ToolError> {
    let keys: &[&str] = match what {
        KeyPress::Paste(PasteKeys::CtrlV) => &["29:1", "47:1", "47:0", "29:0"],
        KeyPress::Paste(PasteKeys::CtrlShiftV) => &["29:1", "42:1", "47:1", "47:0", "42:0", "29:0"],
        KeyPress::Paste(PasteKeys::ShiftInsert) => &["42:1", "110:1", "110:0", "42:0"],
        KeyPress::Enter => &["28:1", "28:0"],
        KeyPress::ShiftEnter => &["42:1", "28:1", "28:0", "42:0"],
    };
    run("ydotool", &[&["key"], keys].concat(), None, LIMIT)
}

pub fn ydotool_type(text: &str) -> Result<(), ToolError> {
    if !text.is_ascii() {
        let said = "it types ASCII only".to_owned();
        return Err(ToolError::Program { program: "ydotool", said });
    }
    let delay = YDOTOOL_DELAY_MS.to_string();
    let args = ["type", "--key-delay", &delay, "--file", "-"];
    run("ydotool", &args, Some(text), typing(text, 2 * YDOTOOL_DELAY_MS))
}

/// wl-clipboard, for compositors on which only a window with the focus may set the clipboard. It stays and serves.
pub fn wl_copy(text: &str) -> Result<(), ToolError> {
    run("wl-copy", &["--type", "text/plain;charset=utf-8"], Some(text), LIMIT)
}

fn typing(text: &str, delay_ms: u64) -> Duration {
    let characters = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    LIMIT + Duration::from_millis(characters.saturating_mul(4 * delay_ms))
}

/// Runs a program to its end; ends it at the limit.
fn run(program: &'static str, args: &[&str], input: Option<&str>, limit: Duration) -> Result<(), ToolError> {
    let failed = |said: String| ToolError::Program { program, said };
    let mut log = tempfile::tempfile().map_err(|error| failed(format!("no temporary file: {error}")))?;
    let mut command = Command::new(program);
    // A file, not a pipe: wl-copy leaves a process behind that keeps the error output open.
    let errors = log.try_clone().map_err(|error| failed(error.to_string()))?;
    command.args(args).stdout(Stdio::null()).stderr(errors);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ToolError::Missing(program),
        _ => failed(error.to_string()),
    })?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        let text = text.to_owned();
        // A program that ended closes the pipe, and its exit code says why.
        std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    }
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("it did not end within {} s", limit.as_secs())));
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    let _ = std::io::Seek::rewind(&mut log);
    let _ = log.read_to_string(&mut said);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Err(failed(last.trim().chars().take(200).collect()))
}
