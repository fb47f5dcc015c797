//! The heavy model's head start: while the intent is still being decided, its server reads the instructions and what was
//! said, so that an answer can begin at once. Bounded: one reading a decision, ended by whoever decides otherwise, only
//! where the heavy tier is up and recent decisions make it likely that it is needed.

use crate::config::HeadStartConfig;
use crate::outcome::Action;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Decisions that count as recent.
const RECENT: usize = 8;

/// How often the heavy model was needed lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Prior(Arc<Mutex<VecDeque<bool>>>);

impl Prior {
    /// Whether a head start is worth it. Before the first decision it is not: nothing is known.
    pub fn likely(&self, config: &HeadStartConfig) -> bool {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let heavy = recent.iter().filter(|heavy| **heavy).count();
        config.enabled && !recent.is_empty() && heavy as f64 >= config.share * recent.len() as f64
    }

    fn note(&self, heavy: bool) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back(heavy);
        if recent.len() > RECENT {
            recent.pop_front();
        }
    }
}

/// A decision on its way, and perhaps a reading beside it. Dropped without a decision, the reading ends.
pub(crate) struct HeadStart {
    prior: Prior,
    reading: Option<DropGuard>,
}

impl HeadStart {
    pub(super) fn new(prior: Prior) -> Self {
        HeadStart { prior, reading: None }
    }

    /// Lets `work` run beside the decision; it gets the token that ends it.
    pub(super) fn begin<F>(&mut self, work: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let end = CancellationToken::new();
        tokio::spawn(work(end.clone()));
        self.reading = Some(end.drop_guard());
    }

    /// The decision: for the heavy model the reading goes on (the server answers the request behind it from its cache),
    /// for anything else it ends at once.
    pub(crate) fn decided(mut self, action: Action) {
        let heavy = action == Action::Heavy;
        self.prior.note(heavy);
        if heavy && let Some(reading) = self.reading.take() {
            reading.disarm();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn config(share: f64) -> HeadStartConfig {
        HeadStartConfig { enabled: true, share }
    }

    #[test]
    fn only_recent_decisions_count_and_nothing_is_known_at_first() {
        let prior = Prior::default();
        assert!(!prior.likely(&config(0.0)));
        (0..RECENT).for_each(|_| prior.note(true));
        assert!(prior.likely(&config(1.0)));
        assert!(!prior.likely(&HeadStartConfig { enabled: false, share: 0.0 }));
        (0..RECENT / 2).for_each(|_| prior.note(false));
        assert!(prior.likely(&config(0.5)) && !prior.likely(&config(0.6)));
    }

    #[tokio::test]
    async fn the_reading_ends_with_any_other_decision_and_goes_on_for_the_heavy_model() {
        for (action, ends) in
            [(Some(Action::Text), true), (Some(Action::Light), true), (None, true), (Some(Action::Heavy), false)]
        {
            let mut start = HeadStart::new(Prior::default());
            let (told, ended) = tokio::sync::oneshot::channel();
            start.begin(async move |end: CancellationToken| {
                end.cancelled().await;
                let _ = told.send(());
            });
            match action {
                Some(action) => start.decided(action),
                None => drop(start),
            }
            let within = if ends { Duration::from_secs(10) } else { Duration::from_millis(50) };
            assert_eq!(tokio::time::timeout(within, ended).await.is_ok(), ends, "{action:?}");
        }
    }
}
