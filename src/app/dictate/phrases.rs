//! What there is to recognise while somebody speaks, and what of it is known. Pure: no threads, no clock, no model.
//!
//! Phrases end at pauses. The one that is being spoken is looked at too, in every short pause and as soon as the key is
//! up: when nothing more was said, that look *is* the text of the phrase, and nothing is left to do after the release.
//! One piece is at the recogniser at a time.

use crate::speech::vad::{Segmenter, VadSettings};
use crate::speech::{Transcript, Utterance};
use std::collections::VecDeque;

/// Pause after which the phrase being spoken is looked at, seconds: longer than most stops inside words, shorter than
/// the pause that ends a phrase.
const LOOK_PAUSE: f64 = 0.2;
/// The same once the key is up, when most likely nothing more comes. A last consonant below the voice threshold is over
/// by then.
const LAST_LOOK_PAUSE: f64 = 0.1;

/// Which stretch of speech: two looks with the same first sample and the same last voice have heard the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    /// First sample.
    start: u64,
    /// Last voiced sample.
    voice_end: u64,
}

impl Extent {
    fn of(utterance: &Utterance) -> Self {
        Extent { start: sample(utterance.start()), voice_end: sample(utterance.speech().1) }
    }
}

fn sample(seconds: f64) -> u64 {
    (seconds * f64::from(crate::audio::SPEECH_RATE)).round() as u64
}

/// What the recogniser is to do.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing; or go on with what it does.
    Nothing,
    /// This, and nothing of what it did before.
    Recognize(Utterance),
    /// A phrase is complete without any further work.
    Settled(Transcript),
}

/// The phrases of one take.
pub(super) struct Phrases {
    segmenter: Segmenter,
    /// Seconds of new speech between two looks without a pause; 0: none.
    partial: f64,
    /// Have ended, in order; their text is not known.
    ended: VecDeque<Utterance>,
    at_work: Option<Extent>,
    /// The last look at the phrase being spoken.
    guess: Option<(Extent, Transcript)>,
    /// Voice that the last look reached to, seconds.
    looked: f64,
    ending: bool,
    finished: bool,
}

impl Phrases {
    /// No sound so far.
    pub fn new(vad: VadSettings, partial: f64) -> Self {
        Phrases {
            segmenter: Segmenter::new(vad),
            partial,
            ended: VecDeque::new(),
            at_work: None,
            guess: None,
            looked: 0.0,
            ending: false,
            finished: false,
        }
    }

    /// Takes the next samples, 16 kHz mono.
    pub fn push(&mut self, samples: &[f32]) {
        self.ended.extend(self.segmenter.push(samples));
    }

    /// The key is up: most likely that was all.
    pub fn ending(&mut self) {
        self.ending = true;
    }

    /// The recording is complete.
    pub fn finish(&mut self) {
        self.ended.extend(self.segmenter.finish());
        self.finished = true;
    }

    /// What the recogniser is to do now.
    pub fn next(&mut self) -> Next {
        if let Some(first) = self.ended.front() {
            let extent = Extent::of(first);
            if self.at_work == Some(extent) {
                return Next::Nothing;
            }
            if let Some((_, guess)) = self.guess.take_if(|(of, _)| *of == extent) {
                self.ended.pop_front();
                return Next::Settled(guess);
            }
            // A look at less than this is of no use any more.
            self.at_work = Some(extent);
            return Next::Recognize(first.clone());
        }
        if self.finished || !self.wants_a_look() {
            return Next::Nothing;
        }
        let Some(pending) = self.segmenter.pending() else { return Next::Nothing };
        self.at_work = Some(Extent::of(&pending));
        // Not the utterance's own end, which is rounded: what was looked at must not look new.
        self.looked = self.segmenter.voice().map_or(self.looked, |(_, last)| last);
        Next::Recognize(pending)
    }

    /// What the recogniser made of it. Gives back the text of a phrase that is complete with it.
    pub fn heard(&mut self, heard: Transcript) -> Option<Transcript> {
        let extent = self.at_work.take()?;
        if self.ended.front().is_some_and(|first| Extent::of(first) == extent) {
            self.ended.pop_front();
            // What was guessed of it on the way is over.
            self.guess.take_if(|(of, _)| of.start <= extent.start);
            return Some(heard);
        }
        self.guess = Some((extent, heard));
        None
    }

    /// The recogniser failed. `true`: the text of a phrase is lost with it, not only a look.
    pub fn failed(&mut self) -> bool {
        let Some(extent) = self.at_work.take() else { return false };
        let lost = self.ended.front().is_some_and(|first| Extent::of(first) == extent);
        if lost {
            self.ended.pop_front();
        }
        lost
    }

    /// The last look at the phrase being spoken, for the text shown meanwhile.
    pub fn guess(&self) -> Option<&Transcript> {
        self.guess.as_ref().map(|(_, guess)| guess)
    }

    /// Whether a phrase is being spoken.
    pub fn is_speaking(&self) -> bool {
        self.segmenter.speaking().is_some()
    }

    /// Whether everything that was said has its text.
    pub fn is_settled(&self) -> bool {
        self.finished && self.ended.is_empty()
    }

    fn wants_a_look(&self) -> bool {
        let Some((first, last)) = self.segmenter.voice() else { return false };
        // Nothing was said since.
        if last <= self.looked {
            return false;
        }
        let pause = self.segmenter.clock() - last;
        let enough = if self.ending { LAST_LOOK_PAUSE } else { LOOK_PAUSE };
        if pause >= enough - 1e-9 {
            // Also instead of a look that is under way: it has not heard the end.
            return true;
        }
        let busy = self.at_work.is_some() || self.ending;
        !busy && self.partial > 0.0 && last - self.looked.max(first) >= self.partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::Segment;

    /// Speech without pauses: a clip of the samples, what the detector takes for pauses cut out.
    fn voice(seconds: f64) -> Vec<f32> {
        let mut reader =
            hound::WavReader::open("samples/librivox/0880.wav").expect("the samples are in the repository");
        let samples: Vec<f32> =
            reader.samples::<i16>().map(|sample| f32::from(sample.expect("sound")) / 32_768.0).collect();
        let mut segmenter = Segmenter::new(VadSettings { min_silence: 0.1, pad: 0.0, ..VadSettings::default() });
        let mut utterances = segmenter.push(&samples);
        utterances.extend(segmenter.finish());
        let speech: Vec<f32> = utterances.iter().flat_map(|utterance| utterance.samples().to_vec()).collect();
        speech[..(seconds * 16_000.0) as usize].to_vec()
    }

    fn silence(seconds: f64) -> Vec<f32> {
        vec![0.0; (seconds * 16_000.0) as usize]
    }

    fn text(words: &str) -> Transcript {
        let segments = vec![Segment { text: words.to_owned(), ..Segment::default() }];
        Transcript { language: None, segments }
    }

    fn phrases() -> Phrases {
        Phrases::new(VadSettings { min_silence: 0.6, ..VadSettings::default() }, 0.0)
    }

    #[test]
    fn a_look_in_a_pause_is_the_text_when_nothing_more_is_said() {
        let mut phrases = phrases();
        phrases.push(&voice(2.0));
        phrases.push(&silence(0.3));
        let Next::Recognize(look) = phrases.next() else { panic!("a pause is a look") };
        assert!(look.seconds() > 1.5);
        assert!(matches!(phrases.next(), Next::Nothing), "one look a pause");
        assert_eq!(phrases.heard(text("hello")), None);
        assert_eq!(phrases.guess(), Some(&text("hello")));
        phrases.push(&silence(0.5));
        let Next::Settled(settled) = phrases.next() else { panic!("the phrase has ended") };
        assert_eq!(settled, text("hello"));
        phrases.finish();
        assert!(phrases.is_settled());
    }

    #[test]
    fn a_look_that_is_under_way_when_the_phrase_ends_counts() {
        let mut phrases = phrases();
        phrases.push(&voice(2.0));
        phrases.push(&silence(0.3));
        assert!(matches!(phrases.next(), Next::Recognize(_)));
        phrases.finish();
        assert!(matches!(phrases.next(), Next::Nothing), "it is being recognised");
        assert!(!phrases.is_settled());
        assert_eq!(phrases.heard(text("hello")), Some(text("hello")));
        assert!(phrases.is_settled());
    }

    #[test]
    fn what_is_said_after_a_look_is_recognised_with_the_whole() {
        let mut phrases = phrases();
        phrases.push(&voice(2.0));
        phrases.push(&silence(0.3));
        assert!(matches!(phrases.next(), Next::Recognize(_)));
        assert_eq!(phrases.heard(text("hello")), None);
        phrases.push(&voice(1.0));
        phrases.finish();
        let Next::Recognize(whole) = phrases.next() else { panic!("the look has not heard it all") };
        assert!(whole.seconds() > 3.0, "{}", whole.seconds());
        assert_eq!(phrases.heard(text("hello world")), Some(text("hello world")));
        assert!(phrases.is_settled());
        assert_eq!(phrases.guess(), None, "the text shown must not say it twice");
    }

    #[test]
    fn a_failed_look_is_no_loss_and_a_failed_phrase_is() {
        let mut phrases = phrases();
        phrases.push(&voice(2.0));
        phrases.push(&silence(0.3));
        assert!(matches!(phrases.next(), Next::Recognize(_)));
        assert!(!phrases.failed());
        phrases.finish();
        assert!(matches!(phrases.next(), Next::Recognize(_)));
        assert!(phrases.failed());
        assert!(phrases.is_settled());
    }

    #[test]
    fn silence_is_settled_at_once() {
        let mut phrases = phrases();
        phrases.push(&silence(1.0));
        phrases.ending();
        assert!(matches!(phrases.next(), Next::Nothing));
        phrases.finish();
        assert!(phrases.is_settled());
    }
}
