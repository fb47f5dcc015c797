//! What every stage may write to: warnings and timings.

use super::{Event, Run};
use crate::outcome::{Timings, Warning};
use std::sync::Mutex;
use std::time::Instant;

/// What several stages write to.
#[derive(Default)]
pub(super) struct Notes {
    warnings: Mutex<Vec<Warning>>,
    timings: Mutex<Timings>,
}

impl Notes {
    pub fn warn(&self, run: Run<'_>, warning: Warning) {
        (run.observer)(Event::Warning(&warning));
        let mut warnings = self.warnings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // One sentence a reason is enough: a dead server fails every utterance of a long recording.
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    pub fn time(&self, write: impl FnOnce(&mut Timings)) {
        write(&mut self.timings.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    }
}

impl Notes {
    /// What was noted, at the end.
    pub fn into_parts(self) -> (Vec<Warning>, Timings) {
        let warnings = self.warnings.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        (warnings, self.timings.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

/// Milliseconds since.
pub(super) fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Adds to a stage's time: with channels told apart it runs once for each.
pub(super) fn add_ms(time: &mut Option<f64>, ms: f64) {
    *time = Some(time.unwrap_or_default() + ms);
}
