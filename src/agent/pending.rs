//! Calls that wait for a person's word. In memory only, single use, bound to the caller and to the exact arguments; what
//! is not plainly confirmed in time is not done.

use super::memory::ConversationId;
use super::suspended::Suspended;
use crate::outcome::PendingCall;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Calls that may wait for one caller at once; the oldest goes.
const MAX_WAITING: usize = 16;

type Hash = [u8; 32];

/// Why a confirmation is not taken. One sentence for all: it says nothing about whose tokens there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such call to confirm: it was confirmed, denied or given up already, or its time has passed")]
pub struct NothingPending;

struct Waiting {
    owner: String,
    conversation: Option<ConversationId>,
    bound: Hash,
    expires: Instant,
    since: Instant,
    suspended: Suspended,
}

/// All that waits. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct PendingCalls(Arc<Mutex<HashMap<Hash, Waiting>>>);

impl PendingCalls {
    /// Keeps `suspended` until somebody confirms its call with the token that is in the result.
    ///
    /// # Errors
    /// When the system has no random bits: without a secret token nothing can be confirmed.
    pub fn keep(
        &self,
        owner: &str,
        conversation: Option<ConversationId>,
        suspended: Suspended,
        patience: Duration,
    ) -> Result<PendingCall, String> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| format!("the system has no random bits ({error})"))?;
        let token = URL_SAFE_NO_PAD.encode(secret);
        let (tool, arguments) = suspended.asked();
        let call = PendingCall {
            tool: tool.to_owned(),
            arguments: Value::Object(arguments.clone()),
            expires: unix_seconds() + patience.as_secs_f64(),
            token: token.clone(),
        };
        let mut all = self.lock();
        let now = Instant::now();
        all.retain(|_, waiting| waiting.expires > now);
        // A conversation has one question open at a time: a yes must not be ambiguous.
        all.retain(|_, waiting| conversation.is_none() || waiting.conversation != conversation);
        let mut own: Vec<(Instant, Hash)> = all
            .iter()
            .filter(|(_, waiting)| waiting.owner == owner)
            .map(|(hash, waiting)| (waiting.since, *hash))
            .collect();
        own.sort_unstable();
        for (_, hash) in own.iter().take((own.len() + 1).saturating_sub(MAX_WAITING)) {
            all.remove(hash);
        }
        let bound = bound(&call.tool, &call.arguments);
        let waiting =
            Waiting { owner: owner.to_owned(), conversation, bound, expires: now + patience, since: now, suspended };
        all.insert(hash(token.as_bytes()), waiting);
        Ok(call)
    }

    /// Takes out what waits under `token`; it cannot be taken again. A token in the wrong hands is gone too.
    ///
    /// # Errors
    /// When there is nothing, or it is not this owner's, or its time has passed.
    pub fn take(&self, token: &str, owner: &str) -> Result<Suspended, NothingPending> {
        let waiting = self.lock().remove(&hash(token.as_bytes())).ok_or(NothingPending)?;
        let (tool, arguments) = waiting.suspended.asked();
        let same = waiting.bound == bound(tool, &Value::Object(arguments.clone()));
        if waiting.owner != owner || waiting.expires <= Instant::now() || !same {
            return Err(NothingPending);
        }
        Ok(waiting.suspended)
    }

    /// Takes out what waits in a conversation, for an answer by word of mouth.
    pub fn take_of(&self, conversation: &ConversationId) -> Option<Suspended> {
        let mut all = self.lock();
        let hash = *all.iter().find(|(_, waiting)| waiting.conversation.as_ref() == Some(conversation))?.0;
        let waiting = all.remove(&hash)?;
        (waiting.expires > Instant::now() && waiting.owner == conversation.owner).then_some(waiting.suspended)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Hash, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

fn bound(tool: &str, arguments: &Value) -> Hash {
    hash(format!("{tool}\0{arguments}").as_bytes())
}

/// Seconds since 1970.
fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspended(path: &str) -> Suspended {
        Suspended::for_test("files__write", &serde_json::json!({"path": path}))
    }

    fn id(owner: &str) -> ConversationId {
        ConversationId { owner: owner.into(), name: "c".into() }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_token_works_once_for_its_owner_in_time() {
        let calls = PendingCalls::default();
        let call = calls.keep("ann", None, suspended("a"), LONG).unwrap();
        assert_eq!((call.tool.as_str(), &call.arguments), ("files__write", &serde_json::json!({"path": "a"})));
        assert_eq!(URL_SAFE_NO_PAD.decode(&call.token).unwrap().len(), 32);
        assert!(calls.take("", "ann").is_err());
        assert!(calls.take(&format!("{}x", call.token), "ann").is_err());
        assert_eq!(calls.take(&call.token, "ann").unwrap().asked().0, "files__write");
        assert!(calls.take(&call.token, "ann").is_err(), "used twice");
        let call = calls.keep("ann", None, suspended("a"), LONG).unwrap();
        assert!(calls.take(&call.token, "bob").is_err(), "another's");
        assert!(calls.take(&call.token, "ann").is_err(), "a token that went astray is void");
        let call = calls.keep("ann", None, suspended("a"), Duration::from_millis(1)).unwrap();
        std::thread::sleep(Duration::from_millis(10));
        assert!(calls.take(&call.token, "ann").is_err(), "late");
    }

    #[test]
    fn a_conversation_has_one_open_question() {
        let calls = PendingCalls::default();
        let first = calls.keep("ann", Some(id("ann")), suspended("a"), LONG).unwrap();
        calls.keep("ann", Some(id("ann")), suspended("b"), LONG).unwrap();
        assert!(calls.take(&first.token, "ann").is_err());
        assert!(calls.take_of(&id("bob")).is_none());
        assert_eq!(calls.take_of(&id("ann")).unwrap().asked().1["path"], "b");
        assert!(calls.take_of(&id("ann")).is_none());
    }

    #[test]
    fn few_wait_for_one_caller() {
        let calls = PendingCalls::default();
        let tokens: Vec<_> =
            (0..20).map(|at| calls.keep("ann", None, suspended(&at.to_string()), LONG).unwrap().token).collect();
        assert_eq!(calls.lock().len(), MAX_WAITING);
        assert!(calls.take(&tokens[0], "ann").is_err() && calls.take(&tokens[19], "ann").is_ok());
    }
}
