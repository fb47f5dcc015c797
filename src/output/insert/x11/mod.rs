//! X11, spoken directly: who has the focus, the clipboard with all its types, and keys through the XTEST extension.

mod clipboard;
mod content;
mod focus;
mod keyboard;
mod layout;
mod owner;
mod save;
mod typing;

pub use clipboard::X11Clipboard;
pub use focus::focus;
pub use keyboard::Keys;
pub use layout::symbol;

use super::ToolError;
use x11rb::connection::Connection;
use x11rb::errors::{ConnectionError, ReplyError, ReplyOrIdError};
use x11rb::protocol::xproto::{Atom, ConnectionExt as _, Window};
use x11rb::rust_connection::RustConnection;

/// A connection to the display of the environment, and its root window.
struct Display {
    conn: RustConnection,
    root: Window,
}

impl Display {
    fn open() -> Result<Display, ToolError> {
        let (conn, screen) =
            x11rb::connect(None).map_err(|error| ToolError::Desktop(format!("no X display: {error}")))?;
        let root = conn.setup().roots.get(screen).map(|screen| screen.root);
        let root = root.ok_or_else(|| ToolError::Desktop("the X display has no screen".into()))?;
        Ok(Display { conn, root })
    }

    fn atom(&self, name: &str) -> Result<Atom, ToolError> {
        Ok(self.conn.intern_atom(false, name.as_bytes())?.reply()?.atom)
    }

    fn name(&self, atom: Atom) -> Result<String, ToolError> {
        Ok(String::from_utf8_lossy(&self.conn.get_atom_name(atom)?.reply()?.name).into_owned())
    }
}

impl From<ConnectionError> for ToolError {
    fn from(error: ConnectionError) -> Self {
        ToolError::Desktop(format!("the X display is gone: {error}"))
    }
}

impl From<ReplyError> for ToolError {
    fn from(error: ReplyError) -> Self {
        ToolError::Desktop(format!("the X display refused: {error}"))
    }
}

impl From<ReplyOrIdError> for ToolError {
    fn from(error: ReplyOrIdError) -> Self {
        ToolError::Desktop(format!("the X display refused: {error}"))
    }
}
