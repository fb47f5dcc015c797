//! One speaker faintly heard in the other's channel: Whisper writes that down too, and the text would be there twice.

use crate::audio::Survey;
use crate::speech::Segment;

/// A segment of a channel.
pub(super) struct Heard<'a> {
    /// Counted from 0, in the recording.
    pub channel: usize,
    pub segment: &'a Segment,
}

/// How much louder the other channel is while a bled segment is heard, dB. Headsets and hybrids of telephones let 15 to
/// 40 dB less through; two people who speak at once are seldom 10 dB apart.
const LOUDER_DB: f64 = 10.0;

/// Correlation of loudness over time from which the quieter channel only follows the louder one. A copy comes to more
/// than 0.9 whatever the line has done to its sound and within 60 ms of delay; two people at once stay under 0.5.
const FOLLOWS: f64 = 0.8;

/// With the same words a weaker likeness is enough: the channel's own noise may hide most of a faint copy.
const FOLLOWS_WITH_WORDS: f64 = 0.4;

/// Share of its words that a copy has in common with what was said, and the fewest words that say anything.
const SAME_WORDS: f64 = 0.5;
const FEWEST_WORDS: usize = 3;

/// Frames of 20 ms that the copy may be late or early.
const DELAY: usize = 3;

/// Whether `one` is a copy of what was said in another channel at that time.
pub(super) fn is_bleed(one: &Heard<'_>, all: &[Heard<'_>], survey: &Survey) -> bool {
    let (start, end) = (one.segment.start, one.segment.end);
    let own = survey.energies(one.channel, (start, end));
    (0..survey.channels()).filter(|channel| *channel != one.channel).any(|other| {
        let louder = survey.energies(other, (start, end));
        if decibels(louder) - decibels(own) < LOUDER_DB {
            return false;
        }
        let likeness = likeness(own, louder);
        let near = |h: &&Heard| h.channel == other && h.segment.start < end + 1.0 && h.segment.end > start - 1.0;
        let said: Vec<String> = all.iter().filter(near).flat_map(|heard| words(&heard.segment.text)).collect();
        likeness >= FOLLOWS || (likeness >= FOLLOWS_WITH_WORDS && shares_words(&words(&one.segment.text), &said))
    })
}

fn decibels(energies: &[f32]) -> f64 {
    let mean = energies.iter().map(|energy| f64::from(*energy)).sum::<f64>() / energies.len().max(1) as f64;
    // The floor is that of 16-bit samples.
    10.0 * mean.max(1e-10).log10()
}

/// Best correlation of the amplitudes over a few delays.
fn likeness(a: &[f32], b: &[f32]) -> f64 {
    let amplitude = |energy: &f32| f64::from(*energy).sqrt();
    let (a, b): (Vec<f64>, Vec<f64>) = (a.iter().map(amplitude).collect(), b.iter().map(amplitude).collect());
    let length = a.len().min(b.len());
    // Less than a fifth of a second says nothing.
    if length < 10 + DELAY {
        return 0.0;
    }
    let late = (0..=DELAY).map(|delay| correlation(&a[delay..length], &b[..length - delay]));
    let early = (1..=DELAY).map(|delay| correlation(&a[..length - delay], &b[delay..length]));
    late.chain(early).fold(0.0, f64::max)
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let count = a.len().min(b.len()).max(1) as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / count, b.iter().sum::<f64>() / count);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        (ab, aa, bb) = (ab + x * y, aa + x * x, bb + y * y);
    }
    if aa > 0.0 && bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}

fn words(text: &str) -> Vec<String> {
    let plain = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    text.split_whitespace().map(plain).filter(|word| !word.is_empty()).collect()
}

/// Whether enough of `copy` stands in `said`, in that order.
fn shares_words(copy: &[String], said: &[String]) -> bool {
    if copy.len() < FEWEST_WORDS {
        return false;
    }
    // Length of the longest common subsequence, row by row.
    let mut row = vec![0usize; said.len() + 1];
    for word in copy {
        let mut diagonal = 0;
        for (at, other) in said.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if word == other { diagonal + 1 } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    row[said.len()] as f64 >= copy.len() as f64 * SAME_WORDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::surveyed;

    fn segment(start: f64, end: f64, text: &str) -> Segment {
        Segment { start, end, text: text.to_owned(), ..Segment::default() }
    }

    fn bled(a: &[f32], b: &[f32], mine: &str, theirs: &str) -> bool {
        let (mine, theirs) = (segment(0.0, 4.0, mine), segment(0.0, 4.0, theirs));
        let all = [Heard { channel: 0, segment: &mine }, Heard { channel: 1, segment: &theirs }];
        is_bleed(&all[0], &all, &surveyed::of(&[a.to_vec(), b.to_vec()]))
    }

    fn faint(voice: &[f32], decibels: f32, delay: usize) -> Vec<f32> {
        let gain = 10f32.powf(decibels / 20.0);
        std::iter::repeat_n(0.0, delay).chain(voice.iter().map(|sample| sample * gain)).take(voice.len()).collect()
    }

    #[test]
    fn a_faint_copy_is_bleed_whatever_was_made_of_it() {
        let voice = surveyed::voice(1, 4, 0.5);
        for (decibels, delay) in [(-15.0, 0), (-25.0, 0), (-25.0, 640), (-40.0, 320)] {
            assert!(bled(&faint(&voice, decibels, delay), &voice, "something else", "good morning"), "{decibels} dB");
        }
    }

    #[test]
    fn a_copy_hidden_in_noise_is_known_by_its_words() {
        let voice = surveyed::voice(1, 4, 0.5);
        let noise = surveyed::voice(2, 4, 0.018);
        let noisy: Vec<f32> = faint(&voice, -29.0, 0).iter().zip(&noise).map(|(a, b)| a + b).collect();
        assert!(bled(&noisy, &voice, "we will meet them there", "Yes, we will meet there."));
        assert!(!bled(&noisy, &voice, "I never said anything", "Yes, we will meet there."));
    }

    #[test]
    fn two_people_at_once_are_both_kept() {
        let (a, b) = (surveyed::voice(1, 4, 0.5), surveyed::voice(2, 4, 0.5));
        assert!(!bled(&a, &b, "yes we will meet there", "yes we will meet there"), "equally loud");
        let quiet = faint(&a, -18.0, 0);
        assert!(!bled(&quiet, &b, "that is what I think", "yes we will meet there"), "a quiet voice is no copy");
    }

    #[test]
    fn who_speaks_alone_is_kept_however_faint() {
        let silence = vec![0.0; 64_000];
        let voice = faint(&surveyed::voice(1, 4, 0.5), -50.0, 0);
        assert!(!bled(&voice, &silence, "hello", ""));
    }
}
