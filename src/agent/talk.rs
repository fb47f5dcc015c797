//! Who talks, in which conversation, and who decides about calls that change something.

use super::consent::{Consent, consent};
use super::memory::{ConversationId, Memory, MemoryLimits};
use super::pending::{NothingPending, PendingCalls};
use super::suspended::Suspended;
use serde_json::Value;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Asks a person about a call, shown in full; true only for a plain yes.
pub type Ask = Arc<dyn Fn(String, Value) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// Who decides about calls that change something.
#[derive(Clone)]
pub enum Confirm {
    /// Nobody is there: they are not made, for this reason.
    Never(String),
    /// The answer stops there, and goes on once its token, or a plain yes in the same conversation, comes.
    Later,
    /// Somebody is asked on the spot.
    Ask(Ask),
}

/// Who talks, in which conversation, and who decides.
#[derive(Clone)]
pub struct Talk {
    /// Name of the key, or of the front end: nobody can continue or confirm what is another's.
    pub owner: String,
    /// None: nothing is remembered.
    pub conversation: Option<String>,
    /// Who decides about calls that change something.
    pub confirm: Confirm,
}

impl Default for Talk {
    fn default() -> Self {
        let confirm = Confirm::Never("nobody is there to confirm it".into());
        Talk { owner: String::new(), conversation: None, confirm }
    }
}

impl Talk {
    pub(super) fn id(&self) -> Option<ConversationId> {
        self.conversation.clone().map(|name| ConversationId { owner: self.owner.clone(), name })
    }
}

/// What is remembered and what waits, over all answers. Clones are the same.
#[derive(Clone)]
pub struct Talks {
    pub(super) memory: Memory,
    pub(super) pending: PendingCalls,
}

impl Talks {
    /// Nothing yet.
    pub fn new(limits: MemoryLimits) -> Self {
        Talks { memory: Memory::new(limits), pending: PendingCalls::default() }
    }

    /// Where a call waits in this conversation and `text` is a plain yes or no: the answer that waits, and the word.
    /// Anything else is another matter, and what waited is given up.
    pub fn word(&self, talk: &Talk, text: &str) -> Option<(Suspended, bool)> {
        let suspended = self.pending.take_of(&talk.id()?)?;
        Some((suspended, consent(text)? == Consent::Yes))
    }

    /// The answer that waits under `token`; it can be taken once.
    ///
    /// # Errors
    /// When there is none for this owner.
    pub fn take(&self, token: &str, owner: &str) -> Result<Suspended, NothingPending> {
        self.pending.take(token, owner)
    }
}
