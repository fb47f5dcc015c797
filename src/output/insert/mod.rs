//! Text into whatever window has the keyboard focus, in any script and under any keyboard layout.
//!
//! Pasting is the default: the text is lent to the clipboard, the application's paste shortcut pressed, and the
//! clipboard given back, with all its types, once the application has read the text; never after a fixed time. Where
//! pasting cannot be done the text is typed; where that cannot be done either it stays in the clipboard.
//!
//! [`chain`] decides; [`x11`], [`wayland`], [`portal`] and [`programs`] act. A new way to press keys is a [`Tool`] and
//! one arm in `keys.rs`.

#[cfg(all(unix, not(target_os = "macos")))]
mod chain;
pub mod config;
#[cfg(all(unix, not(target_os = "macos")))]
mod keeper;
#[cfg(all(unix, not(target_os = "macos")))]
mod keys;
#[cfg(any(target_os = "macos", windows))]
mod native;
mod pieces;
#[cfg(all(unix, not(target_os = "macos")))]
mod portal;
#[cfg(all(unix, not(target_os = "macos")))]
mod programs;
#[cfg(all(unix, not(target_os = "macos")))]
mod thread;
#[cfg(all(unix, not(target_os = "macos")))]
mod wayland;
#[cfg(all(unix, not(target_os = "macos")))]
mod x11;

#[cfg(any(target_os = "macos", windows))]
use native as chain;

#[cfg(all(unix, not(target_os = "macos")))]
pub use keeper::{KEEPER_ARGUMENT, keeper_main};

pub use config::{InsertConfig, InsertRule, Manner, Method, Newlines, PasteKeys, Tool, is_terminal};

use serde::{Deserialize, Serialize};
use std::fmt;

/// A window that may get text.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Target {
    /// The window, where the desktop tells windows apart. On Wayland a number of this process's own.
    pub window: Option<u64>,
    /// Window class (X11) or application id (Wayland); empty: not known.
    pub application: String,
    /// Title of the window.
    pub title: String,
    /// Process of the window.
    pub pid: Option<u32>,
    /// Whether it is a terminal.
    pub terminal: bool,
}

impl Target {
    fn new(window: u64, application: String, title: String, pid: Option<u32>) -> Target {
        let terminal = is_terminal(&application);
        Target { window: Some(window), application, title, pid, terminal }
    }

    /// Whether both are the same window, as far as the desktop tells. What is not known is no change.
    pub fn same_window(&self, other: &Target) -> bool {
        match (self.window, other.window) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        }
    }
}

/// How a text got where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Pasted into the window.
    Pasted,
    /// Typed into the window.
    Typed,
    /// It is in the clipboard, for the user to paste.
    Clipboard,
    /// There was nothing to insert.
    Nothing,
}

/// Why a text is in the clipboard and not in the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Because {
    /// That was asked for.
    Asked,
    /// Another window had the focus by then.
    FocusChanged { from: String, to: String },
    /// The shortcut was pressed, but the application has not read the text yet. If it does, the clipboard gets its
    /// former content back.
    NotRead { application: String, seconds: f64 },
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::Asked => f.write_str("the clipboard was asked for"),
            Because::FocusChanged { from, to } => {
                let name = |name: &str| if name.is_empty() { "another window".to_owned() } else { name.to_owned() };
                write!(f, "the focus went from {} to {}", name(from), name(to))
            }
            Because::NotRead { application, seconds } => {
                let who = if application.is_empty() { "the window" } else { application };
                write!(f, "{who} has not read the pasted text within {seconds} s")
            }
        }
    }
}

/// A delivered text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inserted {
    /// How.
    pub how: How,
    /// With which tool, where keys were pressed.
    pub tool: Option<Tool>,
    /// Why it is only in the clipboard.
    pub because: Option<Because>,
    /// What was tried first and did not work.
    pub failed: Vec<Attempt>,
}

/// Something that was tried in vain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// `paste with native`, `type with xdotool`, ….
    pub what: String,
    /// One sentence.
    pub reason: String,
}

/// Why a text is not where it should be.
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// Nothing presses keys here. The text is in the clipboard.
    #[error("the text is in the clipboard, press {keys} to paste it; it could not be inserted ({tried}); {advice}")]
    NoTool {
        /// The application's shortcut.
        keys: &'static str,
        /// Everything that was tried, with reasons.
        tried: String,
        /// What to install.
        advice: &'static str,
    },
    /// Not even the clipboard could be reached.
    #[error("the text could not be inserted and the clipboard cannot be reached ({tried}); {advice}")]
    NoClipboard { tried: String, advice: &'static str },
    /// The thread of the insertion ended.
    #[error("the insertion was interrupted: {0}")]
    Interrupted(String),
}

/// The window that has the keyboard focus now; none where the desktop does not tell.
pub async fn focus() -> Option<Target> {
    tokio::task::spawn_blocking(chain::focus).await.ok().flatten()
}

/// Delivers `text` to `target`, the window that [`focus`] told when the text was begun (the default where it is not
/// known). If another window has the focus by now, the text is left in the clipboard and [`Because::FocusChanged`]
/// says so. Ends within seconds, whatever the applications do; one insertion at a time in a process.
pub async fn insert(text: &str, target: &Target, config: &InsertConfig) -> Result<Inserted, InsertError> {
    let (text, target, config) = (text.to_owned(), target.clone(), config.clone());
    let work = tokio::task::spawn_blocking(move || chain::insert(&text, &target, &config));
    work.await.unwrap_or_else(|error| Err(InsertError::Interrupted(error.to_string())))
}

/// Puts `text` into the clipboard, to stay: "copy again".
pub async fn copy(text: &str) -> Result<(), InsertError> {
    let text = text.to_owned();
    let work = tokio::task::spawn_blocking(move || chain::copy(text));
    work.await.unwrap_or_else(|error| Err(InsertError::Interrupted(error.to_string())))
}

/// To be called before this process ends: what it serves to those who paste, our text or what was given back to the
/// clipboard, goes to a small process that serves it on until something else is copied.
pub async fn hand_over() {
    match tokio::task::spawn_blocking(chain::hand_over).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("the clipboard ends with this program: {error}"),
        Err(error) => tracing::warn!("the clipboard ends with this program: {error}"),
    }
}

/// A key, or shortcut, to press.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyPress {
    Paste(PasteKeys),
    Enter,
    ShiftEnter,
}

/// Which selections carry the text. Wayland and X11 have two: the clipboard, and the primary one of the middle button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Selections {
    Clipboard,
    Both,
}

/// What became of a lent text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// The target has read it.
    Done,
    /// Not within the time.
    NotYet,
    /// Another program has taken the clipboard.
    Lost,
}

/// Why one tool did not work.
#[derive(Debug, thiserror::Error)]
enum ToolError {
    /// The desktop lacks something, or is gone.
    #[error("{0}")]
    Desktop(String),
    /// The clipboard must not, or cannot, be taken.
    #[error("the clipboard cannot be used: {0}")]
    Clipboard(String),
    /// A program that is not installed.
    #[error("{0} is not installed")]
    Missing(&'static str),
    /// A program that failed.
    #[error("{program} failed: {said}")]
    Program { program: &'static str, said: String },
    /// Part of the text is there already: no other tool may start over.
    #[error("only part of the text was inserted: {0}")]
    Halfway(String),
}
