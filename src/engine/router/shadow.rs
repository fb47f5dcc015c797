//! What another setting would have decided. Asked once no run is under way and its server has a free slot; given up as soon
//! as a run begins. So it delays nobody, and where there is no pause it is dropped.

use super::journal::Shadow;
use super::{Descent, Inner, Setting, Words};
use crate::outcome::{DecidedBy, Tier};
use crate::text::intent::{self, Trace, taken_at};
use crate::text::llm::Client;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Decisions that may wait for their shadow at once; further ones go without.
pub(super) const WAITING: usize = 8;

/// How long a shadow waits for a pause.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time for the server to say whether it has a free slot. It says so between two steps of the model.
const FREE: Duration = Duration::from_secs(2);

/// What is said of a shadow that found no pause.
const BUSY: &str = "busy";

impl Inner {
    /// Once nobody waits for anything, or not at all.
    pub(super) async fn shadow_later(&self, setting: &Setting, words: &Words) -> Shadow {
        let Ok(_place) = self.shadows.try_acquire() else { return Shadow::dropped(&setting.name, BUSY) };
        match self.in_a_pause(self.asked_if_free(setting, words)).await {
            Some(shadow) => shadow,
            None if self.ending.is_cancelled() => Shadow::dropped(&setting.name, "ended"),
            None => Shadow::dropped(&setting.name, BUSY),
        }
    }

    /// Does `work` once no run is under way, and drops it when one begins or everything ends; none then.
    async fn in_a_pause<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let (mut runs, mut again) = (self.runs.subscribe(), self.runs.subscribe());
        let paused = async {
            tokio::time::timeout(PATIENCE, runs.wait_for(|runs| *runs == 0)).await.ok()?.ok()?;
            tokio::select! {
                biased;
                _ = again.wait_for(|runs| *runs > 0) => None,
                done = work => Some(done),
            }
        };
        self.ending.run_until_cancelled(paused).await.flatten()
    }

    /// Reads the first question's prompt into the heavy server's cache in a pause: its second opinion came too late.
    pub(super) async fn warm_heavy(&self) {
        let Some(client) = self.tiers.peek(Tier::Heavy) else { return };
        let classifier = self.classifier(Tier::Heavy, &client, &self.main.routes);
        // Where it does not come to an end, the next one begins where it stopped.
        let _ = self.in_a_pause(classifier.warm_up(&CancellationToken::new())).await;
    }

    /// At once, for somebody who wants to know; waits for a server that starts.
    pub(super) async fn shadow_now(&self, setting: &Setting, words: &Words, cancel: &CancellationToken) -> Shadow {
        match self.tiers.client(setting.tier).await {
            Ok(client) => self.asked(setting, &client, words, cancel).await,
            Err(reason) => Shadow::dropped(&setting.name, &reason),
        }
    }

    async fn asked_if_free(&self, setting: &Setting, words: &Words) -> Shadow {
        let Some(client) = self.tiers.peek(setting.tier) else {
            return Shadow::dropped(&setting.name, &format!("the {} model server is not up", setting.tier.name()));
        };
        if client.has_free_slot(FREE).await == Some(false) {
            return Shadow::dropped(&setting.name, BUSY);
        }
        let limit = Duration::from_secs_f64(self.config.intent.shadow_seconds);
        let never = CancellationToken::new();
        let asked = tokio::time::timeout(limit, self.asked(setting, &client, words, &never));
        asked.await.unwrap_or_else(|_elapsed| Shadow::dropped(&setting.name, "too slow"))
    }

    /// Rules first, as for everybody.
    async fn asked(&self, setting: &Setting, client: &Client, words: &Words, cancel: &CancellationToken) -> Shadow {
        let begun = Instant::now();
        let (mut path, mut trace, mut by) = (Vec::new(), Trace::default(), DecidedBy::Model);
        let mut failure = None;
        match intent::first_hit(setting.routes.rules(), &words.text) {
            Some(hit) => {
                (path, by) = (hit.path, DecidedBy::Rule);
                trace.rule = Some(hit.rule);
            }
            None => {
                let descent = Descent { setting, client, words, cancel };
                failure = self.descend(descent, &mut path, &mut trace).await.err();
            }
        }
        if let Some(error) = failure.filter(|_| trace.levels.is_empty()) {
            return Shadow::dropped(&setting.name, &error.to_string());
        }
        let undecided = path.is_empty();
        if undecided {
            (path, by) = (vec![setting.routes.default_route().name.clone()], DecidedBy::Default);
        }
        let action = taken_at(&setting.routes, path.clone(), by).action;
        let tier = (by != DecidedBy::Rule).then_some(setting.tier);
        let ms = begun.elapsed().as_secs_f64() * 1000.0;
        Shadow {
            setting: setting.name.clone(),
            route: Some(path.join("/")),
            action: Some(action),
            by: Some(by),
            undecided,
            tier: tier.map(|tier: Tier| self.config.tiers.serving(tier)),
            levels: trace.levels,
            ms,
            dropped: None,
        }
    }
}
