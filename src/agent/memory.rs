//! What was said before in a conversation, bounded in turns, minutes and tokens. In memory only.
//!
//! A turn is kept to the letter as the server read it, so that the next request begins with the same bytes and the
//! server's prefix cache holds. What no longer fits goes in one big step (to half of the limit), oldest first: dropping
//! a little every time would make the server read everything anew every time.

use crate::text::llm::{Message, Turn};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Conversations at once; the longest unused goes.
const MAX_CONVERSATIONS: usize = 256;
/// Bytes of text a token is at least, over the languages and scripts we know: errs on the side of more tokens.
const BYTES_A_TOKEN: usize = 3;

/// Limits of a conversation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryLimits {
    /// Turns; 0: nothing is remembered.
    pub turns: usize,
    /// After the last turn.
    pub age: Duration,
}

/// Who has the conversation, and which it is: nobody hears of another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConversationId {
    /// Name of the key, or of the front end.
    pub owner: String,
    /// As the caller names it.
    pub name: String,
}

/// One question with everything up to its answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Exchange {
    pub turns: Vec<Turn>,
    /// A tool's untrusted result is in it.
    pub tainted: bool,
}

impl Exchange {
    fn tokens(&self) -> usize {
        tokens(&self.turns)
    }
}

/// Tokens of turns, at most (estimated).
pub(super) fn tokens(turns: &[Turn]) -> usize {
    let bytes = |turn: &Turn| match turn {
        Turn::Said(Message { content, .. }) => content.len(),
        Turn::Called { text, calls } => {
            text.len() + calls.iter().map(|call| call.name.len() + call.arguments.len() + 40).sum::<usize>()
        }
        Turn::Returned { content, name, .. } => content.len() + name.len(),
    };
    turns.iter().map(|turn| bytes(turn) / BYTES_A_TOKEN + 8).sum()
}

#[derive(Debug)]
struct Conversation {
    exchanges: VecDeque<Exchange>,
    last: Instant,
}

/// All conversations. Clones are the same.
#[derive(Clone, Debug)]
pub struct Memory {
    limits: MemoryLimits,
    all: Arc<Mutex<HashMap<ConversationId, Conversation>>>,
}

impl Memory {
    /// Nothing is remembered yet.
    pub fn new(limits: MemoryLimits) -> Self {
        Memory { limits, all: Arc::default() }
    }

    /// What goes before the next question, within `room` tokens: the turns, and whether they hold untrusted results.
    pub(super) fn recall(&self, id: &ConversationId, room: usize) -> Exchange {
        let mut all = self.lock();
        all.retain(|_, conversation| conversation.last.elapsed() <= self.limits.age);
        let Some(conversation) = all.get_mut(id) else { return Exchange::default() };
        let exchanges = &mut conversation.exchanges;
        let size = |exchanges: &VecDeque<Exchange>| exchanges.iter().map(Exchange::tokens).sum::<usize>();
        if exchanges.len() > self.limits.turns || size(exchanges) > room {
            while exchanges.len() > self.limits.turns.div_ceil(2) || size(exchanges) > room / 2 {
                if exchanges.pop_front().is_none() {
                    break;
                }
            }
        }
        Exchange {
            tainted: exchanges.iter().any(|exchange| exchange.tainted),
            turns: exchanges.iter().flat_map(|exchange| exchange.turns.iter().cloned()).collect(),
        }
    }

    /// Remembers an answered question.
    pub(super) fn remember(&self, id: &ConversationId, exchange: Exchange) {
        if self.limits.turns == 0 || self.limits.age.is_zero() {
            return;
        }
        let mut all = self.lock();
        if !all.contains_key(id) && all.len() >= MAX_CONVERSATIONS {
            let oldest = all.iter().min_by_key(|(_, conversation)| conversation.last).map(|(id, _)| id.clone());
            oldest.map(|oldest| all.remove(&oldest));
        }
        let new = || Conversation { exchanges: VecDeque::new(), last: Instant::now() };
        let conversation = all.entry(id.clone()).or_insert_with(new);
        conversation.exchanges.push_back(exchange);
        conversation.last = Instant::now();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ConversationId, Conversation>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::llm::Role;

    fn said(text: &str) -> Exchange {
        let turn = |role, content: &str| Turn::Said(Message { role, content: content.to_owned() });
        Exchange { turns: vec![turn(Role::User, text), turn(Role::Assistant, "ok")], tainted: text == "bad" }
    }

    fn id(owner: &str) -> ConversationId {
        ConversationId { owner: owner.into(), name: "one".into() }
    }

    #[test]
    fn a_conversation_is_its_owners_and_ends() {
        let memory = Memory::new(MemoryLimits { turns: 8, age: Duration::from_secs(60) });
        memory.remember(&id("ann"), said("bad"));
        assert_eq!(memory.recall(&id("bob"), 1000).turns.len(), 0);
        let recalled = memory.recall(&id("ann"), 1000);
        assert!(recalled.tainted && recalled.turns.len() == 2);
        let short = Memory::new(MemoryLimits { turns: 8, age: Duration::from_millis(1) });
        short.remember(&id("ann"), said("x"));
        std::thread::sleep(Duration::from_millis(5));
        assert!(short.recall(&id("ann"), 1000).turns.is_empty());
        let none = Memory::new(MemoryLimits { turns: 0, age: Duration::from_secs(60) });
        none.remember(&id("ann"), said("x"));
        assert!(none.recall(&id("ann"), 1000).turns.is_empty());
    }

    #[test]
    fn what_does_not_fit_goes_in_one_big_step() {
        let memory = Memory::new(MemoryLimits { turns: 100, age: Duration::from_secs(60) });
        let room = 1000;
        let mut starts = Vec::new();
        for at in 0..60 {
            memory.remember(&id("ann"), said(&format!("{at} {}", "x".repeat(150))));
            let recalled = memory.recall(&id("ann"), room);
            assert!(tokens(&recalled.turns) <= room);
            starts.push(recalled.turns.first().cloned());
        }
        let changes = starts.windows(2).filter(|pair| pair[0] != pair[1]).count();
        // 60 turns of some 75 tokens: a drop of half the room every seven turns or so, not every turn.
        assert!((1..=12).contains(&changes), "{changes}");
        let memory = Memory::new(MemoryLimits { turns: 4, age: Duration::from_secs(60) });
        for at in 0..5 {
            memory.remember(&id("ann"), said(&at.to_string()));
        }
        assert_eq!(memory.recall(&id("ann"), 9999).turns.len(), 4);
    }
}
