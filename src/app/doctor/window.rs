//! A window of one's own on an X server, which takes what is pasted and typed into it, as any program would.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use x11rb::connection::Connection;
use x11rb::errors::ReplyOrIdError;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    AtomEnum, ClientMessageEvent, ConnectionExt as _, CreateWindowAux, EventMask, InputFocus, KeyButMask,
    KeyPressEvent, PropMode, Window as Id, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

/// Between two looks at the server.
const STEP: Duration = Duration::from_millis(5);
/// For the desktop to give a new window the focus.
const FOCUS: Duration = Duration::from_secs(3);
/// Keysyms.
const V: u32 = 0x76;

/// The window; dropping it closes it.
pub struct Window {
    id: Id,
    text: Arc<Mutex<String>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Window {
    /// Opens it and waits until it has the focus.
    ///
    /// # Errors
    /// When there is no server, or the desktop does not give it the focus.
    pub fn open(display: &str) -> Result<Window, String> {
        let (connection, screen) = x11rb::connect(Some(display)).map_err(|error| error.to_string())?;
        let reader = Reader::new(connection, screen).map_err(|error| error.to_string())?;
        let id = reader.window;
        let (text, stop) = (reader.text.clone(), Arc::new(AtomicBool::new(false)));
        let (stopped, focused) = (stop.clone(), Arc::new(AtomicBool::new(false)));
        let has = focused.clone();
        let thread = std::thread::Builder::new().name("window".into());
        let thread = thread.spawn(move || {
            if let Err(error) = reader.run(&stopped, &focused) {
                tracing::warn!("the window of the self-test: {error}");
            }
        });
        let window = Window { id, text, stop, thread: Some(thread.map_err(|error| error.to_string())?) };
        let until = Instant::now() + FOCUS;
        while !has.load(Ordering::SeqCst) {
            if Instant::now() >= until {
                return Err("the desktop does not give it the focus; close what keeps it and try again".into());
            }
            std::thread::sleep(STEP);
        }
        Ok(window)
    }

    /// Its number on the server.
    pub fn id(&self) -> u64 {
        self.id.into()
    }

    /// Whether `text` is at the end of what it holds, by `limit`.
    pub fn arrived(&self, text: &str, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            if self.text.lock().unwrap_or_else(PoisonError::into_inner).ends_with(text) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(STEP);
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Reader {
    connection: RustConnection,
    root: Id,
    window: Id,
    clipboard: u32,
    utf8: u32,
    property: u32,
    active: u32,
    text: Arc<Mutex<String>>,
}

impl Reader {
    fn new(connection: RustConnection, screen: usize) -> Result<Self, ReplyOrIdError> {
        let screen = &connection.setup().roots[screen];
        let (root, window) = (screen.root, connection.generate_id()?);
        let aux = CreateWindowAux::new()
            .background_pixel(screen.white_pixel)
            .event_mask(EventMask::KEY_PRESS | EventMask::FOCUS_CHANGE | EventMask::PROPERTY_CHANGE);
        let class = WindowClass::INPUT_OUTPUT;
        connection.create_window(x11rb::COPY_DEPTH_FROM_PARENT, window, root, 0, 0, 420, 120, 0, class, 0, &aux)?;
        let string = |property: AtomEnum, value: &[u8]| {
            connection.change_property8(PropMode::REPLACE, window, property, AtomEnum::STRING, value).map(drop)
        };
        string(AtomEnum::WM_NAME, b"bestbox doctor")?;
        string(AtomEnum::WM_CLASS, b"bestbox-doctor\0bestbox-doctor\0")?;
        connection.map_window(window)?;
        let atom = |name: &str| connection.intern_atom(false, name.as_bytes())?.reply().map(|reply| reply.atom);
        let (clipboard, utf8) = (atom("CLIPBOARD")?, atom("UTF8_STRING")?);
        let (property, active) = (atom("BESTBOX_DOCTOR")?, atom("_NET_ACTIVE_WINDOW")?);
        Ok(Reader { connection, root, window, clipboard, utf8, property, active, text: Arc::default() })
    }

    fn run(self, stop: &AtomicBool, focused: &AtomicBool) -> Result<(), ReplyOrIdError> {
        // Window managers may leave the focus where it is, and say how to ask for it.
        let data = [1, x11rb::CURRENT_TIME, 0, 0, 0];
        let ask = ClientMessageEvent::new(32, self.window, self.active, data);
        let mask = EventMask::SUBSTRUCTURE_REDIRECT | EventMask::SUBSTRUCTURE_NOTIFY;
        let mut asked = None;
        while !stop.load(Ordering::SeqCst) {
            while let Some(event) = self.connection.poll_for_event()? {
                match event {
                    Event::FocusIn(_) => focused.store(true, Ordering::SeqCst),
                    Event::KeyPress(event) => self.key(&event)?,
                    Event::SelectionNotify(event) if event.property == self.property => self.pasted()?,
                    _ => {}
                }
            }
            if !focused.load(Ordering::SeqCst) && asked.is_none_or(|at: Instant| at.elapsed() > FOCUS / 4) {
                // The first time the manager has just been told of the window.
                if asked.is_some() {
                    self.connection.send_event(false, self.root, mask, ask)?;
                    // Without a manager nobody else does it. A window that is not on the screen yet cannot have it.
                    self.connection.set_input_focus(InputFocus::PARENT, self.window, x11rb::CURRENT_TIME)?;
                }
                self.connection.flush()?;
                asked = Some(Instant::now());
            }
            std::thread::sleep(STEP);
        }
        self.connection.destroy_window(self.window)?;
        self.connection.flush()?;
        Ok(())
    }

    fn key(&self, event: &KeyPressEvent) -> Result<(), ReplyOrIdError> {
        // Asked anew each time: whoever types may change the map in between.
        let map = self.connection.get_keyboard_mapping(event.detail, 1)?.reply()?;
        let state = u16::from(event.state);
        let control = state & u16::from(KeyButMask::CONTROL) != 0;
        if control && map.keysyms.contains(&V) {
            let (clipboard, utf8, property) = (self.clipboard, self.utf8, self.property);
            self.connection.convert_selection(self.window, clipboard, utf8, property, event.time)?;
            self.connection.flush()?;
            return Ok(());
        }
        let shift = usize::from(state & u16::from(KeyButMask::SHIFT) != 0);
        let group = usize::from(state >> 13 & 3) * 2;
        let symbol = [group + shift, group, shift, 0].into_iter();
        let symbol = symbol.filter_map(|at| map.keysyms.get(at).copied()).find(|symbol| *symbol != 0);
        let letter = symbol.and_then(|symbol| xkeysym::Keysym::new(symbol).key_char());
        if let Some(letter) = letter.filter(|_| !control) {
            self.text.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
        }
        Ok(())
    }

    fn pasted(&self) -> Result<(), ReplyOrIdError> {
        let kind = AtomEnum::ANY;
        let value = self.connection.get_property(true, self.window, self.property, kind, 0, 65_536)?.reply()?.value;
        self.text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&value));
        Ok(())
    }
}
