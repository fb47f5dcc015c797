//! Reads everything that a selection offers, so that it can be given back.

use super::super::ToolError;
use super::content::{Content, Item};
use super::owner::{Arrived, Owner};
use std::sync::Arc;
use std::time::{Duration, Instant};
use x11rb::protocol::xproto::{Atom, AtomEnum, ConnectionExt as _, GetPropertyReply, Window};

/// Seconds for all types of one selection together.
const LIMIT: Duration = Duration::from_secs(3);
/// Most bytes of a selection that are kept.
const MOST_BYTES: usize = 256 << 20;

impl Owner {
    /// What the selection holds now. Nothing when it has no owner, or when its owner ends meanwhile: then its content
    /// is gone for everybody. An owner that does not answer, or offers more than fits in memory, is an error: its
    /// clipboard must not be taken.
    pub fn save(&mut self, slot: usize) -> Result<Content, ToolError> {
        let selection = self.slots[slot].selection;
        let owner = self.display.conn.get_selection_owner(selection)?.reply()?.owner;
        if owner == x11rb::NONE {
            return Ok(Content::default());
        }
        if owner == self.window {
            return Ok(self.slots[slot].content.clone().unwrap_or_default());
        }
        let transfer = Transfer { selection, owner, deadline: Instant::now() + LIMIT };
        let Some(list) = self.convert(&transfer, self.atoms.TARGETS)? else { return Ok(Content::default()) };
        let targets: Vec<Atom> =
            list.bytes.chunks_exact(4).map(|four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]])).collect();
        let mut content = Content::default();
        let mut size = 0;
        for target in targets {
            // Some owners list a type twice.
            let known = content.advertised.contains(&target);
            content.advertised.push(target);
            if known || self.atoms.is_meta(target) {
                continue;
            }
            // Some list types that they then refuse, as images too large for an icon: so do we afterwards.
            if let Some(item) = self.convert(&transfer, target)? {
                size += item.bytes.len();
                if size > MOST_BYTES {
                    return Err(ToolError::Clipboard("it holds more than 256 MiB".into()));
                }
                content.items.push(item);
            }
        }
        if self.display.conn.get_selection_owner(selection)?.reply()?.owner == x11rb::NONE {
            return Ok(Content::default());
        }
        Ok(content)
    }

    /// One type of the selection; none if the owner has it not or is gone.
    fn convert(&mut self, transfer: &Transfer, target: Atom) -> Result<Option<Item>, ToolError> {
        let (window, property) = (self.window, self.atoms.BESTBOX_TRANSFER);
        self.display.conn.delete_property(window, property)?;
        self.arrived = Arrived::default();
        let now = x11rb::CURRENT_TIME;
        self.display.conn.convert_selection(window, transfer.selection, target, property, now)?;
        let answered = self.wait(transfer, |owner| {
            owner.arrived.notify.is_some_and(|notify| notify.selection == transfer.selection && notify.target == target)
        })?;
        if !answered || self.arrived.notify.is_none_or(|notify| notify.property == x11rb::NONE) {
            return Ok(None);
        }
        self.arrived.new_value = false;
        let first = self.take(property)?;
        if first.type_ != self.atoms.INCR {
            let Some(format) = Some(first.format).filter(|format| *format != 0) else { return Ok(None) };
            return Ok(Some(Item { target, kind: first.type_, format, bytes: Arc::new(first.value) }));
        }
        // In parts, each put into the property once we have deleted the one before; the last is empty (ICCCM 2.7.2).
        let mut item = Item { target, kind: x11rb::NONE, format: 8, bytes: Arc::default() };
        let mut bytes = Vec::new();
        loop {
            if !self.wait(transfer, |owner| owner.arrived.new_value)? {
                return Ok(None);
            }
            self.arrived.new_value = false;
            let part = self.take(property)?;
            if part.value.is_empty() {
                item.bytes = Arc::new(bytes);
                return Ok(Some(item));
            }
            (item.kind, item.format) = (part.type_, part.format);
            bytes.extend_from_slice(&part.value);
            if bytes.len() > MOST_BYTES {
                return Err(ToolError::Clipboard("it holds more than 256 MiB".into()));
            }
        }
    }

    /// Waits for the owner; false if it is gone.
    fn wait(&mut self, transfer: &Transfer, mut done: impl FnMut(&Owner) -> bool) -> Result<bool, ToolError> {
        loop {
            let slice = (Instant::now() + Duration::from_millis(50)).min(transfer.deadline);
            if self.pump(Some(slice), None, |owner| done(owner))? {
                return Ok(true);
            }
            if self.display.conn.get_selection_owner(transfer.selection)?.reply()?.owner != transfer.owner {
                return Ok(false);
            }
            if Instant::now() >= transfer.deadline {
                return Err(ToolError::Clipboard("the program that owns it does not answer".into()));
            }
        }
    }

    /// Reads a property of our own window and deletes it.
    fn take(&mut self, property: Atom) -> Result<GetPropertyReply, ToolError> {
        let (window, any) = (self.window, AtomEnum::ANY);
        Ok(self.display.conn.get_property(true, window, property, any, 0, u32::MAX / 4)?.reply()?)
    }
}

/// A selection that is being read.
struct Transfer {
    selection: Atom,
    owner: Window,
    deadline: Instant,
}
