//! Which token may come next: Whisper's own decoding rules as arithmetic on logits. Knows no model and no state.
//!
//! Source: OpenAI whisper `decoding.py` (`SuppressBlank`, `SuppressTokens`, `ApplyTimestampRules`).

/// Token ids that the rules need. Times are the ids from `first_time` to the end of the vocabulary, 20 ms apart.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    pub end_of_text: usize,
    pub first_time: usize,
    /// Never said: start of transcript, task, language, previous-text and no-time tokens.
    pub never: Vec<usize>,
    /// A lone space, if the vocabulary has one.
    pub space: Option<usize>,
}

/// Whether times are asked of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// Text only; the caller knows where the utterance starts and ends.
    Off,
    /// The model says where its pieces start and end, up to this time token (frames of 20 ms).
    On {
        /// The end of the audio.
        limit: usize,
    },
}

/// Sets the logits of forbidden tokens to minus infinity. `so_far` is what this attempt has produced.
pub(super) fn forbid(logits: &mut [f32], so_far: &[usize], ids: &Ids, times: Times) {
    let never = f32::NEG_INFINITY;
    for &id in &ids.never {
        logits[id] = never;
    }
    if so_far.is_empty() {
        if let Some(space) = ids.space {
            logits[space] = never;
        }
        // Empty text is possible all the same: with times on as start, end; with times off the caller's silence check.
        logits[ids.end_of_text] = never;
    }
    let Times::On { limit } = times else {
        logits[ids.first_time..].fill(never);
        return;
    };
    let is_time = |id: usize| id >= ids.first_time;
    let last = so_far.last().copied();
    let before = so_far.len().checked_sub(2).map(|i| so_far[i]);
    match last {
        // The first token is a time within the first second.
        None => {
            logits[..ids.first_time].fill(never);
            let latest = ids.first_time + limit.min(50);
            let past = (latest + 1).min(logits.len());
            logits[past..].fill(never);
        }
        // Times come in pairs, but for the last before the end of text.
        Some(id) if is_time(id) => {
            if before.is_none_or(is_time) {
                logits[ids.first_time..].fill(never);
            } else {
                logits[..ids.end_of_text].fill(never);
            }
        }
        Some(_) => {}
    }
    // Times never go back, nor past the end of the audio; a piece with text is not of length zero. One time always
    // stays open, so that a piece can end.
    if let Some(&time) = so_far.iter().rev().find(|id| is_time(**id)) {
        let next = (if last.is_some_and(is_time) { time } else { time + 1 }).min(logits.len() - 1);
        let latest = (ids.first_time + limit).clamp(next, logits.len() - 1);
        logits[ids.first_time..next].fill(never);
        logits[latest + 1..].fill(never);
    }
    prefer_times(logits, ids);
}

/// When all times together are likelier than the likeliest word, a time it is.
fn prefer_times(logits: &mut [f32], ids: &Ids) {
    let (text, times) = logits.split_at_mut(ids.first_time);
    let most = times.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if most == f32::NEG_INFINITY {
        return;
    }
    let sum: f32 = times.iter().map(|l| (l - most).exp()).sum();
    let best_text = text.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if most + sum.ln() > best_text {
        text.fill(f32::NEG_INFINITY);
    }
}

/// The chosen token with its natural-log probability.
pub(super) fn greedy(logits: &[f32]) -> (usize, f32) {
    let (mut best, mut most) = (0, f32::NEG_INFINITY);
    for (id, &logit) in logits.iter().enumerate() {
        if logit > most {
            (best, most) = (id, logit);
        }
    }
    (best, -log_sum_exp(logits, most).max(0.0))
}

/// A token drawn at `temperature` (above 0) with `uniform` in 0..1, and its natural-log probability at temperature 1.
pub(super) fn sample(logits: &[f32], temperature: f32, uniform: f32) -> (usize, f32) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| ((logit - most) / temperature).exp();
    let total: f32 = logits.iter().map(|l| weight(*l)).sum();
    let mut left = uniform * total;
    let mut chosen = 0;
    for (id, &logit) in logits.iter().enumerate() {
        let w = weight(logit);
        if w > 0.0 {
            chosen = id;
            left -= w;
            if left <= 0.0 {
                break;
            }
        }
    }
    (chosen, (logits[chosen] - most) - log_sum_exp(logits, most))
}

/// ln of the sum of exp(logit - most).
fn log_sum_exp(logits: &[f32], most: f32) -> f32 {
    logits.iter().map(|l| (l - most).exp()).sum::<f32>().ln()
}

/// Probabilities of some tokens among all.
pub(super) fn probabilities(logits: &[f32], among: std::ops::Range<usize>) -> Vec<f32> {
    let most = logits[among.clone()].iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = logits[among.clone()].iter().map(|l| (l - most).exp()).sum();
    logits[among].iter().map(|l| (l - most).exp() / total).collect()
}

/// How many tokens at the end belong to a loop: the same 1 to 12 tokens again and again.
/// Zero for what people do say: a word up to eight times, a phrase up to four.
pub(super) fn looping_tail(tokens: &[usize]) -> usize {
    for n in 1..=12 {
        let Some(start) = tokens.len().checked_sub(n) else { break };
        let unit = &tokens[start..];
        let repeats = tokens.rchunks_exact(n).take_while(|chunk| *chunk == unit).count();
        let allowed = if n <= 2 { 8 } else { 4 };
        if repeats > allowed {
            return repeats * n;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Ids {
        Ids { end_of_text: 10, first_time: 15, never: vec![11, 12, 13, 14], space: Some(0) }
    }

    fn allowed(so_far: &[usize], times: Times) -> Vec<usize> {
        let mut logits = vec![0.0; 30];
        // Text is likely, so that the sum of times does not win.
        logits[..15].fill(5.0);
        forbid(&mut logits, so_far, &ids(), times);
        (0..30).filter(|i| logits[*i] > f32::NEG_INFINITY).collect()
    }

    #[test]
    fn without_times_only_text_and_end_are_allowed() {
        assert_eq!(allowed(&[], Times::Off), (1..10).collect::<Vec<_>>());
        assert_eq!(allowed(&[3], Times::Off), (0..=10).collect::<Vec<_>>());
    }

    #[test]
    fn times_open_and_close_in_pairs_and_never_go_back() {
        let on = Times::On { limit: 8 };
        assert_eq!(allowed(&[], on), (15..=23).collect::<Vec<_>>(), "a time first, within the audio");
        assert_eq!(allowed(&[16], on), (0..=10).collect::<Vec<_>>(), "then text or nothing");
        let after_text = allowed(&[16, 3], on);
        assert!(after_text.contains(&3) && after_text.contains(&17) && after_text.contains(&23));
        assert!(!after_text.contains(&16) && !after_text.contains(&24), "{after_text:?}");
        assert_eq!(allowed(&[16, 3, 18], on), [&[10][..], &(18..=23).collect::<Vec<_>>()].concat());
    }

    #[test]
    fn likely_times_beat_a_likely_word() {
        let mut logits = vec![0.0; 30];
        logits[3] = 1.0;
        logits[16..24].fill(0.5);
        forbid(&mut logits, &[15, 3], &ids(), Times::On { limit: 8 });
        assert!(logits[3] == f32::NEG_INFINITY && logits[17] > 0.0);
    }

    #[test]
    fn probabilities_and_draws_follow_the_logits() {
        let logits = [0.0, 2.0, f32::NEG_INFINITY, 1.0];
        let (id, ln) = greedy(&logits);
        let p = probabilities(&logits, 0..4);
        assert_eq!(id, 1);
        assert!((ln.exp() - p[1]).abs() < 1e-6 && (p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(sample(&logits, 1.0, 0.0).0, 0);
        assert_eq!(sample(&logits, 1.0, 0.9999).0, 3);
        assert_eq!(sample(&logits, 0.01, 0.5).0, 1);
    }

    #[test]
    fn loops_are_seen_and_emphasis_is_not() {
        assert_eq!(looping_tail(&[1, 2, 7, 7, 7, 7, 7, 7]), 0);
        assert_eq!(looping_tail(&[1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]), 0);
        assert_eq!(looping_tail(&[7; 9]), 9);
        assert_eq!(looping_tail(&[9, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]), 15);
    }
}
