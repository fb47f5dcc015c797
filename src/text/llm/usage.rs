//! What the calls to one server have cost so far: for benchmarks and status.

use super::wire::Counts;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tokens of all answers so far, where the server counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Requests that got an answer.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Of those, how many came from the prefix cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
}

impl Usage {
    /// What came on top of `earlier`.
    pub fn since(self, earlier: Usage) -> Usage {
        Usage {
            requests: self.requests - earlier.requests,
            prompt_tokens: self.prompt_tokens - earlier.prompt_tokens,
            cached_tokens: self.cached_tokens - earlier.cached_tokens,
            generated_tokens: self.generated_tokens - earlier.generated_tokens,
        }
    }
}

impl std::ops::Add for Usage {
    type Output = Usage;

    fn add(self, other: Usage) -> Usage {
        Usage {
            requests: self.requests + other.requests,
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            cached_tokens: self.cached_tokens + other.cached_tokens,
            generated_tokens: self.generated_tokens + other.generated_tokens,
        }
    }
}

/// Adds up, for all clones of a client.
#[derive(Debug, Default)]
pub(super) struct Meter([AtomicU64; 4]);

impl Meter {
    /// One answer more.
    pub fn add(&self, counts: Counts) {
        let of = |count: Option<u32>| u64::from(count.unwrap_or(0));
        let all = [1, of(counts.prompt), of(counts.cached), of(counts.generated)];
        for (sum, more) in self.0.iter().zip(all) {
            sum.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// The sums.
    pub fn usage(&self) -> Usage {
        let [requests, prompt_tokens, cached_tokens, generated_tokens] =
            [0, 1, 2, 3].map(|at: usize| self.0[at].load(Ordering::Relaxed));
        Usage { requests, prompt_tokens, cached_tokens, generated_tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_add_up_and_earlier_ones_can_be_taken_off() {
        let meter = Meter::default();
        meter.add(Counts { prompt: Some(100), cached: Some(80), generated: Some(5) });
        let before = meter.usage();
        meter.add(Counts { prompt: Some(10), cached: None, generated: Some(1) });
        let more = meter.usage().since(before);
        assert_eq!(more, Usage { requests: 1, prompt_tokens: 10, cached_tokens: 0, generated_tokens: 1 });
        assert_eq!(before + more, meter.usage());
    }
}
