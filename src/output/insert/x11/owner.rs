//! The thread that owns selections: it answers those who paste, and sees when they have read.
//!
//! Owns its connection, a window that is never shown, and what it serves. If the connection breaks, the thread ends and
//! with it the clipboard's content; whoever calls next starts another.

use super::super::ToolError;
use super::Display;
use super::content::{Atoms, Content, Item};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ChangeWindowAttributesAux, ConnectionExt as _, CreateWindowAux, EventMask, PropMode, Property,
    PropertyNotifyEvent, SELECTION_NOTIFY_EVENT, SelectionNotifyEvent, SelectionRequestEvent, Timestamp, Window,
    WindowClass,
};
use x11rb::wrapper::ConnectionExt as _;

/// Bytes of one part of a large transfer. Well below the 256 KiB that every server takes in one request.
const PART: usize = 128 * 1024;
/// A reader that does not delete the property that it was handed has read it by then all the same.
const UNDELETED: Duration = Duration::from_secs(1);
/// Programs ask several times for one paste; this long after the last time they are done.
const QUIET: Duration = Duration::from_millis(100);
/// A transfer that makes no progress is forgotten.
const STALLED: Duration = Duration::from_secs(60);

/// One selection: the clipboard, or the primary one.
pub(super) struct Slot {
    pub selection: Atom,
    /// What is served while this thread owns the selection.
    pub content: Option<Content>,
    /// What was there before our text; there while a text is lent.
    pub before: Option<Content>,
    /// Any resource of the program that is to read the lent text; none: whichever reads.
    pub reader: Option<u32>,
    /// When the reader has read the lent text.
    pub read: Option<Instant>,
    /// When the reader last asked for anything.
    pub asked: Option<Instant>,
    /// Whether `before` comes back without further orders as soon as the text has been read.
    pub restore_when_read: bool,
    since: Timestamp,
}

impl Slot {
    pub fn owned(&self) -> bool {
        self.content.is_some()
    }
    /// Read, and nothing asked since.
    pub fn settled(&self) -> bool {
        self.read.is_some() && self.asked.is_none_or(|at| at.elapsed() >= QUIET)
    }
}

/// Data on its way to a program.
struct Outgoing {
    requestor: Window,
    property: Atom,
    kind: Atom,
    format: u8,
    bytes: Arc<Vec<u8>>,
    /// Bytes sent, where it goes in parts.
    sent: Option<usize>,
    /// The slot whose reader this is.
    lent_by: Option<usize>,
    moved: Instant,
}

/// What arrives for this thread's own window.
#[derive(Default)]
pub(super) struct Arrived {
    pub time: Option<Timestamp>,
    pub notify: Option<SelectionNotifyEvent>,
    pub new_value: bool,
}

pub(super) struct Owner {
    pub display: Display,
    pub atoms: Atoms,
    pub window: Window,
    /// Clipboard, primary.
    pub slots: [Slot; 2],
    pub arrived: Arrived,
    outgoing: Vec<Outgoing>,
    /// Told when nothing is owned any more.
    pub waiting_for_release: Vec<Sender<()>>,
}

impl Owner {
    pub fn new() -> Result<Owner, ToolError> {
        let display = Display::open()?;
        let atoms = Atoms::new(&display.conn)?.reply()?;
        let window = display.conn.generate_id()?;
        let aux = CreateWindowAux::new().event_mask(EventMask::PROPERTY_CHANGE);
        let (parent, class) = (display.root, WindowClass::INPUT_ONLY);
        display.conn.create_window(0, window, parent, 0, 0, 1, 1, 0, class, 0, &aux)?.check()?;
        let slot = |selection| Slot {
            selection,
            content: None,
            before: None,
            reader: None,
            read: None,
            asked: None,
            restore_when_read: false,
            since: 0,
        };
        let slots = [slot(atoms.CLIPBOARD), slot(AtomEnum::PRIMARY.into())];
        let (arrived, outgoing) = (Arrived::default(), Vec::new());
        Ok(Owner { display, atoms, window, slots, arrived, outgoing, waiting_for_release: Vec::new() })
    }

    /// Handles events until `done` or the deadline, or until `wake` has something to read; whether it was `done`.
    pub fn pump(
        &mut self,
        deadline: Option<Instant>,
        wake: Option<&UnixStream>,
        mut done: impl FnMut(&mut Owner) -> bool,
    ) -> Result<bool, ToolError> {
        loop {
            while let Some(event) = self.display.conn.poll_for_event()? {
                self.handle(event)?;
            }
            self.after_events()?;
            self.display.conn.flush()?;
            if done(self) {
                return Ok(true);
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            // Transfers and lent texts have times of their own.
            let busy = !self.outgoing.is_empty() || self.slots.iter().any(|slot| slot.before.is_some());
            let nap = match (left, busy) {
                (Some(left), true) => Some(left.min(Duration::from_millis(20))),
                (None, true) => Some(Duration::from_millis(20)),
                (left, false) => left,
            };
            let timeout = nap.map_or(PollTimeout::NONE, |nap| {
                PollTimeout::try_from(nap + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            });
            let mut fds = vec![PollFd::new(self.display.conn.stream().as_fd(), PollFlags::POLLIN)];
            fds.extend(wake.map(|wake| PollFd::new(wake.as_fd(), PollFlags::POLLIN)));
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(ToolError::Desktop(format!("cannot wait for the X display: {error}"))),
            }
            if fds.get(1).is_some_and(|wake| wake.any().unwrap_or(true)) {
                return Ok(false);
            }
        }
    }

    /// Makes `content` that of a selection; nothing empties the selection.
    pub fn own(&mut self, slot: usize, content: Content) -> Result<(), ToolError> {
        let time = self.server_time()?;
        let (window, conn) = (self.window, &self.display.conn);
        let slot = &mut self.slots[slot];
        if content.is_empty() {
            slot.content = None;
            conn.set_selection_owner(x11rb::NONE, slot.selection, time)?.check()?;
            return Ok(());
        }
        conn.set_selection_owner(window, slot.selection, time)?.check()?;
        if conn.get_selection_owner(slot.selection)?.reply()?.owner != window {
            return Err(ToolError::Clipboard("another program holds on to it".into()));
        }
        (slot.content, slot.since) = (Some(content), time);
        Ok(())
    }

    /// Time of the server, from a property that changes by nothing (ICCCM 2.1).
    fn server_time(&mut self) -> Result<Timestamp, ToolError> {
        self.arrived.time = None;
        let (window, property) = (self.window, self.atoms.BESTBOX_TIME);
        let kind = AtomEnum::STRING;
        self.display.conn.change_property(PropMode::APPEND, window, property, kind, 8, 0, &[])?;
        let deadline = Instant::now() + Duration::from_secs(2);
        self.pump(Some(deadline), None, |owner| owner.arrived.time.is_some())?;
        self.arrived.time.ok_or_else(|| ToolError::Desktop("the X display does not answer".into()))
    }

    fn handle(&mut self, event: Event) -> Result<(), ToolError> {
        match event {
            Event::SelectionRequest(request) => self.serve(&request),
            Event::SelectionClear(clear) => {
                if let Some(slot) = self.slots.iter_mut().find(|slot| slot.selection == clear.selection) {
                    // Somebody copied something: theirs stays, ours is over.
                    (slot.content, slot.before, slot.restore_when_read) = (None, None, false);
                }
                Ok(())
            }
            Event::SelectionNotify(notify) => {
                self.arrived.notify = Some(notify);
                Ok(())
            }
            Event::PropertyNotify(notify) if notify.window == self.window => {
                if notify.atom == self.atoms.BESTBOX_TIME {
                    self.arrived.time = Some(notify.time);
                } else if notify.state == Property::NEW_VALUE {
                    self.arrived.new_value = true;
                }
                Ok(())
            }
            Event::PropertyNotify(notify) => self.progress(notify),
            Event::DestroyNotify(gone) => {
                self.outgoing.retain(|transfer| transfer.requestor != gone.window);
                Ok(())
            }
            // Errors are of windows that went away.
            _ => Ok(()),
        }
    }

    fn after_events(&mut self) -> Result<(), ToolError> {
        let mut read = Vec::new();
        self.outgoing.retain(|transfer| {
            let undeleted = transfer.sent.is_none() && transfer.moved.elapsed() > UNDELETED;
            read.extend(transfer.lent_by.filter(|_| undeleted));
            transfer.moved.elapsed() < STALLED && !undeleted
        });
        for slot in read {
            self.slots[slot].read.get_or_insert_with(Instant::now);
        }
        // Read from either selection: both are free.
        if self.slots.iter().any(|slot| slot.restore_when_read && slot.settled()) {
            for index in 0..self.slots.len() {
                if std::mem::take(&mut self.slots[index].restore_when_read)
                    && let Some(before) = self.slots[index].before.take()
                {
                    self.own(index, before)?;
                }
            }
        }
        if self.slots.iter().all(|slot| !slot.owned()) && self.outgoing.is_empty() {
            for waiting in self.waiting_for_release.drain(..) {
                // Whoever asked may be gone.
                let _ = waiting.send(());
            }
        }
        Ok(())
    }

    fn serve(&mut self, request: &SelectionRequestEvent) -> Result<(), ToolError> {
        // Clients of the first days name no property (ICCCM 2.2).
        let property = if request.property == x11rb::NONE { request.target } else { request.property };
        let index = self.slots.iter().position(|slot| slot.selection == request.selection && slot.owned());
        let answered = match index {
            Some(index) if request.target == self.atoms.MULTIPLE => {
                self.multiple(index, request.requestor, property)?
            }
            Some(index) => self.answer(index, request.requestor, request.target, property)?,
            None => false,
        };
        let notify = SelectionNotifyEvent {
            response_type: SELECTION_NOTIFY_EVENT,
            sequence: 0,
            time: request.time,
            requestor: request.requestor,
            selection: request.selection,
            target: request.target,
            property: if answered { property } else { x11rb::NONE },
        };
        self.display.conn.send_event(false, request.requestor, EventMask::NO_EVENT, notify)?;
        Ok(())
    }

    /// Puts one target into a property of the requestor; whether there is such a target.
    fn answer(&mut self, index: usize, requestor: Window, target: Atom, property: Atom) -> Result<bool, ToolError> {
        let (conn, atoms, slot) = (&self.display.conn, &self.atoms, &self.slots[index]);
        let Some(content) = &slot.content else { return Ok(false) };
        let lent = slot.before.is_some();
        let by_reader = lent && slot.reader.is_none_or(|reader| self.display.same_program(reader, requestor));
        let item = if target == atoms.TARGETS {
            let targets = &content.advertised;
            conn.change_property32(PropMode::REPLACE, requestor, property, AtomEnum::ATOM, targets)?;
            None
        } else if target == atoms.TIMESTAMP {
            conn.change_property32(PropMode::REPLACE, requestor, property, AtomEnum::INTEGER, &[slot.since])?;
            None
        } else if target == atoms.SAVE_TARGETS {
            conn.change_property32(PropMode::REPLACE, requestor, property, atoms.NULL, &[])?;
            None
        } else {
            let Some(item) = content.items.iter().find(|item| item.target == target) else { return Ok(false) };
            Some(item.clone())
        };
        if by_reader {
            self.slots[index].asked = Some(Instant::now());
        }
        if let Some(item) = item {
            let counts = by_reader && self.atoms.is_text(target);
            self.send(requestor, property, item, counts.then_some(index))?;
        }
        Ok(true)
    }

    /// MULTIPLE (ICCCM 2.6.2): pairs of target and property; what cannot be had becomes None.
    fn multiple(&mut self, index: usize, requestor: Window, property: Atom) -> Result<bool, ToolError> {
        let pairs = self.display.conn.get_property(false, requestor, property, AtomEnum::ANY, 0, 4096)?.reply();
        let Some(mut pairs) = pairs.ok().and_then(|reply| reply.value32().map(Iterator::collect::<Vec<u32>>)) else {
            return Ok(false);
        };
        for pair in pairs.chunks_exact_mut(2) {
            if pair[0] == self.atoms.MULTIPLE || !self.answer(index, requestor, pair[0], pair[1])? {
                pair[1] = x11rb::NONE;
            }
        }
        let kind = self.atoms.ATOM_PAIR;
        self.display.conn.change_property32(PropMode::REPLACE, requestor, property, kind, &pairs)?;
        Ok(true)
    }

    fn send(&mut self, to: Window, property: Atom, item: Item, lent_by: Option<usize>) -> Result<(), ToolError> {
        let conn = &self.display.conn;
        // Deletion of the property is the sign that it was read.
        let mask = EventMask::PROPERTY_CHANGE | EventMask::STRUCTURE_NOTIFY;
        conn.change_window_attributes(to, &ChangeWindowAttributesAux::new().event_mask(mask))?;
        let Item { kind, format, bytes, .. } = item;
        let sent = if bytes.len() > PART {
            let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            conn.change_property32(PropMode::REPLACE, to, property, self.atoms.INCR, &[size])?;
            Some(0)
        } else {
            put(&self.display, to, property, kind, format, &bytes)?;
            None
        };
        self.outgoing.retain(|old| (old.requestor, old.property) != (to, property));
        let moved = Instant::now();
        self.outgoing.push(Outgoing { requestor: to, property, kind, format, bytes, sent, lent_by, moved });
        Ok(())
    }

    /// The requestor has deleted the property: it is done, or gets the next part; the end is a part of nothing.
    fn progress(&mut self, notify: PropertyNotifyEvent) -> Result<(), ToolError> {
        if notify.state != Property::DELETE {
            return Ok(());
        }
        let same = |transfer: &Outgoing| (transfer.requestor, transfer.property) == (notify.window, notify.atom);
        let Some(at) = self.outgoing.iter().position(same) else { return Ok(()) };
        let transfer = &mut self.outgoing[at];
        transfer.moved = Instant::now();
        if let Some(sent) = transfer.sent.filter(|sent| *sent <= transfer.bytes.len()) {
            let end = (sent + PART).min(transfer.bytes.len());
            let part = transfer.bytes[sent..end].to_vec();
            transfer.sent = Some(if sent == end { end + 1 } else { end });
            let (to, property, kind, format) = (transfer.requestor, transfer.property, transfer.kind, transfer.format);
            return put(&self.display, to, property, kind, format, &part);
        }
        let done = self.outgoing.remove(at);
        if let Some(slot) = done.lent_by {
            self.slots[slot].read = Some(Instant::now());
        }
        Ok(())
    }
}

/// Sets a property of 8-, 16- or 32-bit units.
fn put(display: &Display, to: Window, property: Atom, kind: Atom, format: u8, bytes: &[u8]) -> Result<(), ToolError> {
    let units = u32::try_from(bytes.len() / usize::from(format.max(8) / 8)).unwrap_or(u32::MAX);
    display.conn.change_property(PropMode::REPLACE, to, property, kind, format, units, bytes)?;
    Ok(())
}
