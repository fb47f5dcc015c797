//! What a selection holds: every type that its owner offers, with the bytes of each.

use std::sync::Arc;
use x11rb::protocol::xproto::{Atom, AtomEnum};

x11rb::atom_manager! {
    /// Names of the selection protocol (ICCCM 2) and of text.
    pub Atoms: AtomsCookie {
        CLIPBOARD,
        TARGETS,
        MULTIPLE,
        TIMESTAMP,
        SAVE_TARGETS,
        DELETE,
        INSERT_SELECTION,
        INSERT_PROPERTY,
        ATOM_PAIR,
        INCR,
        NULL,
        UTF8_STRING,
        TEXT,
        TEXT_PLAIN: b"text/plain",
        TEXT_PLAIN_UTF8: b"text/plain;charset=utf-8",
        TEXT_PLAIN_UTF8_UPPER: b"text/plain;charset=UTF-8",
        // Clipboard managers keep no history of what is marked so.
        PASSWORD_HINT: b"x-kde-passwordManagerHint",
        BESTBOX_TRANSFER,
        BESTBOX_TIME,
    }
}

/// One type of a selection.
#[derive(Clone, Debug)]
pub struct Item {
    /// What it is asked for as.
    pub target: Atom,
    /// The type of the property that carries it.
    pub kind: Atom,
    /// 8, 16 or 32 bits a unit.
    pub format: u8,
    /// The units in this machine's byte order.
    pub bytes: Arc<Vec<u8>>,
}

/// Everything that a selection offers.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Answer to TARGETS, in the owner's order.
    pub advertised: Vec<Atom>,
    /// The types that carry data.
    pub items: Vec<Item>,
}

/// Whether clipboard managers may remember a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The user is to find it.
    Remember,
    /// It passes through on its way to a window.
    Passing,
}

impl Content {
    /// Nothing at all: nobody owns the selection.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// A text under all the names by which programs ask for text. STRING is Latin-1 (ICCCM 2.6.2), so it is offered only
    /// where nothing would be lost.
    pub fn text(text: &str, keep: Keep, atoms: &Atoms) -> Content {
        let utf8 = Arc::new(text.as_bytes().to_vec());
        let item = |target, kind, bytes: &Arc<Vec<u8>>| Item { target, kind, format: 8, bytes: Arc::clone(bytes) };
        let mut items: Vec<Item> = Vec::new();
        for target in [atoms.UTF8_STRING, atoms.TEXT] {
            items.push(item(target, atoms.UTF8_STRING, &utf8));
        }
        for target in [atoms.TEXT_PLAIN_UTF8, atoms.TEXT_PLAIN_UTF8_UPPER, atoms.TEXT_PLAIN] {
            items.push(item(target, target, &utf8));
        }
        if let Ok(latin1) = text.chars().map(|c| u8::try_from(u32::from(c))).collect::<Result<Vec<u8>, _>>() {
            items.push(item(AtomEnum::STRING.into(), AtomEnum::STRING.into(), &Arc::new(latin1)));
        }
        let mut advertised = vec![atoms.TARGETS, atoms.TIMESTAMP, atoms.MULTIPLE];
        if keep == Keep::Passing {
            items.push(item(atoms.PASSWORD_HINT, AtomEnum::STRING.into(), &Arc::new(b"secret".to_vec())));
        }
        advertised.extend(items.iter().map(|item| item.target));
        Content { advertised, items }
    }
}

impl Atoms {
    /// Targets that are questions about the selection or orders to its owner, not data.
    pub fn is_meta(&self, target: Atom) -> bool {
        [self.TARGETS, self.MULTIPLE, self.TIMESTAMP, self.SAVE_TARGETS].contains(&target)
            || [self.DELETE, self.INSERT_SELECTION, self.INSERT_PROPERTY].contains(&target)
    }

    /// Targets by which a program reads text.
    pub fn is_text(&self, target: Atom) -> bool {
        [self.UTF8_STRING, self.TEXT, self.TEXT_PLAIN, self.TEXT_PLAIN_UTF8].contains(&target)
            || target == self.TEXT_PLAIN_UTF8_UPPER
            || target == u32::from(AtomEnum::STRING)
    }
}
