//! The window that has the keyboard focus.

use super::super::{Target, ToolError};
use super::Display;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _, Window};

/// The active window as the window manager says (`_NET_ACTIVE_WINDOW`, EWMH), else the one with the input focus.
pub fn focus() -> Result<Option<Target>, ToolError> {
    let display = Display::open()?;
    let Some(window) = display.active()? else { return Ok(None) };
    let class = display.text(window, AtomEnum::WM_CLASS.into())?;
    // WM_CLASS: instance and class, each ended by a zero byte (ICCCM 4.1.2.5).
    let application = class.split('\0').nth(1).unwrap_or_default().to_owned();
    let mut title = display.text(window, display.atom("_NET_WM_NAME")?)?;
    if title.is_empty() {
        title = display.text(window, AtomEnum::WM_NAME.into())?;
    }
    let pid = display.numbers(window, "_NET_WM_PID")?.first().copied();
    Ok(Some(Target::new(u64::from(window), application, title, pid)))
}

impl Display {
    fn active(&self) -> Result<Option<Window>, ToolError> {
        if let Some(&window) = self.numbers(self.root, "_NET_ACTIVE_WINDOW")?.first()
            && window != 0
        {
            return Ok(Some(window));
        }
        // Without a window manager: the focused window or the first of its ancestors that has a class.
        let mut window = self.conn.get_input_focus()?.reply()?.focus;
        while window > 1 && window != self.root {
            if !self.text(window, AtomEnum::WM_CLASS.into())?.is_empty() {
                return Ok(Some(window));
            }
            window = self.conn.query_tree(window)?.reply()?.parent;
        }
        Ok(None)
    }

    fn text(&self, window: Window, property: u32) -> Result<String, ToolError> {
        let reply = self.conn.get_property(false, window, property, AtomEnum::ANY, 0, 1024)?.reply();
        // A window that went away in between has no properties.
        Ok(reply.map(|reply| String::from_utf8_lossy(&reply.value).into_owned()).unwrap_or_default())
    }

    pub(super) fn numbers(&self, window: Window, property: &str) -> Result<Vec<u32>, ToolError> {
        let property = self.atom(property)?;
        let reply = self.conn.get_property(false, window, property, AtomEnum::ANY, 0, 1024)?.reply();
        Ok(reply.ok().and_then(|reply| reply.value32().map(Iterator::collect)).unwrap_or_default())
    }

    /// Whether two windows, or other resources, belong to the same program: the same connection, or the same process.
    pub(super) fn same_program(&self, one: u32, other: u32) -> bool {
        let connection = !self.conn.setup().resource_id_mask;
        one & connection == other & connection
            || matches!((self.process(one), self.process(other)), (Some(one), Some(other)) if one == other)
    }

    /// Process of a resource's owner, from the X-Resource extension.
    fn process(&self, resource: u32) -> Option<u32> {
        use x11rb::protocol::res::{ClientIdMask, ClientIdSpec, ConnectionExt as _};
        let spec = ClientIdSpec { client: resource, mask: ClientIdMask::LOCAL_CLIENT_PID };
        let reply = self.conn.res_query_client_ids(&[spec]).ok()?.reply().ok()?;
        reply.ids.first().and_then(|id| id.value.first().copied())
    }
}
