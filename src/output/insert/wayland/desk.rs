//! The thread that owns the connection to the compositor: it serves the clipboard and follows the windows.

use super::super::ToolError;
use super::super::thread::{Attend, Thread};
use super::protocol::{Device, Offer, Source};
use super::toplevels::Toplevels;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wayland_client::backend::ObjectId;
use wayland_client::globals::{GlobalListContents, registry_queue_init};
use wayland_client::protocol::wl_registry::WlRegistry;
use wayland_client::protocol::wl_seat::WlSeat;
use wayland_client::{Connection, Dispatch, EventQueue, QueueHandle, delegate_noop};
use wayland_protocols_wlr::foreign_toplevel::v1::client::zwlr_foreign_toplevel_manager_v1::ZwlrForeignToplevelManagerV1;

/// The thread of this process.
pub static DESK: Thread<Desk> = Thread::new();

/// Programs ask several times for one paste; this long after the last time they are done.
const QUIET: Duration = Duration::from_millis(100);

/// Every type of a selection with its bytes, in the owner's order.
pub type Content = Vec<(String, Arc<Vec<u8>>)>;

/// A selection: the clipboard (0) or the primary one (1).
#[derive(Default)]
pub struct Slot {
    /// The offer of another program that is in force.
    pub offer: Option<ObjectId>,
    /// Ours, while it is in force.
    pub source: Option<(Source, Content)>,
    /// What was there before our text; there while a text is lent.
    pub before: Option<Content>,
    /// Whether reads are those of the target: the shortcut has been pressed.
    pub armed: bool,
    /// Reads that are not the target's: clipboard managers read whatever is new.
    pub watchers: usize,
    /// When the target has read the lent text.
    pub read: Option<Instant>,
    /// Whether `before` comes back without further orders as soon as the text has been read.
    pub restore_when_read: bool,
}

impl Slot {
    /// Read, and nothing asked since.
    pub fn settled(&self) -> bool {
        self.read.is_some_and(|at| at.elapsed() >= QUIET)
    }
}

/// What events change.
#[derive(Default)]
pub struct State {
    pub slots: [Slot; 2],
    pub offers: HashMap<ObjectId, (Offer, Vec<String>)>,
    pub toplevels: Toplevels,
    /// Data being written to programs, and the slot whose lent text it is.
    writing: Vec<(JoinHandle<()>, Option<usize>)>,
    pub waiting_for_release: Vec<Sender<()>>,
}

/// The connection and its state.
pub struct Desk {
    pub connection: Connection,
    pub queue: EventQueue<State>,
    pub handle: QueueHandle<State>,
    /// None: the compositor does not let the clipboard be controlled.
    pub device: Option<Device>,
    /// Time that clipboard managers get before each paste; none until it is known whether there are any.
    pub watched: Option<Duration>,
    pub state: State,
}

impl Attend for Desk {
    const NAME: &'static str = "wayland";

    fn open() -> Result<Desk, ToolError> {
        let connection = Connection::connect_to_env()?;
        let (globals, mut queue) = registry_queue_init::<State>(&connection)?;
        let handle = queue.handle();
        let seat: WlSeat = globals.bind(&handle, 1..=1, ())?;
        let device = Device::bind(&globals, &handle, &seat);
        // Without the list the focus is simply not known.
        let _ = globals.bind::<ZwlrForeignToplevelManagerV1, _, _>(&handle, 1..=3, ());
        let mut state = State::default();
        // The first for the objects, the second for what they tell.
        queue.roundtrip(&mut state)?;
        queue.roundtrip(&mut state)?;
        Ok(Desk { connection, queue, handle, device, watched: None, state })
    }

    fn attend(&mut self, wake: &UnixStream) -> Result<(), ToolError> {
        self.pump(None, Some(wake), |_| false).map(drop)
    }
}

impl Desk {
    /// Handles what the compositor has sent until now.
    pub fn round_trip(&mut self) -> Result<(), ToolError> {
        self.queue.roundtrip(&mut self.state)?;
        Ok(())
    }

    /// Handles events until `done` or the deadline, or until `wake` has something to read; whether it was `done`.
    pub fn pump(
        &mut self,
        deadline: Option<Instant>,
        wake: Option<&UnixStream>,
        mut done: impl FnMut(&mut State) -> bool,
    ) -> Result<bool, ToolError> {
        loop {
            self.queue.dispatch_pending(&mut self.state)?;
            self.after_events();
            self.connection.flush()?;
            if done(&mut self.state) {
                return Ok(true);
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            let busy = !self.state.writing.is_empty() || self.state.slots.iter().any(|slot| slot.before.is_some());
            let nap = match (left, busy) {
                (Some(left), true) => Some(left.min(Duration::from_millis(20))),
                (None, true) => Some(Duration::from_millis(20)),
                (left, false) => left,
            };
            let timeout = nap.map_or(PollTimeout::NONE, |nap| {
                PollTimeout::try_from(nap + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            });
            // None: events came in meanwhile.
            let Some(reading) = self.queue.prepare_read() else { continue };
            let fd = reading.connection_fd();
            let mut fds = vec![PollFd::new(fd, PollFlags::POLLIN)];
            fds.extend(wake.map(|wake| PollFd::new(wake.as_fd(), PollFlags::POLLIN)));
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(ToolError::Desktop(format!("cannot wait for the compositor: {error}"))),
            }
            let (readable, woken) =
                (fds[0].any().unwrap_or(true), fds.get(1).is_some_and(|wake| wake.any().unwrap_or(true)));
            if readable {
                reading.read()?;
            }
            if woken {
                return Ok(false);
            }
        }
    }

    /// Makes `content` that of a selection; nothing empties it.
    pub fn own(&mut self, slot: usize, content: Content) -> Result<(), ToolError> {
        let device = self.device.as_ref().ok_or_else(no_control)?;
        let old = self.state.slots[slot].source.take();
        if content.is_empty() {
            device.set(slot, None);
        } else {
            let source = device.new_source(&self.handle);
            for (mime, _) in &content {
                source.offer(mime.clone());
            }
            device.set(slot, Some(&source));
            self.state.slots[slot].source = Some((source, content));
        }
        if let Some((old, _)) = old {
            old.destroy();
        }
        self.connection.flush()?;
        Ok(())
    }

    fn after_events(&mut self) {
        for (_, slot) in self.state.writing.extract_if(.., |(writer, _)| writer.is_finished()) {
            if let Some(slot) = slot {
                self.state.slots[slot].read = Some(Instant::now());
            }
        }
        if self.state.slots.iter().any(|slot| slot.restore_when_read && slot.settled()) {
            for index in 0..self.state.slots.len() {
                if std::mem::take(&mut self.state.slots[index].restore_when_read)
                    && let Some(before) = self.state.slots[index].before.take()
                    && let Err(error) = self.own(index, before)
                {
                    tracing::warn!("the clipboard could not be given back: {error}");
                }
            }
        }
        if self.state.slots.iter().all(|slot| slot.source.is_none()) && self.state.writing.is_empty() {
            for waiting in self.state.waiting_for_release.drain(..) {
                // Whoever asked may be gone.
                let _ = waiting.send(());
            }
        }
    }
}

/// The compositor keeps the clipboard to its windows.
pub fn no_control() -> ToolError {
    ToolError::Clipboard("the compositor has neither ext-data-control nor wlr-data-control".into())
}

impl State {
    pub(super) fn offered(&mut self, id: ObjectId, offer: Offer) {
        self.offers.insert(id, (offer, Vec::new()));
    }

    pub(super) fn offers_type(&mut self, id: &ObjectId, mime: String) {
        if let Some((_, types)) = self.offers.get_mut(id) {
            types.push(mime);
        }
    }

    pub(super) fn selected(&mut self, slot: usize, id: Option<ObjectId>) {
        if let Some((old, _)) =
            std::mem::replace(&mut self.slots[slot].offer, id).and_then(|old| self.offers.remove(&old))
        {
            old.destroy();
        }
    }

    /// A program reads. Written by a thread of its own: a reader may take its time.
    pub(super) fn send(&mut self, source: &ObjectId, mime: &str, into: OwnedFd) {
        let owns = |slot: &Slot| slot.source.as_ref().is_some_and(|(ours, _)| ours.id() == *source);
        let Some(index) = self.slots.iter().position(owns) else { return };
        let slot = &mut self.slots[index];
        let content = slot.source.iter().flat_map(|(_, content)| content);
        let Some(bytes) = content.into_iter().find(|(name, _)| name == mime).map(|(_, bytes)| Arc::clone(bytes)) else {
            return;
        };
        let by_target = slot.before.is_some() && slot.armed && is_text(mime);
        if !by_target {
            slot.watchers += 1;
        }
        // Nothing is lost if no thread can be had: the reader sees an empty text.
        let writer = std::thread::Builder::new().name("clipboard".into()).spawn(move || {
            // A reader that went away is no failure of ours.
            let _ = File::from(into).write_all(&bytes);
        });
        if let Ok(writer) = writer {
            self.writing.push((writer, by_target.then_some(index)));
        }
    }

    /// Somebody copied something: theirs stays, ours is over.
    pub(super) fn cancelled(&mut self, source: &ObjectId) {
        for slot in &mut self.slots {
            if let Some((ours, _)) = slot.source.take_if(|(ours, _)| ours.id() == *source) {
                ours.destroy();
                (slot.before, slot.restore_when_read) = (None, false);
            }
        }
    }
}

/// Types by which programs read text.
pub fn is_text(mime: &str) -> bool {
    mime.starts_with("text/plain") || matches!(mime, "UTF8_STRING" | "STRING" | "TEXT")
}

impl Dispatch<WlRegistry, GlobalListContents> for State {
    fn event(
        _: &mut Self,
        _: &WlRegistry,
        _: wayland_client::protocol::wl_registry::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
    }
}

delegate_noop!(State: ignore WlSeat);
