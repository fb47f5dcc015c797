//! macOS and Windows: the clipboard through arboard, keys through enigo. Neither system tells when a program has read
//! the clipboard, so the pasted text stays in it.

use super::config::{InsertConfig, Method};
use super::pieces::{Piece, pieces, whole};
use super::{Attempt, Because, How, InsertError, Inserted, Target, Tool, ToolError};
use enigo::{Direction, Enigo, Key, Keyboard, Settings};

#[cfg(target_os = "macos")]
const SHORTCUT: (Key, &str) = (Key::Meta, "Cmd+V");
#[cfg(not(target_os = "macos"))]
const SHORTCUT: (Key, &str) = (Key::Control, "Ctrl+V");

const ADVICE: &str = "allow bestbox to control the computer in the system's settings (Accessibility)";

/// The system's own interfaces for this are not used yet: not known.
pub fn focus() -> Option<Target> {
    None
}

pub fn insert(text: &str, target: &Target, config: &InsertConfig) -> Result<Inserted, InsertError> {
    let manner = config.manner(&target.application);
    let pieces = pieces(text, &manner);
    if pieces.is_empty() {
        return Ok(Inserted { how: How::Nothing, tool: None, because: None, failed: Vec::new() });
    }
    let whole = whole(&pieces);
    if manner.method == Method::Clipboard {
        copy(whole)?;
        return Ok(Inserted { how: How::Clipboard, tool: None, because: Some(Because::Asked), failed: Vec::new() });
    }
    let mut failed = Vec::new();
    for (method, how) in [(Method::Paste, How::Pasted), (Method::Type, How::Typed)] {
        if manner.method != Method::Auto && manner.method != method {
            continue;
        }
        match deliver(&pieces, how) {
            Ok(()) => return Ok(Inserted { how, tool: Some(Tool::Native), because: None, failed }),
            Err(error) => {
                failed.push(Attempt { what: format!("{method:?}").to_lowercase(), reason: error.to_string() })
            }
        }
    }
    copy(whole)?;
    let tried = failed.iter().map(|attempt| attempt.reason.as_str()).collect::<Vec<_>>().join("; ");
    Err(InsertError::NoTool { keys: SHORTCUT.1, tried, advice: ADVICE })
}

pub fn copy(text: String) -> Result<(), InsertError> {
    set(text).map_err(|error| InsertError::NoClipboard { tried: error.to_string(), advice: ADVICE })
}

/// The system keeps the clipboard itself.
pub fn hand_over() -> Result<(), ToolError> {
    Ok(())
}

fn set(text: String) -> Result<(), ToolError> {
    let put = arboard::Clipboard::new().and_then(|mut clipboard| clipboard.set_text(text));
    put.map_err(|error| ToolError::Clipboard(error.to_string()))
}

fn deliver(pieces: &[Piece], how: How) -> Result<(), ToolError> {
    let failed = |error: String| ToolError::Desktop(format!("keys cannot be pressed: {error}"));
    let mut keys = Enigo::new(&Settings::default()).map_err(|error| failed(error.to_string()))?;
    for piece in pieces {
        let pressed = match piece {
            Piece::Text(text) if how == How::Typed => keys.text(text),
            Piece::Text(text) => {
                set(text.clone())?;
                chord(&mut keys, Some(SHORTCUT.0), Key::Unicode('v'))
            }
            Piece::ShiftEnter => chord(&mut keys, Some(Key::Shift), Key::Return),
            Piece::Enter => chord(&mut keys, None, Key::Return),
        };
        pressed.map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

fn chord(keys: &mut Enigo, held: Option<Key>, key: Key) -> enigo::InputResult<()> {
    if let Some(held) = held {
        keys.key(held, Direction::Press)?;
    }
    let pressed = keys.key(key, Direction::Click);
    // Let go also when the key itself could not be pressed.
    if let Some(held) = held {
        keys.key(held, Direction::Release)?;
    }
    pressed
}
