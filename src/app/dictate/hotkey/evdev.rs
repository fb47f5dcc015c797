//! Keys from the kernel's input devices: opt-in, because whoever may read them reads every key of every program.
//!
//! Owns one task that reads all keyboards and looks for new ones. Nothing is grabbed: other programs see the keys too.

use super::tracker::{Edge, Tracker};
use super::{Hotkey, HotkeyError, Task};
use crate::app::dictate::control::Controller;
use crate::app::dictate::machine::State;
use crate::config::Key;
use evdev::{Device, EventSummary, KeyCode};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often keyboards that were plugged in are looked for.
const LOOK: Duration = Duration::from_secs(2);

/// What a keyboard's task tells.
enum News {
    Key { device: PathBuf, code: u32, down: bool },
    Gone { device: PathBuf },
}

/// Starts to listen; an error where no keyboard can be read now.
pub fn start(hotkeys: Vec<Hotkey>, controller: Controller) -> Result<Task, HotkeyError> {
    let tracker = Tracker::new(&hotkeys, |_| true, codes);
    let (say, hear) = mpsc::unbounded_channel();
    let mut ears = Ears { hotkeys, controller, tracker, devices: BTreeSet::new(), say };
    ears.look();
    if ears.devices.is_empty() {
        return Err(HotkeyError::NoKeyboard);
    }
    Ok(Task(tokio::spawn(ears.run(hear))))
}

fn codes(key: &Key) -> BTreeSet<u32> {
    key.codes.iter().map(|code| u32::from(*code)).collect()
}

struct Ears {
    hotkeys: Vec<Hotkey>,
    controller: Controller,
    tracker: Tracker,
    devices: BTreeSet<PathBuf>,
    say: mpsc::UnboundedSender<News>,
}

impl Ears {
    async fn run(mut self, mut hear: mpsc::UnboundedReceiver<News>) {
        let mut look = tokio::time::interval(LOOK);
        // Keys that are down, with their device: one that is unplugged lets go of its keys.
        let mut down: BTreeSet<(PathBuf, u32)> = BTreeSet::new();
        loop {
            let edges = tokio::select! {
                _ = look.tick() => {
                    self.look();
                    Vec::new()
                }
                news = hear.recv() => match news {
                    Some(News::Key { device, code, down: true }) => {
                        down.insert((device, code));
                        self.tracker.press(code, Instant::now())
                    }
                    Some(News::Key { device, code, down: false }) => {
                        down.remove(&(device, code));
                        self.tracker.release(code)
                    }
                    Some(News::Gone { device }) => {
                        let (lost, rest) = down.into_iter().partition(|(of, _)| *of == device);
                        down = rest;
                        self.devices.remove(&device);
                        let lost: BTreeSet<(PathBuf, u32)> = lost;
                        lost.into_iter().flat_map(|(_, code)| self.tracker.release(code)).collect()
                    }
                    None => return,
                },
            };
            edges.into_iter().for_each(|edge| self.tell(edge));
        }
    }

    fn tell(&self, edge: Edge) {
        let recording = self.controller.status().borrow().state == State::Recording;
        if let Some(command) = super::command(&self.hotkeys, edge, recording) {
            self.controller.send(command);
        }
    }

    /// Listens to keyboards that are new. What cannot be opened is no keyboard of ours.
    fn look(&mut self) {
        for (path, device) in evdev::enumerate() {
            let has = |key: &Key| {
                codes(key).into_iter().any(|code| {
                    let code = u16::try_from(code).map(KeyCode::new);
                    code.is_ok_and(|code| device.supported_keys().is_some_and(|keys| keys.contains(code)))
                })
            };
            let ours = self.hotkeys.iter().any(|hotkey| has(hotkey.shortcut.key));
            if self.devices.contains(&path) || !ours {
                continue;
            }
            tracing::info!("keys of {} ({})", device.name().unwrap_or("a keyboard"), path.display());
            self.devices.insert(path.clone());
            tokio::spawn(read(path, device, self.say.clone()));
        }
    }
}

/// Reads one keyboard until it is gone, or nobody listens.
async fn read(path: PathBuf, device: Device, say: mpsc::UnboundedSender<News>) {
    match device.into_event_stream() {
        Ok(mut events) => loop {
            let event = tokio::select! {
                event = events.next_event() => event,
                () = say.closed() => return,
            };
            let Ok(event) = event else { break };
            // 2 is autorepeat.
            if let EventSummary::Key(_, key, value @ (0 | 1)) = event.destructure() {
                let news = News::Key { device: path.clone(), code: u32::from(key.code()), down: value == 1 };
                if say.send(news).is_err() {
                    return;
                }
            }
        },
        Err(error) => tracing::warn!("{} cannot be read: {error}", path.display()),
    }
    let _ = say.send(News::Gone { device: path });
}
