//! The handle of the thread that owns selections.

use super::super::keeper::{Held, HeldContent, HeldItem};
use super::super::thread::{Attend, Thread};
use super::super::{Read, Selections, ToolError};
use super::content::{Content, Item, Keep};
use super::owner::Owner;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Lends a text to the clipboard and takes it back. One a process: its thread lives as long as the process, because on
/// X11 the content of a clipboard lives in the program that owns it.
pub struct X11Clipboard;

static OWNER: Thread<Owner> = Thread::new();

impl X11Clipboard {
    /// Remembers what the selections hold and offers `text` in its place. Lending again before
    /// [`give_back`](Self::give_back) keeps what was remembered. `reader`: any resource of the program that will read.
    pub fn lend(text: String, selections: Selections, reader: Option<u32>) -> Result<(), ToolError> {
        call(move |owner| {
            let slots = slots(selections);
            for &index in slots {
                if owner.slots[index].before.is_none() {
                    owner.slots[index].before = Some(owner.save(index)?);
                }
            }
            for &index in slots {
                let slot = &mut owner.slots[index];
                (slot.reader, slot.read, slot.asked, slot.restore_when_read) = (reader, None, None, false);
                owner.own(index, Content::text(&text, Keep::Passing, &owner.atoms))?;
            }
            Ok(())
        })
    }

    /// Waits until the reader has read the lent text from any of the selections.
    pub fn wait_read(limit: Duration) -> Result<Read, ToolError> {
        call(move |owner| {
            let deadline = Instant::now() + limit;
            let lost = |owner: &Owner| owner.slots.iter().all(|slot| slot.before.is_none());
            let read = |owner: &Owner| owner.slots.iter().any(|slot| slot.before.is_some() && slot.settled());
            owner.pump(Some(deadline), None, |owner| read(owner) || lost(owner))?;
            Ok(match (read(owner), lost(owner)) {
                (true, _) => Read::Done,
                (false, true) => Read::Lost,
                (false, false) => Read::NotYet,
            })
        })
    }

    /// The selections get back what they held, unless another program has taken them meanwhile.
    pub fn give_back() -> Result<(), ToolError> {
        call(|owner| {
            for index in 0..owner.slots.len() {
                if let Some(before) = owner.slots[index].before.take() {
                    owner.own(index, before)?;
                }
            }
            Ok(())
        })
    }

    /// The same, as soon as the reader has read the text, whenever that is.
    pub fn give_back_when_read() -> Result<(), ToolError> {
        call(|owner| {
            // The text is only in the way in a selection that nobody reads while the other was meant.
            for slot in &mut owner.slots {
                slot.restore_when_read = slot.before.is_some();
            }
            Ok(())
        })
    }

    /// The lent text stays.
    pub fn leave() -> Result<(), ToolError> {
        call(|owner| {
            for slot in &mut owner.slots {
                (slot.before, slot.restore_when_read) = (None, false);
            }
            Ok(())
        })
    }

    /// Puts a text into the clipboard, to stay.
    pub fn put(text: String) -> Result<(), ToolError> {
        call(move |owner| {
            owner.slots[0].before = None;
            owner.own(0, Content::text(&text, Keep::Remember, &owner.atoms))
        })
    }

    /// What this process serves.
    pub fn export() -> Result<Vec<Held>, ToolError> {
        if !OWNER.runs() {
            return Ok(Vec::new());
        }
        call(|owner| {
            let mut held = Vec::new();
            for (index, slot) in owner.slots.iter().enumerate() {
                let Some(content) = &slot.content else { continue };
                let before = slot.before.as_ref().filter(|_| slot.restore_when_read);
                held.push(Held {
                    slot: index,
                    content: owner.pack(content)?,
                    before: before.map(|before| owner.pack(before)).transpose()?,
                    reader: slot.reader,
                });
            }
            Ok(held)
        })
    }

    /// Serves what another process has exported.
    pub fn import(held: Vec<Held>) -> Result<(), ToolError> {
        call(move |owner| {
            for Held { slot, content, before, reader } in held.into_iter().filter(|held| held.slot < 2) {
                let content = owner.unpack(content)?;
                let before = before.map(|before| owner.unpack(before)).transpose()?;
                let of = &mut owner.slots[slot];
                (of.restore_when_read, of.before, of.reader) = (before.is_some(), before, reader);
                owner.own(slot, content)?;
            }
            Ok(())
        })
    }

    /// Waits until other programs own whatever this one has owned: from then on nothing is lost when it ends.
    pub fn wait_released() {
        let (tell, told) = mpsc::channel();
        let asked = call(move |owner| {
            owner.waiting_for_release.push(tell);
            Ok(())
        });
        if asked.is_ok() {
            // An error is the end of the thread: nothing is owned any more.
            let _ = told.recv();
        }
    }
}

impl Owner {
    /// By names: atoms are numbers of the server, and mean nothing elsewhere.
    fn pack(&self, content: &Content) -> Result<HeldContent, ToolError> {
        let name = |atom: u32| self.display.name(atom);
        let advertised = content.advertised.iter().map(|atom| name(*atom)).collect::<Result<Vec<_>, _>>()?;
        let item = |item: &Item| -> Result<HeldItem, ToolError> {
            let (name, kind) = (name(item.target)?, name(item.kind)?);
            Ok(HeldItem { name, kind, format: item.format, bytes: item.bytes.to_vec() })
        };
        Ok(HeldContent { advertised, items: content.items.iter().map(item).collect::<Result<Vec<_>, _>>()? })
    }

    fn unpack(&self, held: HeldContent) -> Result<Content, ToolError> {
        let atom = |name: &String| self.display.atom(name);
        let advertised = held.advertised.iter().map(atom).collect::<Result<Vec<_>, _>>()?;
        let item = |item: HeldItem| -> Result<Item, ToolError> {
            let (target, kind) = (atom(&item.name)?, atom(&item.kind)?);
            Ok(Item { target, kind, format: item.format, bytes: Arc::new(item.bytes) })
        };
        Ok(Content { advertised, items: held.items.into_iter().map(item).collect::<Result<Vec<_>, _>>()? })
    }
}

fn slots(selections: Selections) -> &'static [usize] {
    match selections {
        Selections::Clipboard => &[0],
        Selections::Both => &[0, 1],
    }
}

impl Attend for Owner {
    const NAME: &'static str = "clipboard";

    fn open() -> Result<Owner, ToolError> {
        Owner::new()
    }

    fn attend(&mut self, wake: &UnixStream) -> Result<(), ToolError> {
        self.pump(None, Some(wake), |_| false).map(drop)
    }
}

fn call<T: Send + 'static>(
    work: impl FnOnce(&mut Owner) -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    OWNER.call(work)
}
