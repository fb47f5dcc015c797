//! One start of a job: what earlier starts left, and where this one writes its work and what it shows.

use super::journal::{Id, Journal, What};
use super::queue::Kept;
use super::store::StoreError;
use crate::app::serve::events::RunEvent;
use crate::pipeline::{Checkpoint, Event, Written};
use crate::speech::Transcript;
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// A job's work so far and from now on.
pub(super) struct Work<'a> {
    pub job: Id,
    pub journal: &'a Journal,
    pub cancel: CancellationToken,
    done: HashMap<u64, (Transcript, Option<Written>)>,
    told: Mutex<Told>,
}

impl<'a> Work<'a> {
    /// `kept`: utterances of earlier starts; `told`: kinds and data of the events they led to.
    pub fn new(
        (job, journal, cancel): (Id, &'a Journal, CancellationToken),
        kept: Vec<Kept>,
        told: &[(String, String)],
    ) -> Result<Self, StoreError> {
        let mut done = HashMap::with_capacity(kept.len());
        for (sample, part, written) in kept {
            let written = written.map(|json| serde_json::from_str(&json)).transpose()?;
            done.insert(sample.unsigned_abs(), (serde_json::from_str(&part)?, written));
        }
        Ok(Work { job, journal, cancel, done, told: Mutex::new(Told::of(told)) })
    }

    /// Utterances that need not be recognised again.
    pub fn recalled(&self) -> usize {
        self.done.len()
    }

    /// Writes down what is shown. A job that was taken up again shows nothing twice: what it repeats in front of the
    /// observer was told by an earlier start.
    pub fn observe(&self, event: Event<'_>) {
        if !self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_new(&event) {
            return;
        }
        let what = match RunEvent::from(event) {
            RunEvent::Opened { format, duration } => What::Opened { format, duration },
            RunEvent::Progress { seconds } => What::Progress { seconds },
            RunEvent::ReplyDelta { delta } => What::Reply(delta),
            shown => match serde_json::to_string(&shown) {
                Ok(data) => What::Event { kind: shown.name(), data },
                Err(error) => return tracing::error!(job = &*self.job, %error, "an event cannot be written"),
            },
        };
        self.journal.push(&self.job, what);
    }

    fn keep_down(&self, what: What) {
        self.journal.push(&self.job, what);
        if self.journal.stalled().is_some() {
            // Nothing can be written: the job pauses here until something can, or nobody wants it any more.
            let handle = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| {
                handle.block_on(self.cancel.run_until_cancelled(self.journal.writable()));
            });
        }
    }
}

impl Checkpoint for Work<'_> {
    fn recall(&self, utterance: u64) -> Option<Transcript> {
        self.done.get(&utterance).map(|(part, _)| part.clone())
    }

    fn keep(&self, utterance: u64, part: &Transcript) {
        match (i64::try_from(utterance), serde_json::to_string(part)) {
            (Ok(sample), Ok(part)) => self.keep_down(What::Recognised { sample, part }),
            (_, problem) => tracing::error!(job = &*self.job, ?problem, "an utterance cannot be kept"),
        }
    }

    fn recall_written(&self, utterance: u64) -> Option<Written> {
        self.done.get(&utterance).and_then(|(_, written)| written.clone())
    }

    fn keep_written(&self, utterance: u64, written: &Written) {
        match (i64::try_from(utterance), serde_json::to_string(written)) {
            (Ok(sample), Ok(written)) => self.keep_down(What::Written { sample, written }),
            (_, problem) => tracing::error!(job = &*self.job, ?problem, "the text of an utterance cannot be kept"),
        }
    }
}

/// What earlier starts have told, and how much of it this one has repeated.
#[derive(Default)]
struct Told {
    /// How many events of a kind were told, less those repeated since. Each kind comes in the order of the recording.
    left: HashMap<&'static str, usize>,
    seconds: f64,
    warnings: HashSet<String>,
}

impl Told {
    fn of(events: &[(String, String)]) -> Self {
        let mut told = Told::default();
        for (kind, data) in events {
            let field = |name: &str| {
                let data: Option<serde_json::Value> = serde_json::from_str(data).ok();
                data.and_then(|data| data.get(name).cloned())
            };
            match kind.as_str() {
                "progress" => told.seconds = field("seconds").and_then(|s| s.as_f64()).unwrap_or(0.0).max(told.seconds),
                "warning" => told.warnings.extend(field("message").and_then(|m| m.as_str().map(str::to_owned))),
                other => {
                    let counted = ["opened", "language", "segment", "cleaned", "translated"];
                    if let Some(kind) = counted.into_iter().find(|kind| *kind == other) {
                        *told.left.entry(kind).or_default() += 1;
                    }
                }
            }
        }
        told
    }

    fn is_new(&mut self, event: &Event<'_>) -> bool {
        let kind = match event {
            Event::Progress { seconds } => {
                let new = *seconds > self.seconds;
                self.seconds = self.seconds.max(*seconds);
                return new;
            }
            Event::Warning(warning) => return self.warnings.insert(warning.message.clone()),
            // Answers are not kept: an intent begins the answer anew.
            Event::Intent(_)
            | Event::ReplyDelta(_)
            | Event::ToolCall { .. }
            | Event::ToolResult { .. }
            | Event::Pending(_) => return true,
            Event::Opened { .. } => "opened",
            Event::Language(_) => "language",
            Event::Segment(_) => "segment",
            Event::Cleaned(_) => "cleaned",
            Event::Translated(_) => "translated",
        };
        match self.left.get_mut(kind) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Warning, WarningCode};
    use crate::speech::Segment;

    #[test]
    fn what_was_told_before_is_not_told_again() {
        let event = |kind: &str, data: &str| (kind.to_owned(), data.to_owned());
        let mut told = Told::of(&[
            event("opened", "{}"),
            event("segment", "{}"),
            event("progress", r#"{"seconds":4.5}"#),
            event("warning", r#"{"message":"no server"}"#),
            event("void", ""),
        ]);
        let segment = Segment::default();
        let warning = |message: &str| Warning::new(WarningCode::CleanupUnavailable, message);
        assert!(!told.is_new(&Event::Opened { format: "wav", duration: None }));
        assert!(!told.is_new(&Event::Segment(&segment)), "the first one was told");
        assert!(told.is_new(&Event::Segment(&segment)), "the second one was not");
        assert!(!told.is_new(&Event::Progress { seconds: 4.5 }));
        assert!(told.is_new(&Event::Progress { seconds: 5.0 }));
        assert!(!told.is_new(&Event::Warning(&warning("no server"))));
        assert!(told.is_new(&Event::Warning(&warning("another"))));
        assert!(told.is_new(&Event::Cleaned(&[])) && told.is_new(&Event::Cleaned(&[])));
        assert!(told.is_new(&Event::ReplyDelta("a")) && told.is_new(&Event::ReplyDelta("a")));
    }
}
