//! Which way a text goes: paste, type or clipboard, each tool in turn until one works.

use super::config::{InsertConfig, Manner, Method, PasteKeys, Tool};
use super::keys::{Keys, Session};
use super::pieces::{Piece, pieces, whole};
use super::wayland::WaylandClipboard;
use super::x11::{self, X11Clipboard};
use super::{Attempt, Because, How, InsertError, Inserted, KeyPress, Read, Selections, Target, ToolError};
use super::{programs, wayland};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One insertion at a time: two would mix their keys and their clipboards.
static ONE: Mutex<()> = Mutex::new(());

/// The window with the focus, where the desktop tells.
pub fn focus() -> Option<Target> {
    let told = match Session::detect()? {
        Session::X11 => x11::focus(),
        Session::Wayland => wayland::focus(),
    };
    told.unwrap_or_else(|error| {
        tracing::debug!("the focus is not known: {error}");
        None
    })
}

pub fn insert(text: &str, target: &Target, config: &InsertConfig) -> Result<Inserted, InsertError> {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let manner = config.manner(&target.application);
    let pieces = pieces(text, &manner);
    if pieces.is_empty() {
        return Ok(Inserted { how: How::Nothing, tool: None, because: None, failed: Vec::new() });
    }
    let mut work = Work { target, config, manner, pieces, session: Session::detect(), failed: Vec::new() };
    if manner.method == Method::Clipboard {
        return work.leave_in_clipboard(Because::Asked);
    }
    if let Some(now) = focus().filter(|now| !now.same_window(target)) {
        let (from, to) = (target.application.clone(), now.application);
        return work.leave_in_clipboard(Because::FocusChanged { from, to });
    }
    if matches!(manner.method, Method::Auto | Method::Paste)
        && let Some(done) = work.paste()?
    {
        return Ok(done);
    }
    if matches!(manner.method, Method::Auto | Method::Type)
        && let Some(done) = work.type_text()
    {
        return Ok(done);
    }
    work.give_up()
}

pub fn copy(text: String) -> Result<(), InsertError> {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let session = Session::detect();
    put(session, &text).map_err(|error| InsertError::NoClipboard { tried: error.to_string(), advice: advice(session) })
}

pub use super::keeper::hand_over;

pub fn wait_released() {
    match Session::detect() {
        Some(Session::X11) => X11Clipboard::wait_released(),
        Some(Session::Wayland) => {
            WaylandClipboard::wait_released();
        }
        None => {}
    }
}

struct Work<'a> {
    target: &'a Target,
    config: &'a InsertConfig,
    manner: Manner,
    pieces: Vec<Piece>,
    session: Option<Session>,
    failed: Vec<Attempt>,
}

impl Work<'_> {
    /// Pastes with the first tool that works; none if no tool does.
    fn paste(&mut self) -> Result<Option<Inserted>, InsertError> {
        let Some(session) = self.session else { return Ok(None) };
        let lender = Lender { session, keys: self.manner.paste_keys, reader: self.target.window };
        for &tool in &self.config.tools {
            // GTK programs type what wtype types and ignore its Ctrl+V: it pastes only where that is asked for.
            if tool == Tool::Wtype && self.manner.method == Method::Auto {
                continue;
            }
            let Some(taken) = Keys::take(tool, session, self.target.window) else { continue };
            let pasted = taken.and_then(|mut keys| self.paste_with(&lender, &mut keys));
            match pasted {
                Ok(Read::Done) => return Ok(Some(self.done(How::Pasted, tool))),
                Ok(_) => {
                    let (application, seconds) = (self.target.application.clone(), self.config.read_timeout_seconds);
                    let because = Some(Because::NotRead { application, seconds });
                    return Ok(Some(Inserted { because, ..self.done(How::Clipboard, tool) }));
                }
                Err(error) => {
                    let over = matches!(error, ToolError::Halfway(_));
                    let clipboard = matches!(error, ToolError::Clipboard(_));
                    self.failed(&format!("paste with {}", name(tool)), &error);
                    if over {
                        return self.give_up().map(Some);
                    }
                    if clipboard {
                        // No tool can do without the clipboard; typing can.
                        break;
                    }
                }
            }
        }
        Ok(None)
    }

    /// Pastes all pieces; whether the last of them was read.
    fn paste_with(&self, lender: &Lender, keys: &mut Keys) -> Result<Read, ToolError> {
        let limit = Duration::try_from_secs_f64(self.config.read_timeout_seconds).unwrap_or(Duration::from_secs(5));
        let mut begun = false;
        let mut outcome = Read::Done;
        for piece in &self.pieces {
            let step = match piece {
                Piece::Text(text) => lender.lend(text).and_then(|()| {
                    keys.press(KeyPress::Paste(lender.keys))?;
                    outcome = lender.wait_read(limit)?;
                    if outcome == Read::Lost {
                        return Err(ToolError::Clipboard("another program took it meanwhile".into()));
                    }
                    Ok(())
                }),
                Piece::ShiftEnter => keys.press(KeyPress::ShiftEnter),
                Piece::Enter => keys.press(KeyPress::Enter),
            };
            if let Err(error) = step {
                // Give back what was taken, whatever comes next.
                let _ = lender.give_back();
                return Err(if begun { ToolError::Halfway(error.to_string()) } else { error });
            }
            if outcome == Read::NotYet {
                // Nothing after a text that is not there: no Enter, no further line.
                if self.pieces.len() > 1 {
                    lender.leave(&whole(&self.pieces))?;
                } else {
                    lender.give_back_when_read()?;
                }
                return Ok(outcome);
            }
            begun = true;
        }
        if self.config.restore_clipboard {
            lender.give_back()?
        } else {
            lender.leave(&whole(&self.pieces))?
        };
        Ok(outcome)
    }

    /// Types with the first tool that works; none if no tool does.
    fn type_text(&mut self) -> Option<Inserted> {
        let session = self.session?;
        for &tool in &self.config.tools {
            let Some(taken) = Keys::take(tool, session, self.target.window) else { continue };
            let typed = taken.and_then(|mut keys| {
                let mut begun = false;
                for piece in &self.pieces {
                    let step = match piece {
                        Piece::Text(text) => keys.type_text(text),
                        Piece::ShiftEnter => keys.press(KeyPress::ShiftEnter),
                        Piece::Enter => keys.press(KeyPress::Enter),
                    };
                    step.map_err(|error| if begun { ToolError::Halfway(error.to_string()) } else { error })?;
                    begun = true;
                }
                Ok(())
            });
            match typed {
                Ok(()) => return Some(self.done(How::Typed, tool)),
                Err(error) => {
                    let over = matches!(error, ToolError::Halfway(_));
                    self.failed(&format!("type with {}", name(tool)), &error);
                    if over {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Nothing worked: the text stays in the clipboard, and the error says what to do.
    fn give_up(&self) -> Result<Inserted, InsertError> {
        let mut tried: Vec<String> = self.failed.iter().map(|a| format!("{}: {}", a.what, a.reason)).collect();
        let advice = advice(self.session);
        match put(self.session, &whole(&self.pieces)) {
            Ok(()) => {
                let keys = match self.manner.paste_keys {
                    PasteKeys::CtrlV => "Ctrl+V",
                    PasteKeys::CtrlShiftV => "Ctrl+Shift+V",
                    PasteKeys::ShiftInsert => "Shift+Insert",
                };
                Err(InsertError::NoTool { keys, tried: tried.join("; "), advice })
            }
            Err(error) => {
                tried.push(format!("clipboard: {error}"));
                Err(InsertError::NoClipboard { tried: tried.join("; "), advice })
            }
        }
    }

    fn leave_in_clipboard(&self, because: Because) -> Result<Inserted, InsertError> {
        let put = put(self.session, &whole(&self.pieces));
        put.map_err(|error| InsertError::NoClipboard { tried: error.to_string(), advice: advice(self.session) })?;
        Ok(Inserted { how: How::Clipboard, tool: None, because: Some(because), failed: Vec::new() })
    }

    fn done(&mut self, how: How, tool: Tool) -> Inserted {
        Inserted { how, tool: Some(tool), because: None, failed: std::mem::take(&mut self.failed) }
    }

    fn failed(&mut self, what: &str, error: &ToolError) {
        tracing::debug!("cannot {what}: {error}");
        self.failed.push(Attempt { what: what.to_owned(), reason: error.to_string() });
    }
}

/// The clipboard of the session, for one insertion.
struct Lender {
    session: Session,
    keys: PasteKeys,
    reader: Option<u64>,
}

impl Lender {
    fn lend(&self, text: &str) -> Result<(), ToolError> {
        let selections = if self.keys == PasteKeys::ShiftInsert { Selections::Both } else { Selections::Clipboard };
        match self.session {
            Session::X11 => {
                let reader = self.reader.and_then(|window| u32::try_from(window).ok());
                X11Clipboard::lend(text.to_owned(), selections, reader)
            }
            Session::Wayland => WaylandClipboard::lend(text.to_owned(), selections),
        }
    }

    fn wait_read(&self, limit: Duration) -> Result<Read, ToolError> {
        match self.session {
            Session::X11 => X11Clipboard::wait_read(limit),
            Session::Wayland => WaylandClipboard::wait_read(limit),
        }
    }

    fn give_back(&self) -> Result<(), ToolError> {
        match self.session {
            Session::X11 => X11Clipboard::give_back(),
            Session::Wayland => WaylandClipboard::give_back(),
        }
    }

    fn give_back_when_read(&self) -> Result<(), ToolError> {
        match self.session {
            Session::X11 => X11Clipboard::give_back_when_read(),
            Session::Wayland => WaylandClipboard::give_back_when_read(),
        }
    }

    /// The whole text stays in the clipboard.
    fn leave(&self, text: &str) -> Result<(), ToolError> {
        match self.session {
            Session::X11 => X11Clipboard::leave()?,
            Session::Wayland => WaylandClipboard::leave()?,
        }
        put(Some(self.session), text)
    }
}

fn put(session: Option<Session>, text: &str) -> Result<(), ToolError> {
    match session {
        Some(Session::X11) => X11Clipboard::put(text.to_owned()),
        Some(Session::Wayland) => WaylandClipboard::put(text.to_owned()).or_else(|error| {
            tracing::debug!("no clipboard protocol: {error}");
            programs::wl_copy(text)
        }),
        None => Err(ToolError::Desktop("there is neither DISPLAY nor WAYLAND_DISPLAY".into())),
    }
}

fn name(tool: Tool) -> &'static str {
    match tool {
        Tool::Native => "native",
        Tool::Xdotool => "xdotool",
        Tool::Wtype => "wtype",
        Tool::Ydotool => "ydotool",
        Tool::Portal => "portal",
    }
}

fn advice(session: Option<Session>) -> &'static str {
    match session {
        Some(Session::X11) => "install xdotool, or an X server with the XTEST extension",
        Some(Session::Wayland) => {
            "install wtype (sway, Hyprland, KDE) or ydotool with its daemon (any desktop), and wl-clipboard"
        }
        None => "run it inside a desktop session",
    }
}
