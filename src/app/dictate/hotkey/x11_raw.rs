//! Modifiers alone, on an X server: they cannot be grabbed without being lost for everybody, so all keys are watched.
//!
//! Owns a thread and a connection of its own: the server keeps raw events from a client while that client's own grab
//! holds the keyboard, and would leave keys down here that are up.

use super::tracker::{Edge, Tracker};
use super::x11_keys::Keyboard;
use super::{Hotkey, HotkeyError};
use crate::app::dictate::control::Controller;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;
use x11rb::connection::Connection;
use x11rb::errors::ReplyOrIdError;
use x11rb::protocol::Event;
use x11rb::protocol::xinput::{self, ConnectionExt as _, XIEventMask};
use x11rb::protocol::xproto::{
    AtomEnum, ClientMessageEvent, ConnectionExt as _, CreateWindowAux, EventMask, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;

/// Keys that are watched; dropping it ends that.
pub struct Raw {
    connection: Arc<RustConnection>,
    /// Gets a message when the thread is to end.
    mailbox: Window,
    thread: Option<JoinHandle<()>>,
}

impl Raw {
    /// Watches the hotkeys that are modifiers only, and Escape while `escape` is set.
    ///
    /// # Errors
    /// What the server said.
    pub fn start(
        display: Option<&str>,
        hotkeys: Vec<Hotkey>,
        controller: Controller,
        escape: Arc<AtomicBool>,
    ) -> Result<Self, String> {
        let (connection, screen) = x11rb::connect(display).map_err(|error| error.to_string())?;
        let (keyboard, mailbox) = watch(&connection, screen).map_err(|error| error.to_string())?;
        let connection = Arc::new(connection);
        let tracker = tracker(&hotkeys, &keyboard);
        let ears = Ears { connection: connection.clone(), hotkeys, keyboard, tracker, controller, mailbox, escape };
        let thread = std::thread::Builder::new().name("modifiers".into()).spawn(move || ears.run());
        Ok(Raw { connection, mailbox, thread: Some(thread.map_err(|error| error.to_string())?) })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let message = ClientMessageEvent::new(32, self.mailbox, AtomEnum::STRING, [0; 5]);
        // Where this fails the server is gone, and with it the thread.
        let _ = self.connection.send_event(false, self.mailbox, EventMask::NO_EVENT, message);
        let _ = self.connection.flush();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Raw events of version 2.2, which are sent even while another client holds a grab.
fn watch(connection: &RustConnection, screen: usize) -> Result<(Keyboard, Window), ReplyOrIdError> {
    let root = connection.setup().roots[screen].root;
    super::x11::prepare(connection)?;
    connection.xinput_xi_query_version(2, 2)?.reply()?;
    let keyboard = Keyboard::read(connection)?;
    let mask = XIEventMask::RAW_KEY_PRESS | XIEventMask::RAW_KEY_RELEASE;
    let masks = [xinput::EventMask { deviceid: xinput::Device::ALL_MASTER.into(), mask: vec![mask] }];
    connection.xinput_xi_select_events(root, &masks)?.check()?;
    let mailbox = connection.generate_id()?;
    let aux = CreateWindowAux::new();
    connection.create_window(0, mailbox, root, 0, 0, 1, 1, 0, WindowClass::INPUT_ONLY, 0, &aux)?.check()?;
    Ok((keyboard, mailbox))
}

fn tracker(hotkeys: &[Hotkey], keyboard: &Keyboard) -> Tracker {
    Tracker::new(hotkeys, |hotkey| hotkey.shortcut.only_modifiers(), |key| keyboard.codes(key))
}

/// What the thread has.
struct Ears {
    connection: Arc<RustConnection>,
    hotkeys: Vec<Hotkey>,
    keyboard: Keyboard,
    tracker: Tracker,
    controller: Controller,
    mailbox: Window,
    escape: Arc<AtomicBool>,
}

impl Ears {
    fn run(mut self) {
        loop {
            let edges = match self.connection.wait_for_event() {
                Ok(Event::ClientMessage(message)) if message.window == self.mailbox => return,
                Ok(Event::XinputRawKeyPress(event)) => self.tracker.press(event.detail, Instant::now()),
                Ok(Event::XinputRawKeyRelease(event)) => self.tracker.release(event.detail),
                Ok(Event::MappingNotify(_) | Event::XkbMapNotify(_) | Event::XkbNewKeyboardNotify(_)) => {
                    self.remap();
                    continue;
                }
                Ok(_) => continue,
                Err(error) => {
                    tracing::error!("{}", HotkeyError::Lost { reason: error.to_string() });
                    // Nobody will tell us about the release of a key that is down.
                    let edges = self.tracker.release_all();
                    return self.say(edges);
                }
            };
            self.say(edges);
        }
    }

    fn say(&self, edges: Vec<Edge>) {
        let escape = self.escape.load(Ordering::SeqCst);
        let commands = edges.into_iter().filter_map(|edge| super::command(&self.hotkeys, edge, escape));
        commands.for_each(|command| self.controller.send(command));
    }

    /// The keyboard's map is another: the same keys may be elsewhere. (Tools that type remap spare keys all the time.)
    fn remap(&mut self) {
        let Ok(keyboard) = Keyboard::read(&self.connection) else { return };
        let moved = self.hotkeys.iter().any(|hotkey| {
            hotkey.shortcut.only_modifiers()
                && self.keyboard.codes(hotkey.shortcut.key) != keyboard.codes(hotkey.shortcut.key)
        });
        if moved {
            self.tracker = tracker(&self.hotkeys, &keyboard);
        }
        self.keyboard = keyboard;
    }
}
