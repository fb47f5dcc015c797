//! When a server that fails is started again: pauses that grow, and after too many failures in a row none for a while.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// First pause after a failure; doubled each time.
const FIRST: Duration = Duration::from_millis(500);
/// The open state grows up to so many times its first length.
const GROWTH: u32 = 10;

/// Settings of a breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BreakerSettings {
    /// Failures in a row after which it opens,
    pub failures: usize,
    /// if they happened within this time.
    pub window: Duration,
    /// For how long it opens the first time.
    pub pause: Duration,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Wait so long, then try; requests are held.
    Wait(Duration),
    /// Wait so long, then try once; requests are refused.
    Open(Duration),
}

/// Counts failures in a row.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: VecDeque<Instant>,
    /// How often it opened since the last success.
    opened: u32,
}

impl Breaker {
    pub fn new() -> Self {
        Breaker { failures: VecDeque::new(), opened: 0 }
    }

    /// The server has done its work.
    pub fn success(&mut self) {
        *self = Breaker::new();
    }

    /// Whether the next try is the one after an open state.
    pub fn half_open(&self) -> bool {
        self.opened > 0
    }

    /// The server could not be started, or ended before it had done anything.
    pub fn failure(&mut self, now: Instant, settings: &BreakerSettings) -> Verdict {
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|first| now.duration_since(*first) > settings.window) {
            self.failures.pop_front();
        }
        if self.opened > 0 || self.failures.len() >= settings.failures {
            let pause = settings.pause * (1 << self.opened.min(8)).min(GROWTH);
            self.opened += 1;
            return Verdict::Open(pause);
        }
        let doubled = FIRST * (1 << (self.failures.len() - 1).min(16));
        Verdict::Wait(doubled.min(settings.pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_a_success() {
        let settings = BreakerSettings { failures: 3, window: Duration::from_secs(60), pause: Duration::from_secs(10) };
        let mut breaker = Breaker::new();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(breaker.failure(at(0), &settings), Verdict::Wait(FIRST));
        assert_eq!(breaker.failure(at(1), &settings), Verdict::Wait(2 * FIRST));
        assert!(!breaker.half_open());
        assert_eq!(breaker.failure(at(2), &settings), Verdict::Open(Duration::from_secs(10)));
        assert!(breaker.half_open());
        assert_eq!(breaker.failure(at(12), &settings), Verdict::Open(Duration::from_secs(20)));
        for _ in 0..9 {
            breaker.failure(at(13), &settings);
        }
        assert_eq!(breaker.failure(at(14), &settings), Verdict::Open(Duration::from_secs(100)));
        breaker.success();
        assert_eq!(breaker.failure(at(15), &settings), Verdict::Wait(FIRST));
        // Failures that lie far apart are not a row.
        breaker.success();
        for minute in 0..20 {
            assert!(matches!(breaker.failure(at(100 * minute), &settings), Verdict::Wait(_)));
        }
    }
}
