//! The terminal that the self-test runs in, as a window that takes what is pasted and typed: Wayland gives no focus to
//! whoever asks, but it is here already.

use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use std::io::{IsTerminal, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at what has arrived.
const STEP: Duration = Duration::from_millis(5);

/// Standard input, byte by byte; dropping it gives the terminal back.
pub struct Terminal {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Takes the terminal. A thread reads it until the program ends: such a read cannot be interrupted.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn open() -> Result<Terminal, String> {
        if !std::io::stdin().is_terminal() {
            return Err("standard input is no terminal".into());
        }
        enable_raw_mode().map_err(|error| error.to_string())?;
        let terminal = Terminal { bytes: Arc::default() };
        let bytes = terminal.bytes.clone();
        let read = move || {
            let mut part = [0; 1024];
            while let Ok(count @ 1..) = std::io::stdin().read(&mut part) {
                bytes.lock().unwrap_or_else(PoisonError::into_inner).extend(&part[..count]);
            }
        };
        let thread = std::thread::Builder::new().name("terminal".into()).spawn(read);
        thread.map(drop).map_err(|error| error.to_string())?;
        Ok(terminal)
    }

    /// Whether `text` has arrived by `limit`, perhaps with a terminal's marks of a paste around it.
    pub fn arrived(&self, text: &str, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if String::from_utf8_lossy(&bytes).contains(text) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(STEP);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Err(error) = disable_raw_mode() {
            crate::app::say(&format!("bestbox: the terminal may behave oddly ({error}): run `reset`"));
        }
    }
}
