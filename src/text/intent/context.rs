//! What was said before in the same conversation, for as long as it says something about what comes next: a few turns,
//! a few words, a few minutes, in memory only.

use super::prompt;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Conversations that are remembered at once; the longest silent one makes room.
const CONVERSATIONS: usize = 1024;

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Turns that the model sees; 0: none.
    pub turns: usize,
    /// Tokens that they may take together.
    pub tokens: usize,
    /// A turn older than this says nothing about the next.
    pub age: Duration,
    /// After a wake phrase alone, what is said within this time takes its route.
    pub attention: Duration,
}

/// One utterance and the route it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// On one line, clipped.
    pub text: String,
    /// The route taken.
    pub path: Vec<String>,
    at: Instant,
}

/// Whose conversation, and which.
pub type Key = (u64, String);

/// The conversations that are going on.
#[derive(Debug)]
pub struct Conversations {
    limits: Limits,
    known: Mutex<HashMap<Key, Talk>>,
}

#[derive(Debug)]
struct Talk {
    turns: VecDeque<Turn>,
    attention: Option<(Vec<String>, Instant)>,
    last: Instant,
}

impl Conversations {
    /// Nothing was said yet.
    pub fn new(limits: Limits) -> Self {
        Conversations { limits, known: Mutex::default() }
    }

    /// The last turns that still count, oldest first.
    pub fn turns(&self, key: &Key) -> Vec<Turn> {
        self.with(|known| {
            let Some(talk) = known.get(key) else { return Vec::new() };
            talk.turns.iter().filter(|turn| turn.at.elapsed() < self.limits.age).cloned().collect()
        })
    }

    /// Remembers a turn.
    pub fn note(&self, key: &Key, text: &str, path: &[String]) {
        if self.limits.turns == 0 {
            return;
        }
        let text = prompt::clip(&prompt::flat(text), self.limits.tokens);
        self.talk(key, |talk| {
            talk.turns.push_back(Turn { text, path: path.to_vec(), at: Instant::now() });
            let fits = |turns: &VecDeque<Turn>| {
                let tokens: usize = turns.iter().map(|turn| prompt::estimate(&turn.text)).sum();
                turns.len() <= self.limits.turns && (tokens <= self.limits.tokens || turns.len() == 1)
            };
            while !fits(&talk.turns) {
                talk.turns.pop_front();
            }
        });
    }

    /// A wake phrase was said and nothing else: what comes next takes `path`.
    pub fn listen(&self, key: &Key, path: &[String]) {
        self.talk(key, |talk| talk.attention = Some((path.to_vec(), Instant::now())));
    }

    /// The route of a wake phrase that was said just before; once.
    pub fn attention(&self, key: &Key) -> Option<Vec<String>> {
        let (path, since) = self.with(|known| known.get_mut(key)?.attention.take())?;
        (since.elapsed() < self.limits.attention).then_some(path)
    }

    fn talk(&self, key: &Key, change: impl FnOnce(&mut Talk)) {
        self.with(|known| {
            if !known.contains_key(key) && known.len() >= CONVERSATIONS {
                let oldest = known.iter().min_by_key(|(_, talk)| talk.last).map(|(key, _)| key.clone());
                oldest.and_then(|key| known.remove(&key));
            }
            let now = Instant::now();
            let new = || Talk { turns: VecDeque::new(), attention: None, last: now };
            let talk = known.entry(key.clone()).or_insert_with(new);
            talk.last = now;
            change(talk);
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<Key, Talk>) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversations(turns: usize, tokens: usize) -> Conversations {
        let age = Duration::from_secs(60);
        Conversations::new(Limits { turns, tokens, age, attention: age })
    }

    fn texts(of: &Conversations, key: &Key) -> Vec<String> {
        of.turns(key).into_iter().map(|turn| turn.text).collect()
    }

    #[test]
    fn the_last_turns_are_kept_in_number_and_tokens() {
        let (a, b) = ((1, "a".to_owned()), (2, "a".to_owned()));
        let known = conversations(2, 20);
        for text in ["one", "two", "three"] {
            known.note(&a, text, &["note".to_owned()]);
        }
        assert_eq!(texts(&known, &a), ["two", "three"]);
        assert!(texts(&known, &b).is_empty(), "another caller's conversation of the same name");
        known.note(&a, &"many words ".repeat(200), &["note".to_owned()]);
        let left = texts(&known, &a);
        assert_eq!(left.len(), 1, "what came before has no room");
        assert!(prompt::estimate(&left[0]) <= 28, "{}", left[0]);
        let off = conversations(0, 20);
        off.note(&a, "one", &[]);
        assert!(texts(&off, &a).is_empty());
    }

    #[test]
    fn old_turns_and_old_attention_do_not_count() {
        let age = Duration::ZERO;
        let known = Conversations::new(Limits { turns: 3, tokens: 99, age, attention: age });
        let key = (0, "a".to_owned());
        known.note(&key, "one", &["note".to_owned()]);
        known.listen(&key, &["agent".to_owned()]);
        assert!(known.turns(&key).is_empty() && known.attention(&key).is_none());
    }

    #[test]
    fn attention_is_given_once() {
        let (known, key) = (conversations(3, 99), (0, "a".to_owned()));
        known.listen(&key, &["agent".to_owned()]);
        assert_eq!(known.attention(&(1, "a".to_owned())), None);
        assert_eq!(known.attention(&key), Some(vec!["agent".to_owned()]));
        assert_eq!(known.attention(&key), None);
    }

    #[test]
    fn the_longest_silent_conversation_makes_room() {
        let known = conversations(1, 99);
        for number in 0..=CONVERSATIONS as u64 {
            known.note(&(number, String::new()), "text", &["note".to_owned()]);
        }
        assert!(known.turns(&(0, String::new())).is_empty());
        assert_eq!(known.turns(&(CONVERSATIONS as u64, String::new())).len(), 1);
    }
}
