//! The clipboard on Wayland. The compositor tells when somebody reads, not who: what is read before the paste shortcut
//! is pressed is read by clipboard managers, what is read after it by the target.

use super::super::keeper::{Held, HeldContent, HeldItem};
use super::super::{Read, Selections, ToolError};
use super::desk::{Content, DESK, Desk, no_control};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Read as _;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Time for all types of one selection together.
const LIMIT: Duration = Duration::from_secs(3);
/// Most bytes of a selection that are kept.
const MOST_BYTES: usize = 256 << 20;
/// Clipboard managers read a new text this soon; the first time it is waited for them, and later only if there are any.
const WATCHERS: Duration = Duration::from_millis(120);

/// Lends a text to the clipboard and takes it back; see the X11 one, whose interface this is.
pub struct WaylandClipboard;

impl WaylandClipboard {
    /// Remembers what the selections hold and offers `text` in its place.
    pub fn lend(text: String, selections: Selections) -> Result<(), ToolError> {
        DESK.call(move |desk| {
            let primary = desk.device.as_ref().ok_or_else(no_control)?.has_primary();
            let slots = if selections == Selections::Both && primary { 0..2 } else { 0..1 };
            desk.round_trip()?;
            for index in slots.clone() {
                if desk.state.slots[index].before.is_none() {
                    desk.state.slots[index].before = Some(desk.save(index)?);
                }
            }
            for index in slots.clone() {
                let slot = &mut desk.state.slots[index];
                (slot.armed, slot.read, slot.restore_when_read) = (false, None, false);
                desk.own(index, text_content(&text, true))?;
            }
            desk.let_watchers_read()?;
            for index in slots {
                desk.state.slots[index].armed = true;
            }
            Ok(())
        })
    }

    /// Waits until the lent text has been read from any of the selections.
    pub fn wait_read(limit: Duration) -> Result<Read, ToolError> {
        DESK.call(move |desk| {
            let deadline = Instant::now() + limit;
            let lost = |slots: &[super::desk::Slot; 2]| slots.iter().all(|slot| slot.before.is_none());
            let read = |slots: &[super::desk::Slot; 2]| slots.iter().any(|s| s.before.is_some() && s.settled());
            desk.pump(Some(deadline), None, |state| read(&state.slots) || lost(&state.slots))?;
            Ok(match (read(&desk.state.slots), lost(&desk.state.slots)) {
                (true, _) => Read::Done,
                (false, true) => Read::Lost,
                (false, false) => Read::NotYet,
            })
        })
    }

    /// The selections get back what they held, unless another program has taken them meanwhile.
    pub fn give_back() -> Result<(), ToolError> {
        DESK.call(|desk| {
            for index in 0..desk.state.slots.len() {
                if let Some(before) = desk.state.slots[index].before.take() {
                    desk.own(index, before)?;
                }
            }
            desk.round_trip()
        })
    }

    /// The same, as soon as the text has been read, whenever that is.
    pub fn give_back_when_read() -> Result<(), ToolError> {
        DESK.call(|desk| {
            for slot in &mut desk.state.slots {
                slot.restore_when_read = slot.before.is_some();
            }
            Ok(())
        })
    }

    /// The lent text stays.
    pub fn leave() -> Result<(), ToolError> {
        DESK.call(|desk| {
            for slot in &mut desk.state.slots {
                (slot.before, slot.restore_when_read) = (None, false);
            }
            Ok(())
        })
    }

    /// Puts a text into the clipboard, to stay.
    pub fn put(text: String) -> Result<(), ToolError> {
        DESK.call(move |desk| {
            desk.state.slots[0].before = None;
            desk.own(0, text_content(&text, false))?;
            desk.round_trip()
        })
    }

    /// What this process serves.
    pub fn export() -> Result<Vec<Held>, ToolError> {
        if !DESK.runs() {
            return Ok(Vec::new());
        }
        DESK.call(|desk| {
            let owned = desk.state.slots.iter().enumerate();
            let owned = owned.filter_map(|(slot, it)| it.source.as_ref().map(|(_, content)| (slot, it, content)));
            let held = owned.map(|(slot, it, content)| Held {
                slot,
                content: pack(content),
                before: it.before.as_ref().filter(|_| it.restore_when_read).map(pack),
                reader: None,
            });
            Ok(held.collect())
        })
    }

    /// Serves what another process has exported.
    pub fn import(held: Vec<Held>) -> Result<(), ToolError> {
        DESK.call(move |desk| {
            let mut lent = Vec::new();
            for held in held.into_iter().filter(|held| held.slot < 2) {
                desk.state.slots[held.slot].before = held.before.map(unpack);
                desk.own(held.slot, unpack(held.content))?;
                lent.extend(desk.state.slots[held.slot].before.is_some().then_some(held.slot));
            }
            if lent.is_empty() {
                return desk.round_trip();
            }
            desk.let_watchers_read()?;
            for index in lent {
                let slot = &mut desk.state.slots[index];
                (slot.armed, slot.read, slot.restore_when_read) = (true, None, true);
            }
            Ok(())
        })
    }

    /// Waits until other programs own whatever this one has owned.
    pub fn wait_released() {
        let (tell, told) = mpsc::channel();
        let asked = DESK.call(move |desk| {
            desk.state.waiting_for_release.push(tell);
            Ok(())
        });
        if asked.is_ok() {
            // An error is the end of the thread: nothing is owned any more.
            let _ = told.recv();
        }
    }
}

fn pack(content: &Content) -> HeldContent {
    let item = |(name, bytes): &(String, Arc<Vec<u8>>)| HeldItem {
        name: name.clone(),
        kind: String::new(),
        format: 8,
        bytes: bytes.to_vec(),
    };
    HeldContent { advertised: Vec::new(), items: content.iter().map(item).collect() }
}

fn unpack(held: HeldContent) -> Content {
    held.items.into_iter().map(|item| (item.name, Arc::new(item.bytes))).collect()
}

/// A text under all the names by which programs ask for text; `passing`: clipboard managers are to keep no history of it.
fn text_content(text: &str, passing: bool) -> Content {
    let bytes = Arc::new(text.as_bytes().to_vec());
    let names = ["text/plain;charset=utf-8", "text/plain", "UTF8_STRING", "TEXT", "STRING"];
    let mut content: Content = names.iter().map(|name| ((*name).to_owned(), Arc::clone(&bytes))).collect();
    if passing {
        content.push(("x-kde-passwordManagerHint".to_owned(), Arc::new(b"secret".to_vec())));
    }
    content
}

impl Desk {
    /// What the selection holds now; nothing when nobody offers anything.
    fn save(&mut self, slot: usize) -> Result<Content, ToolError> {
        if let Some((_, content)) = &self.state.slots[slot].source {
            return Ok(content.clone());
        }
        let offer = self.state.slots[slot].offer.as_ref().and_then(|id| self.state.offers.get(id));
        let Some((offer, types)) = offer else { return Ok(Content::new()) };
        let deadline = Instant::now() + LIMIT;
        let mut content = Content::new();
        let mut size = 0;
        for mime in types {
            if content.iter().any(|(known, _)| known == mime) {
                continue;
            }
            let failed = |error: std::io::Error| ToolError::Clipboard(format!("it cannot be read: {error}"));
            let (mut reader, writer) = std::io::pipe().map_err(failed)?;
            offer.receive(mime.clone(), writer.as_fd());
            self.connection.flush()?;
            drop(writer);
            let mut bytes = Vec::new();
            let mut part = vec![0; 64 * 1024];
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
                let ready = poll(&mut [PollFd::new(reader.as_fd(), PollFlags::POLLIN)], timeout);
                if ready == Ok(0) {
                    return Err(ToolError::Clipboard("the program that owns it does not answer".into()));
                }
                let count = reader.read(&mut part).map_err(failed)?;
                if count == 0 {
                    break;
                }
                bytes.extend_from_slice(&part[..count]);
                if size + bytes.len() > MOST_BYTES {
                    return Err(ToolError::Clipboard("it holds more than 256 MiB".into()));
                }
            }
            size += bytes.len();
            content.push((mime.clone(), Arc::new(bytes)));
        }
        Ok(content)
    }

    /// Lets clipboard managers read the new text before the target does.
    fn let_watchers_read(&mut self) -> Result<(), ToolError> {
        self.round_trip()?;
        let before = self.state.slots[0].watchers;
        let wait = self.watched.unwrap_or(WATCHERS);
        self.pump(Some(Instant::now() + wait), None, |_| false)?;
        if self.watched.is_none() {
            let any = self.state.slots[0].watchers > before;
            self.watched = Some(if any { WATCHERS } else { Duration::ZERO });
        }
        Ok(())
    }
}
