//! One recording's work, utterance by utterance, in the manifest: whatever ends the process, the next run repeats at
//! most the utterance in flight.

use super::manifest::{Manifest, ManifestError};
use crate::outcome::{Warning, WarningCode};
use crate::pipeline::{Checkpoint, Written};
use crate::speech::Transcript;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// What is written down.
enum Entry {
    Part { key: Arc<str>, sample: u64, json: String },
    Text { key: Arc<str>, sample: u64, json: String },
    Flush(oneshot::Sender<()>),
}

/// The task that writes the utterances of all recordings in flight, in order.
pub(super) struct Journal {
    entries: mpsc::UnboundedSender<Entry>,
    trouble: Arc<Mutex<Option<ManifestError>>>,
    /// Cancelled when nothing can be written any more.
    pub stuck: CancellationToken,
}

impl Journal {
    pub fn start(manifest: Arc<Manifest>) -> Self {
        let (entries, mut received) = mpsc::unbounded_channel();
        let (trouble, stuck) = (Arc::new(Mutex::new(None)), CancellationToken::new());
        let (place, stop) = (trouble.clone(), stuck.clone());
        tokio::spawn(async move {
            while let Some(entry) = received.recv().await {
                let written = match entry {
                    Entry::Part { key, sample, json } => manifest.save_part(&key, sample, &json).await,
                    Entry::Text { key, sample, json } => manifest.save_text(&key, sample, &json).await,
                    Entry::Flush(done) => {
                        // Whoever asked may have gone.
                        let _ = done.send(());
                        Ok(())
                    }
                };
                if let Err(error) = written {
                    place.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    stop.cancel();
                }
            }
        });
        Journal { entries, trouble, stuck }
    }

    /// Returns when everything so far is written, or cannot be.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.entries.send(Entry::Flush(done)).is_ok() {
            let _ = written.await;
        }
    }

    /// Why nothing can be written any more.
    pub fn trouble(&self) -> Option<ManifestError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// One recording's part of it.
pub(super) struct Kept<'a> {
    pub journal: &'a Journal,
    pub speech_key: Arc<str>,
    pub text_key: Arc<str>,
    /// What earlier runs left.
    pub parts: HashMap<u64, Transcript>,
    pub texts: HashMap<u64, Written>,
    /// The run that this belongs to. What is made while it is being given up is not what the models would have made.
    pub cancel: CancellationToken,
}

impl Checkpoint for Kept<'_> {
    fn recall(&self, utterance: u64) -> Option<Transcript> {
        self.parts.get(&utterance).cloned()
    }

    fn keep(&self, sample: u64, part: &Transcript) {
        match serde_json::to_string(part) {
            // The journal lives as long as the run.
            Ok(json) => drop(self.journal.entries.send(Entry::Part { key: self.speech_key.clone(), sample, json })),
            Err(error) => tracing::error!(%error, "an utterance cannot be kept"),
        }
    }

    fn recall_written(&self, utterance: u64) -> Option<Written> {
        self.texts.get(&utterance).cloned()
    }

    fn keep_written(&self, sample: u64, written: &Written) {
        if self.cancel.is_cancelled() || written.warnings.iter().any(unavailable) {
            return;
        }
        match serde_json::to_string(written) {
            Ok(json) => drop(self.journal.entries.send(Entry::Text { key: self.text_key.clone(), sample, json })),
            Err(error) => tracing::error!(%error, "the text of an utterance cannot be kept"),
        }
    }
}

/// Whether a model server was missing: a later run may do better.
pub(super) fn unavailable(warning: &Warning) -> bool {
    use WarningCode::*;
    matches!(warning.code, CleanupUnavailable | TranslationUnavailable | IntentUnavailable | ReplyUnavailable)
}
