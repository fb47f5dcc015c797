//! Voice activity detection: a stream of samples in, utterances out, in bounded memory.
//!
//! Owns at most one utterance of audio (28 s by default) and one number a frame. Times are counted in samples from the
//! first one pushed, so they are exact however long the file is. Every 16 ms frame is scored by earshot's network
//! (embedded, pure Rust); the frames around a voiced stretch are kept as padding, because consonants are quiet.
//!
//! Why earshot and not Silero 6: it loses fewer words. Of the 71 words of the LibriVox clips, as recorded, 30 dB down, in
//! white and pink noise at 10 dB and over the telephone, earshot with the gain below loses none, Silero (threshold 0.5, same
//! padding and pauses) three at 30 dB down, an energy detector all of them there. Silero is the better judge of music, loud
//! noise and tones: it passes none, earshot most; there the recogniser's own guards have the last word.

use super::Utterance;
use crate::audio::SPEECH_RATE;
use earshot::Detector;

/// Samples a frame: what earshot scores at once (16 ms).
const FRAME: usize = 256;
const RATE: f64 = SPEECH_RATE as f64;

/// How speech is told from the rest and where it is cut. Seconds, but for `threshold`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VadSettings {
    /// Score from which a frame counts as voice, 0 to 1.
    pub threshold: f32,
    /// Less voice than this in all is a click, not an utterance.
    pub min_speech: f64,
    /// A pause this long ends an utterance.
    pub min_silence: f64,
    /// Kept before and after the voice.
    pub pad: f64,
    /// Longest utterance. Whisper hears 30 s at once.
    pub max_utterance: f64,
}

impl Default for VadSettings {
    fn default() -> Self {
        VadSettings { threshold: 0.5, min_speech: 0.1, min_silence: 0.7, pad: 0.25, max_utterance: 28.0 }
    }
}

/// Cuts a stream of 16 kHz mono samples into utterances.
pub struct Segmenter {
    settings: VadSettings,
    detector: Box<Detector>,
    gain: AutoGain,
    /// Samples from `base` on; everything before is emitted or dropped.
    buffer: Vec<f32>,
    /// Position of `buffer[0]` in the stream.
    base: u64,
    /// End of the last utterance given out: no sample is in two of them.
    taken: u64,
    /// Samples of `buffer` that have been scored.
    scored: usize,
    /// Score and level of each frame of the utterance being heard.
    frames: Vec<Frame>,
    speech: Option<Speech>,
}

/// What is known of one frame.
#[derive(Clone, Copy)]
struct Frame {
    score: f32,
    /// Mean square.
    power: f32,
}

/// The utterance being heard. Positions in the stream.
#[derive(Clone, Copy)]
struct Speech {
    /// First sample to keep (voice less padding).
    from: u64,
    /// First voiced sample.
    voice_start: u64,
    /// End of the last voiced frame.
    voice_end: u64,
    /// Voiced frames so far.
    voiced: usize,
}

impl Segmenter {
    /// A segmenter at the start of a recording.
    pub fn new(settings: VadSettings) -> Self {
        Segmenter {
            settings,
            detector: Box::default(),
            gain: AutoGain::default(),
            buffer: Vec::new(),
            base: 0,
            taken: 0,
            scored: 0,
            frames: Vec::new(),
            speech: None,
        }
    }

    /// Takes the next samples and gives back the utterances that ended in them.
    /// Samples that are not numbers count as silence; samples beyond full scale are clipped.
    pub fn push(&mut self, samples_16k: &[f32]) -> Vec<Utterance> {
        let mut out = Vec::new();
        // In pieces, so that the buffer stays bounded when somebody pushes an hour at once.
        for piece in samples_16k.chunks(SPEECH_RATE as usize) {
            self.buffer.extend(piece.iter().map(|s| if s.is_finite() { s.clamp(-1.0, 1.0) } else { 0.0 }));
            while self.buffer.len() - self.scored >= FRAME {
                self.frame(FRAME, &mut out);
            }
        }
        out
    }

    /// Ends the recording: the last utterance, if one is being heard. The segmenter is then as new, its clock at zero.
    pub fn finish(&mut self) -> Vec<Utterance> {
        let mut out = Vec::new();
        let rest = self.buffer.len() - self.scored;
        if rest > 0 {
            self.frame(rest, &mut out);
        }
        if let Some(speech) = self.speech.take() {
            out.extend(self.emit(speech));
        }
        *self = Segmenter::new(self.settings);
        out
    }

    /// Where the speech being heard began (its voice, not the padding), seconds on this segmenter's clock. Only once
    /// there is enough of it: what this names comes out as an utterance, whatever follows.
    pub fn speaking(&self) -> Option<f64> {
        self.speech.filter(|speech| self.suffices(*speech)).map(|speech| seconds(speech.voice_start))
    }

    /// First and last voice of the speech being heard so far, seconds on this segmenter's clock. Under the same condition
    /// as [`Segmenter::speaking`], and as cheap.
    pub fn voice(&self) -> Option<(f64, f64)> {
        let speech = self.speech.filter(|speech| self.suffices(*speech))?;
        Some((seconds(speech.voice_start), seconds(speech.voice_end)))
    }

    /// Seconds that were pushed and scored.
    pub fn clock(&self) -> f64 {
        seconds(self.base + self.scored as u64)
    }

    /// The utterance being heard, up to the last whole frame, for a look at it before it ends. It stays in here; its
    /// end padding is the pause so far. Under the same condition as [`Segmenter::speaking`].
    pub fn pending(&self) -> Option<Utterance> {
        let speech = self.speech.filter(|speech| self.suffices(*speech))?;
        let to = self.base + self.scored as u64;
        let padding = (seconds(speech.voice_start - speech.from), seconds(to.saturating_sub(speech.voice_end)));
        let range = (speech.from - self.base) as usize..self.scored;
        Utterance::padded(self.buffer[range].to_vec(), seconds(speech.from), padding)
    }

    /// Whether there is enough voice for an utterance.
    fn suffices(&self, speech: Speech) -> bool {
        speech.voiced as f64 * FRAME as f64 / RATE >= self.settings.min_speech
    }

    /// Scores the next `n` samples (a whole frame, but for the last of a recording) and acts on it.
    fn frame(&mut self, n: usize, out: &mut Vec<Utterance>) {
        let mut frame = [0.0; FRAME];
        frame[..n].copy_from_slice(&self.buffer[self.scored..self.scored + n]);
        let power = frame.iter().map(|s| s * s).sum::<f32>() / FRAME as f32;
        let score = self.detector.predict_f32(&self.gain.apply(&frame, power));
        let start = self.base + self.scored as u64;
        let end = start + n as u64;
        self.scored += n;
        let voiced = score >= self.settings.threshold;

        match &mut self.speech {
            None if voiced => {
                let from = start.saturating_sub(samples(self.settings.pad)).max(self.taken);
                self.drop_before(from);
                self.frames.clear();
                self.speech = Some(Speech { from, voice_start: start, voice_end: end, voiced: 1 });
                self.frames.push(Frame { score, power });
            }
            None => {
                self.drop_before(end.saturating_sub(samples(self.settings.pad)));
            }
            Some(speech) => {
                self.frames.push(Frame { score, power });
                if voiced {
                    speech.voice_end = end;
                    speech.voiced += 1;
                }
                let speech = *speech;
                if end - speech.voice_end >= samples(self.settings.min_silence) {
                    self.speech = None;
                    out.extend(self.emit(speech));
                } else if end - speech.from >= samples(self.settings.max_utterance) {
                    self.cut(speech, end, out);
                }
            }
        }
    }

    /// The utterance has reached its longest: ends it at the best pause so far, and goes on with the rest.
    fn cut(&mut self, speech: Speech, end: u64, out: &mut Vec<Utterance>) {
        let at = speech.voice_start + (best_cut(&self.frames) * FRAME) as u64;
        let head = Speech { voice_end: at.min(speech.voice_end), ..speech };
        out.extend(self.emit_until(head, at));
        let first = ((at - speech.voice_start) as usize / FRAME).min(self.frames.len());
        self.frames.drain(..first);
        let voiced = self.frames.iter().filter(|f| f.score >= self.settings.threshold).count();
        let lead = self.frames.iter().position(|f| f.score >= self.settings.threshold).unwrap_or(0);
        self.frames.drain(..lead);
        let voice_start = at + (lead * FRAME) as u64;
        let from = voice_start.saturating_sub(samples(self.settings.pad)).max(at);
        self.drop_before(from);
        let voice_end = if voiced == 0 { voice_start } else { speech.voice_end.clamp(voice_start, end) };
        // Nothing voiced may be left behind the cut; then it is a new start, not an utterance.
        self.speech = (voiced > 0).then_some(Speech { from, voice_start, voice_end, voiced });
        if voiced == 0 {
            self.frames.clear();
        }
    }

    fn emit(&mut self, speech: Speech) -> Option<Utterance> {
        let end = self.base + self.buffer.len() as u64;
        let to = (speech.voice_end + samples(self.settings.pad)).min(end);
        let utterance = self.emit_until(speech, to);
        self.frames.clear();
        utterance
    }

    fn emit_until(&mut self, speech: Speech, to: u64) -> Option<Utterance> {
        let range = (speech.from - self.base) as usize..(to - self.base) as usize;
        let utterance = self
            .suffices(speech)
            .then(|| {
                let padding = (seconds(speech.voice_start - speech.from), seconds(to - speech.voice_end.min(to)));
                Utterance::padded(self.buffer[range].to_vec(), seconds(speech.from), padding)
            })
            .flatten();
        self.taken = to;
        self.drop_before(to);
        utterance
    }

    fn drop_before(&mut self, position: u64) {
        let n = (position.saturating_sub(self.base) as usize).min(self.scored);
        // Moving the buffer for every frame would be quadratic: let some pile up.
        if n >= FRAME * 64 || self.speech.is_none() && n >= FRAME * 16 {
            self.buffer.drain(..n);
            self.base += n as u64;
            self.scored -= n;
        }
    }
}

/// The index of the frame before which to cut when the utterance must end: the quietest 0.2 s in its last two thirds,
/// where the network's score and the level agree; later is better when equal.
pub(crate) fn best_cut_of_samples(samples: &[f32]) -> usize {
    let frames: Vec<Frame> = samples
        .chunks_exact(FRAME)
        .map(|f| Frame { score: 0.0, power: f.iter().map(|s| s * s).sum::<f32>() / FRAME as f32 })
        .collect();
    (best_cut(&frames) * FRAME).clamp(1.min(samples.len()), samples.len())
}

fn best_cut(frames: &[Frame]) -> usize {
    /// Frames that are averaged: about 0.2 s, the shortest pause that is heard as one.
    const SPAN: usize = 13;
    if frames.len() < 3 * SPAN {
        return frames.len();
    }
    let cost: Vec<f32> = frames.iter().map(|f| f.score * 20.0 + 10.0 * (f.power + 1e-9).log10()).collect();
    let last = frames.len() - SPAN;
    (frames.len() / 3..last)
        .map(|i| {
            let mean = cost[i..i + SPAN].iter().sum::<f32>() / SPAN as f32;
            // Worth up to 3 dB: a longer utterance gives Whisper more context.
            (mean - 3.0 * i as f32 / last as f32, i + SPAN / 2)
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(frames.len(), |(_, i)| i)
}

fn samples(seconds: f64) -> u64 {
    (seconds.max(0.0) * RATE).round() as u64
}

fn seconds(samples: u64) -> f64 {
    samples as f64 / RATE
}

/// Brings quiet recordings to the level that the network was trained on. Only the detector hears this.
#[derive(Default)]
struct AutoGain {
    /// Level of the loud frames of the last seconds, mean square.
    loud: f32,
}

impl AutoGain {
    fn apply(&mut self, frame: &[f32], power: f32) -> [f32; FRAME] {
        let mut out = [0.0; FRAME];
        // Rises at once, falls by half in about 7 s of frames.
        self.loud = if power > self.loud { power } else { self.loud * 0.9984 + power * 0.0016 };
        let gain = (LOUD / self.loud.max(1e-12)).sqrt().clamp(1.0, MOST_GAIN);
        for (to, from) in out.iter_mut().zip(frame) {
            *to = (from * gain).clamp(-1.0, 1.0);
        }
        out
    }
}

/// Mean square of the loud frames of ordinary speech (-18 dB of full scale).
const LOUD: f32 = 0.016;
/// 30 dB: enough for a microphone across the room, too little to make speech out of a sound card's hiss.
const MOST_GAIN: f32 = 31.6;

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in for the network's opinion: frames with this score and level.
    fn frames(of: &[(usize, f32, f32)]) -> Vec<Frame> {
        of.iter()
            .flat_map(|(n, score, power)| std::iter::repeat_n(Frame { score: *score, power: *power }, *n))
            .collect()
    }

    #[test]
    fn the_cut_is_in_the_pause_and_not_at_the_end() {
        let cut = best_cut(&frames(&[(900, 0.9, 0.01), (30, 0.1, 1e-6), (700, 0.9, 0.01)]));
        assert!((900..930).contains(&cut), "{cut}");
    }

    #[test]
    fn the_later_of_two_equal_pauses_is_taken() {
        let cut = best_cut(&frames(&[
            (700, 0.9, 0.01),
            (30, 0.1, 1e-6),
            (500, 0.9, 0.01),
            (30, 0.1, 1e-6),
            (400, 0.9, 0.01),
        ]));
        assert!((1_230..1_260).contains(&cut), "{cut}");
    }

    #[test]
    fn without_a_pause_the_quietest_place_is_taken() {
        let cut = best_cut(&frames(&[(1_000, 0.9, 0.01), (20, 0.9, 0.002), (700, 0.9, 0.01)]));
        assert!((1_000..1_020).contains(&cut), "{cut}");
    }

    #[test]
    fn silence_and_clicks_are_no_utterances_and_nothing_piles_up() {
        let mut segmenter = Segmenter::new(VadSettings::default());
        for _ in 0..600 {
            let mut second = vec![0.0f32; 16_000];
            second[8_000] = 1.0;
            assert!(segmenter.push(&second).is_empty());
            assert!(segmenter.buffer.len() < 16_000 * 2 && segmenter.frames.len() < 200);
        }
        assert!(segmenter.finish().is_empty());
    }

    #[test]
    fn anything_at_all_may_be_pushed_and_no_sample_comes_out_twice() {
        let mut segmenter = Segmenter::new(VadSettings { threshold: 0.0, ..VadSettings::default() });
        // Every frame counts as voice: cuts at the longest utterance, one after the other.
        let samples: Vec<f32> = (0..16_000 * 70 + 100)
            .map(|n| {
                if n % 4_001 == 0 {
                    f32::NAN
                } else {
                    ((n as f32) * 0.05).sin() * if n % 48_000 < 4_000 { 0.0 } else { 3.0 }
                }
            })
            .collect();
        let mut out: Vec<Utterance> = samples.chunks(999).flat_map(|c| segmenter.push(c)).collect();
        out.extend(segmenter.finish());
        let total: usize = out.iter().map(|u| u.samples().len()).sum();
        assert_eq!(total, samples.len(), "all of it, once");
        assert!(out.windows(2).all(|w| (w[0].end() - w[1].start()).abs() < 1e-9));
        assert!(out.iter().all(|u| u.seconds() <= 28.02 && u.samples().iter().all(|s| s.abs() <= 1.0)));
    }

    #[test]
    fn the_utterance_being_heard_can_be_looked_at_and_comes_out_later() {
        let settings = VadSettings { threshold: 0.0, ..VadSettings::default() };
        let mut segmenter = Segmenter::new(settings);
        let samples: Vec<f32> = (0..16_000 * 40).map(|n| ((n as f32) * 0.05).sin()).collect();
        let (mut out, mut looks) = (Vec::new(), 0);
        assert!(segmenter.push(&samples[..1_000]).is_empty());
        assert_eq!((segmenter.speaking(), segmenter.pending()), (None, None), "too little to be an utterance");
        for piece in samples[1_000..].chunks(4_000) {
            out.extend(segmenter.push(piece));
            let (Some(start), Some(pending)) = (segmenter.speaking(), segmenter.pending()) else { continue };
            looks += 1;
            // Every frame counts as voice here, so there is no padding.
            assert_eq!(start, pending.start());
            // Sums of seconds in another order: the last bits may differ.
            let (voice, spoken) = (segmenter.voice().expect("voice"), pending.speech());
            assert!((voice.0 - spoken.0).abs() < 1e-9 && (voice.1 - spoken.1).abs() < 1e-9, "{voice:?} {spoken:?}");
            assert!((segmenter.clock() - pending.end()).abs() < 1e-9);
            let from = (pending.start() * RATE) as usize;
            assert_eq!(pending.samples(), &samples[from..from + pending.samples().len()]);
            assert_eq!(pending.start(), out.last().map_or(0.0, Utterance::end));
        }
        assert!(looks > 150 && out.len() == 1, "{looks} looks, {} utterances", out.len());
        assert_eq!(segmenter.finish().first().map(Utterance::start), out.last().map(Utterance::end));
        assert_eq!(segmenter.pending(), None);
    }

    #[test]
    fn the_rest_of_a_recording_that_fills_no_frame_is_kept() {
        let mut segmenter = Segmenter::new(VadSettings { threshold: 0.0, min_speech: 0.0, ..VadSettings::default() });
        assert!(segmenter.push(&[0.1; 300]).is_empty());
        let out = segmenter.finish();
        assert_eq!(out.iter().map(|u| u.samples().len()).sum::<usize>(), 300);
        assert_eq!(segmenter.push(&[0.1; 10]).len(), 0, "as new");
    }
}
