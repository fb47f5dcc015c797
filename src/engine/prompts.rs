//! The static parts of the prompts, read into the light server's cache before the first utterance needs them. Reading
//! them takes seconds on a small processor, so what a managed server has read is kept in the cache folder and given back
//! to its next run.

use super::{Needs, settings};
use crate::config::Config;
use crate::language::{Lang, LanguageChoice};
use crate::models::cache_dir;
use crate::outcome::{Style, Tier};
use crate::text::clean::Cleaner;
use crate::text::intent::{Classifier, IntentSettings, RouteSet};
use crate::text::llm::{Client, LlmError, Message};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Kept prompts beyond this many are removed, the oldest first: about 30 MB each at 0.5B, 200 MB at 7B.
const KEPT: usize = 8;

/// Where managed servers keep prompts.
pub(super) fn folder() -> PathBuf {
    cache_dir().join("prompts")
}

/// What warming up needs.
#[derive(Clone, Copy)]
pub(super) struct Prompts<'a> {
    pub config: &'a Config,
    pub client: &'a Client,
    pub cancel: &'a CancellationToken,
}

impl Prompts<'_> {
    /// Reads the prefixes that `needs` will use. A failure only means that the first utterance takes longer.
    pub async fn warm_up(self, needs: Needs, routes: &Arc<RouteSet>) {
        let intent = async { if needs.intent { self.intent(routes).await } else { Ok(()) } };
        let clean = async {
            // The examples are in the language spoken; which that is, is mostly not known before the first words.
            let lang = match self.config.speech.language {
                LanguageChoice::Fixed(lang) => lang,
                LanguageChoice::Auto => Lang::ENGLISH,
            };
            // A rewrite begins with a tidy text.
            let style = match self.config.cleanup.style {
                Style::Rewrite => Style::Tidy,
                style => style,
            };
            let prefix = Cleaner::static_prefix(style, lang);
            if needs.cleanup { self.read(&prefix, settings::CLEAN_SLOT).await } else { Ok(()) }
        };
        let (intent, clean): (Result<(), LlmError>, Result<(), LlmError>) = tokio::join!(intent, clean);
        if let Err(error) = intent.and(clean) {
            tracing::debug!(%error, "warm-up failed");
        }
    }

    /// The first question's prompt, and those of its departments.
    async fn intent(self, routes: &Arc<RouteSet>) -> Result<(), LlmError> {
        let (own, other) =
            (settings::intent(self.config, Tier::Light), settings::other_intent(self.config, Tier::Light));
        let prefix = |routes: &Arc<RouteSet>, settings: &IntentSettings| {
            let classifier = Classifier::new(self.client.clone(), routes.clone(), settings.clone());
            async move { classifier.static_prefix().await }
        };
        let first = prefix(routes, &own).await?;
        self.read(&first, settings::INTENT_SLOT).await?;
        let departments = routes.questions_below();
        for department in &departments {
            let prompt = prefix(department, &other).await?;
            if other.slot == own.slot || departments.len() > 1 {
                // Read anew: what is restored from a file would not go to the server's prompt cache.
                self.client.warm_up(&prompt, other.slot, self.cancel).await?;
            } else {
                self.read(&prompt, settings::OTHER_SLOT).await?;
            }
        }
        if other.slot == own.slot && !departments.is_empty() {
            self.client.warm_up(&first, own.slot, self.cancel).await?;
        }
        Ok(())
    }

    async fn read(self, prefix: &[Message], slot: u32) -> Result<(), LlmError> {
        let managed = self.config.tier(self.client.endpoint().tier).manage;
        let Some(file) = managed.then(|| self.file(prefix)) else {
            return self.client.warm_up(prefix, Some(slot), self.cancel).await;
        };
        if folder().join(&file).is_file() && self.client.restore_slot(slot, &file, self.cancel).await.is_ok() {
            tracing::debug!(slot, "prompt taken from the cache");
            return Ok(());
        }
        self.client.warm_up(prefix, Some(slot), self.cancel).await?;
        self.client.save_slot(slot, &file, self.cancel).await?;
        forget_old();
        Ok(())
    }

    /// A name that changes with anything that changes what the server has read: its model, build, settings, and the
    /// prompt itself.
    fn file(self, prefix: &[Message]) -> String {
        let tier: Tier = self.client.endpoint().tier;
        let settings = self.config.tier(tier);
        let mut hash = Sha256::new();
        let store = crate::models::Store::new(cache_dir(), self.config.models.folders.clone());
        let program = settings::llama_server(self.config).ok();
        for path in [store.locate(&settings.model).ok(), program].into_iter().flatten() {
            let changed = std::fs::metadata(&path).and_then(|meta| Ok((meta.len(), meta.modified()?)));
            hash.update(format!("{path:?} {changed:?}\n"));
        }
        hash.update(format!("{settings:?}\n{prefix:?}"));
        let name: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("{name}.kv")
    }
}

fn forget_old() {
    let Ok(entries) = std::fs::read_dir(folder()) else { return };
    let mut files: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .filter(|(_, path)| path.extension().is_some_and(|end| end == "kv"))
        .collect();
    files.sort();
    for (_, path) in files.iter().rev().skip(KEPT) {
        // Another process may have been faster.
        let _ = std::fs::remove_file(path);
    }
}
