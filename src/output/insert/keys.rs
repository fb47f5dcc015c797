//! The tools that press keys, behind one face.

use super::config::Tool;
use super::portal::PortalKeys;
use super::wayland::WaylandKeys;
use super::{KeyPress, ToolError};
use super::{programs, x11};

/// What the session is. An XWayland window in a Wayland session is reached as the others are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    X11,
    Wayland,
}

impl Session {
    /// By the environment; none without any display.
    pub fn detect() -> Option<Session> {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if set("WAYLAND_DISPLAY") || set("WAYLAND_SOCKET") {
            Some(Session::Wayland)
        } else {
            set("DISPLAY").then_some(Session::X11)
        }
    }
}

/// A tool that is ready to press keys.
pub enum Keys {
    X11(Box<x11::Keys>),
    Xdotool,
    Wayland(Box<WaylandKeys>),
    Wtype,
    Ydotool,
    Portal(Box<PortalKeys>),
}

impl Keys {
    /// Gets a tool ready; none where it is not for this kind of session.
    pub fn take(tool: Tool, session: Session, window: Option<u64>) -> Option<Result<Keys, ToolError>> {
        match (tool, session) {
            (Tool::Native, Session::X11) => Some(x11::Keys::take(window).map(|keys| Keys::X11(Box::new(keys)))),
            (Tool::Native, Session::Wayland) => Some(WaylandKeys::take().map(|keys| Keys::Wayland(Box::new(keys)))),
            (Tool::Xdotool, Session::X11) => Some(Ok(Keys::Xdotool)),
            (Tool::Wtype, Session::Wayland) => Some(Ok(Keys::Wtype)),
            (Tool::Ydotool, _) => Some(Ok(Keys::Ydotool)),
            (Tool::Portal, Session::Wayland) => Some(PortalKeys::take().map(|keys| Keys::Portal(Box::new(keys)))),
            (Tool::Xdotool, Session::Wayland) | (Tool::Wtype | Tool::Portal, Session::X11) => None,
        }
    }

    pub fn press(&mut self, what: KeyPress) -> Result<(), ToolError> {
        match self {
            Keys::X11(keys) => keys.press(what),
            Keys::Xdotool => programs::xdotool_press(what),
            Keys::Wayland(keys) => keys.press(what),
            Keys::Wtype => programs::wtype_press(what),
            Keys::Ydotool => programs::ydotool_press(what),
            Keys::Portal(keys) => keys.press(what),
        }
    }

    /// Types `text`; a line feed is Enter.
    pub fn type_text(&mut self, text: &str) -> Result<(), ToolError> {
        match self {
            Keys::X11(keys) => keys.type_text(text),
            Keys::Xdotool => programs::xdotool_type(text),
            Keys::Wayland(keys) => keys.type_text(text),
            Keys::Wtype => programs::wtype_type(text),
            Keys::Ydotool => programs::ydotool_type(text),
            Keys::Portal(keys) => keys.type_text(text),
        }
    }
}
