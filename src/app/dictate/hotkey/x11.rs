//! Keys of the X server: grabs for keys; modifiers alone are the matter of [`super::x11_raw`].
//!
//! Owns one connection, its grabs and a thread that waits for events. While a grabbed key is down the server sends
//! all keys to us, so its release is never missed. Repeats come as presses without releases (XKB's detectable
//! autorepeat) and are folded. Other threads send requests on the same connection.

use super::tracker::Edge;
use super::x11_keys::{Grab, Keyboard};
use super::x11_raw::Raw;
use super::{Hotkey, HotkeyError};
use crate::app::dictate::control::Controller;
use crate::config::{KEYS, Modifier};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use x11rb::connection::{Connection, RequestConnection};
use x11rb::protocol::xinput;
use x11rb::protocol::xkb::{self, ConnectionExt as _};
use x11rb::protocol::xproto::{
    ClientMessageEvent, ConnectionExt as _, CreateWindowAux, EventMask, GrabMode, KeyPressEvent, ModMask, Window,
    WindowClass,
};
use x11rb::protocol::{ErrorKind, Event};
use x11rb::rust_connection::RustConnection;

/// Keys that are grabbed; dropping it gives them back.
pub struct X11 {
    shared: Arc<Shared>,
    /// Gets a message when the thread is to end.
    mailbox: Window,
    thread: Option<JoinHandle<()>>,
    _raw: Option<Raw>,
}

struct Shared {
    connection: RustConnection,
    root: Window,
    /// Whether Escape cancels now.
    escape: Arc<AtomicBool>,
}

/// Switches Escape.
pub struct Escape {
    shared: Arc<Shared>,
}

impl X11 {
    /// Grabs the keys of all hotkeys or none, and names the one that cannot be had. Blocks for a moment.
    pub fn start(display: Option<&str>, hotkeys: Vec<Hotkey>, controller: Controller) -> Result<Self, HotkeyError> {
        let failed = |error: &dyn std::fmt::Display| HotkeyError::X11 { reason: error.to_string() };
        let (connection, screen) = x11rb::connect(display).map_err(|error| failed(&error))?;
        let root = connection.setup().roots[screen].root;
        // Without these a held key is a stream of presses and releases, and modifiers cannot be heard at all.
        for extension in [xkb::X11_EXTENSION_NAME, xinput::X11_EXTENSION_NAME] {
            if connection.extension_information(extension).ok().flatten().is_none() {
                return Err(HotkeyError::X11 { reason: format!("it has no {extension}") });
            }
        }
        prepare(&connection).map_err(|error| failed(&error))?;
        let keyboard = Keyboard::read(&connection).map_err(|error| failed(&error))?;
        for hotkey in &hotkeys {
            if keyboard.codes(hotkey.shortcut.key).is_empty() {
                return Err(HotkeyError::NoSuchKey(hotkey.shortcut.clone()));
            }
            if !hotkey.shortcut.only_modifiers() {
                grab(&connection, root, hotkey, &keyboard.grabs(&hotkey.shortcut))?;
            }
        }
        let escape = Arc::new(AtomicBool::new(false));
        let watched = hotkeys.iter().any(|hotkey| hotkey.shortcut.only_modifiers());
        let raw = watched.then(|| Raw::start(display, hotkeys.clone(), controller.clone(), escape.clone()));
        let raw = raw.transpose().map_err(|reason| HotkeyError::X11 { reason })?;
        let mailbox = connection.generate_id().map_err(|error| failed(&error))?;
        let aux = CreateWindowAux::new();
        let created = connection.create_window(0, mailbox, root, 0, 0, 1, 1, 0, WindowClass::INPUT_ONLY, 0, &aux);
        created.map_err(|error| failed(&error))?.check().map_err(|error| failed(&error))?;
        let shared = Arc::new(Shared { connection, root, escape });
        let held = BTreeMap::new();
        let watched = raw.is_some();
        let ears = Ears { shared: shared.clone(), hotkeys, keyboard, watched, controller, mailbox, held };
        let thread = std::thread::Builder::new().name("hotkeys".into()).spawn(move || ears.run());
        let thread = Some(thread.map_err(|error| failed(&error))?);
        Ok(X11 { shared, mailbox, thread, _raw: raw })
    }

    /// The switch of Escape.
    pub fn escape(&self) -> Escape {
        Escape { shared: self.shared.clone() }
    }
}

impl Drop for X11 {
    fn drop(&mut self) {
        let message = ClientMessageEvent::new(32, self.mailbox, x11rb::protocol::xproto::AtomEnum::STRING, [0; 5]);
        let connection = &self.shared.connection;
        // Where this fails the server is gone, and with it the thread.
        let _ = connection.send_event(false, self.mailbox, EventMask::NO_EVENT, message);
        let _ = connection.flush();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Escape {
    /// Grabs Escape, or gives it back to everybody. What another program has already it keeps.
    pub fn wanted(&self, wanted: bool) {
        if self.shared.escape.swap(wanted, Ordering::SeqCst) == wanted {
            return;
        }
        if let Err(error) = self.switch(wanted) {
            tracing::warn!("Escape does not cancel: {error}");
        }
    }

    fn switch(&self, wanted: bool) -> Result<(), x11rb::errors::ReplyError> {
        let Shared { connection, root, .. } = &*self.shared;
        let keyboard = Keyboard::read(connection)?;
        let Some(key) = KEYS.iter().find(|key| key.name() == "escape") else { return Ok(()) };
        // Alone, or with the one modifier that may be a hotkey by itself and held.
        let one = |modifier: &Modifier| keyboard.bits(&BTreeSet::from([*modifier]));
        let modifiers: Vec<u16> = Modifier::ALL.iter().map(one).chain([0]).collect();
        for code in keyboard.codes(key).into_iter().filter_map(|code| u8::try_from(code).ok()) {
            for mask in modifiers.iter().flat_map(|bits| keyboard.with_locks(*bits)) {
                // Refusals come back as events, and the thread passes over them.
                if wanted {
                    connection.grab_key(false, *root, ModMask::from(mask), code, GrabMode::ASYNC, GrabMode::ASYNC)?;
                } else {
                    connection.ungrab_key(code, *root, ModMask::from(mask))?;
                }
            }
        }
        connection.flush()?;
        Ok(())
    }
}

/// Repeats without releases; news of other layouts and keyboards.
pub(super) fn prepare(connection: &RustConnection) -> Result<(), x11rb::errors::ReplyError> {
    connection.xkb_use_extension(1, 0)?.reply()?;
    let repeat = xkb::PerClientFlag::DETECTABLE_AUTO_REPEAT;
    let device = xkb::ID::USE_CORE_KBD.into();
    let none = xkb::BoolCtrl::default();
    connection.xkb_per_client_flags(device, repeat, repeat, none, none, none)?.reply()?;
    // Whoever uses XKB is told of other layouts and keyboards by XKB only.
    let events = xkb::EventType::MAP_NOTIFY | xkb::EventType::NEW_KEYBOARD_NOTIFY;
    let parts = xkb::MapPart::KEY_SYMS | xkb::MapPart::MODIFIER_MAP;
    let (no_events, details) = (xkb::EventType::default(), xkb::SelectEventsAux::new());
    connection.xkb_select_events(device, no_events, events, parts, parts, &details)?.check()
}

fn grab(connection: &RustConnection, root: Window, hotkey: &Hotkey, grabs: &[Grab]) -> Result<(), HotkeyError> {
    let lost = |error: x11rb::errors::ConnectionError| HotkeyError::X11 { reason: error.to_string() };
    let mut answers = Vec::new();
    for (code, mask) in grabs {
        let mask = ModMask::from(*mask);
        answers.push(connection.grab_key(false, root, mask, *code, GrabMode::ASYNC, GrabMode::ASYNC).map_err(lost)?);
    }
    for answer in answers {
        match answer.check() {
            Ok(()) => {}
            Err(x11rb::errors::ReplyError::X11Error(error)) if error.error_kind == ErrorKind::Access => {
                return Err(HotkeyError::Taken(hotkey.shortcut.clone()));
            }
            Err(error) => return Err(HotkeyError::X11 { reason: error.to_string() }),
        }
    }
    Ok(())
}

/// What the thread has.
struct Ears {
    shared: Arc<Shared>,
    hotkeys: Vec<Hotkey>,
    keyboard: Keyboard,
    /// Whether raw events are watched: they tell of Escape too.
    watched: bool,
    controller: Controller,
    mailbox: Window,
    /// Keycodes that are down, and the hotkeys they hold.
    held: BTreeMap<u8, usize>,
}

impl Ears {
    fn run(mut self) {
        loop {
            match self.shared.connection.wait_for_event() {
                Ok(Event::ClientMessage(message)) if message.window == self.mailbox => return,
                Ok(event) => self.event(&event),
                Err(error) => {
                    tracing::error!("{}", HotkeyError::Lost { reason: error.to_string() });
                    // Nobody will tell us about the release of a key that is down.
                    let held: Vec<usize> = std::mem::take(&mut self.held).into_values().collect();
                    held.into_iter().for_each(|index| self.say(Edge::Release(index)));
                    return;
                }
            }
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::KeyPress(event) => self.press(event),
            Event::KeyRelease(event) => {
                if let Some(index) = self.held.remove(&event.detail) {
                    self.say(Edge::Release(index));
                }
            }
            Event::MappingNotify(_) | Event::XkbMapNotify(_) | Event::XkbNewKeyboardNotify(_) => self.remap(),
            // A key of Escape that another program has.
            Event::Error(error) => tracing::debug!("X11: {:?} of request {:?}", error.error_kind, error.request_name),
            _ => {}
        }
    }

    fn press(&mut self, event: &KeyPressEvent) {
        if self.held.contains_key(&event.detail) {
            return;
        }
        let code = u32::from(event.detail);
        let state = self.keyboard.relevant(event.state);
        let is_escape = KEYS.iter().any(|key| key.name() == "escape" && self.keyboard.codes(key).contains(&code));
        if is_escape {
            if !self.watched {
                self.say(Edge::Escape);
            }
            return;
        }
        let found = self.hotkeys.iter().position(|hotkey| {
            let shortcut = &hotkey.shortcut;
            !shortcut.only_modifiers()
                && self.keyboard.bits(&shortcut.modifiers) == state
                && self.keyboard.codes(shortcut.key).contains(&code)
        });
        if let Some(index) = found {
            self.held.insert(event.detail, index);
            self.say(Edge::Press(index));
        }
    }

    /// The keyboard's map is another: the same keys may be elsewhere. (Tools that type remap spare keys all the time.)
    fn remap(&mut self) {
        let Ok(keyboard) = Keyboard::read(&self.shared.connection) else { return };
        let Shared { connection, root, .. } = &*self.shared;
        for hotkey in self.hotkeys.iter().filter(|hotkey| !hotkey.shortcut.only_modifiers()) {
            let (old, new) = (self.keyboard.grabs(&hotkey.shortcut), keyboard.grabs(&hotkey.shortcut));
            if old == new {
                continue;
            }
            for (code, mask) in old {
                let _ = connection.ungrab_key(code, *root, ModMask::from(mask));
            }
            if let Err(error) = grab(connection, *root, hotkey, &new) {
                tracing::warn!("after a change of the keyboard: {error}");
            }
        }
        self.keyboard = keyboard;
        let _ = connection.flush();
    }

    fn say(&self, edge: Edge) {
        let escape = self.shared.escape.load(Ordering::SeqCst);
        if let Some(command) = super::command(&self.hotkeys, edge, escape) {
            self.controller.send(command);
        }
    }
}
