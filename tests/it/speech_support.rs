//! What the speech tests share: recordings, generated sounds, the model, word error rate.

use bestbox::speech::vad::{Segmenter, VadSettings};
use bestbox::speech::whisper::{Model, ModelSettings, WhisperRecognizer, default_threads};
use bestbox::speech::{Recognizer, SpeechOptions, Transcript, Utterance};
use std::f64::consts::TAU;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

pub const RATE: f64 = 16_000.0;

/// Whether `make test-long` is running.
pub fn long() -> bool {
    std::env::var_os("BESTBOX_LONG").is_some_and(|v| v == "1")
}

/// A model file of the cache. Fails, never skips.
pub fn model_file(name: &str) -> PathBuf {
    let cache = std::env::var_os("BESTBOX_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache").join("bestbox")
    });
    let file = cache.join("models").join(name);
    assert!(file.is_file(), "{} is missing: run make setup", file.display());
    file
}

/// Work on the default speech model. One at a time: two recognisers on two cores only get in each other's way.
pub fn with_base<T>(work: impl FnOnce(&mut WhisperRecognizer) -> T) -> T {
    static BASE: LazyLock<Mutex<WhisperRecognizer>> = LazyLock::new(|| Mutex::new(recognizer("ggml-base-q8_0.bin")));
    work(&mut BASE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Work on the English-only model.
pub fn with_tiny_en<T>(work: impl FnOnce(&mut WhisperRecognizer) -> T) -> T {
    static TINY: LazyLock<Mutex<WhisperRecognizer>> = LazyLock::new(|| Mutex::new(recognizer("ggml-tiny.en-q8_0.bin")));
    work(&mut TINY.lock().unwrap_or_else(PoisonError::into_inner))
}

pub fn load(name: &str) -> Model {
    Model::load(&ModelSettings::new(model_file(name))).expect("the model loads")
}

fn recognizer(name: &str) -> WhisperRecognizer {
    WhisperRecognizer::new(load(name), default_threads()).expect("there is memory for a recogniser")
}

/// The LibriVox clips of samples/: name, samples, what is said.
pub fn clips() -> Vec<(String, Vec<f32>, String)> {
    let table = std::fs::read_to_string(sample("librivox/transcription.tsv")).expect("the transcription is there");
    table
        .lines()
        .map(|line| {
            let (name, text) = line.split_once('\t').expect("name, tab, text");
            (name.to_owned(), wav(&format!("librivox/{name}.wav")), text.to_owned())
        })
        .collect()
}

pub fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples").join(name)
}

/// A 16 kHz mono WAV file of samples/.
pub fn wav(name: &str) -> Vec<f32> {
    read(&sample(name))
}

/// A 16 kHz mono WAV file.
pub fn read(file: &std::path::Path) -> Vec<f32> {
    let name = file.display();
    let mut reader = hound::WavReader::open(file).expect("a WAV file");
    assert_eq!((reader.spec().sample_rate, reader.spec().channels), (16_000, 1), "{name}");
    reader.samples::<i16>().map(|s| f32::from(s.expect("a sample")) / 32_768.0).collect()
}

/// Every utterance of a recording, with the default settings, pushed in blocks as a decoder would.
pub fn utterances(samples: &[f32]) -> Vec<Utterance> {
    let mut segmenter = Segmenter::new(VadSettings::default());
    let mut out: Vec<Utterance> = samples.chunks(1_777).flat_map(|block| segmenter.push(block)).collect();
    out.extend(segmenter.finish());
    out
}

/// The whole way: segmenter, then recogniser.
pub fn transcribe(recognizer: &mut WhisperRecognizer, samples: &[f32], options: &SpeechOptions) -> Transcript {
    let mut whole = Transcript::default();
    for utterance in utterances(samples) {
        let part = recognizer.recognize(&utterance, options, &CancellationToken::new()).expect("it is recognised");
        whole.language = whole.language.or(part.language);
        whole.segments.extend(part.segments);
    }
    whole
}

/// Lower case, no punctuation, one spelling: enough for these clips.
pub fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .replace("mister", "mr")
        .replace('-', " ")
        .split_whitespace()
        .map(|w| w.chars().filter(|c| c.is_alphanumeric()).collect())
        .filter(|w: &String| !w.is_empty())
        .collect()
}

/// Word errors (substitutions, insertions, deletions) and words of the reference.
pub fn word_errors(reference: &str, heard: &str) -> (usize, usize) {
    let (reference, heard) = (words(reference), words(heard));
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, word) in reference.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in heard.iter().enumerate() {
            let best = (diagonal + usize::from(word != other)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    (row[heard.len()], reference.len())
}

/// White noise of a root mean square, the same every time.
pub fn white(seconds: f64, rms: f32) -> Vec<f32> {
    let mut random = Random(0x1234_5678_9ABC_DEF1);
    (0..(seconds * RATE) as usize).map(|_| random.gauss() * rms).collect()
}

/// Pink noise (3 dB less an octave): Paul Kellet's filter over white noise.
pub fn pink(seconds: f64, rms: f32) -> Vec<f32> {
    let mut b = [0.0f32; 3];
    let raw: Vec<f32> = white(seconds, 1.0)
        .into_iter()
        .map(|w| {
            b[0] = 0.99765 * b[0] + w * 0.099_046;
            b[1] = 0.963 * b[1] + w * 0.296_516_4;
            b[2] = 0.57 * b[2] + w * 1.052_691_3;
            b[0] + b[1] + b[2] + w * 0.1848
        })
        .collect();
    scaled(&raw, rms)
}

/// Mains hum: 50 Hz and its overtones.
pub fn hum(seconds: f64, rms: f32) -> Vec<f32> {
    let wave = |t: f64| {
        [(50.0, 1.0), (100.0, 0.6), (150.0, 0.4), (250.0, 0.2)]
            .map(|(f, a)| a * (TAU * f * t).sin())
            .iter()
            .sum::<f64>()
    };
    scaled(&generate(seconds, wave), rms)
}

/// A telephone that rings: 440 and 480 Hz, two seconds on, one off.
pub fn ringing(seconds: f64, rms: f32) -> Vec<f32> {
    let wave = |t: f64| if t % 3.0 < 2.0 { (TAU * 440.0 * t).sin() + (TAU * 480.0 * t).sin() } else { 0.0 };
    scaled(&generate(seconds, wave), rms)
}

/// Chords, a melody with vibrato, kick, snare and hi-hat at 120 beats a minute.
pub fn music(seconds: f64, rms: f32) -> Vec<f32> {
    let mut random = Random(7);
    let chords = [[220.0, 261.6, 329.6], [174.6, 220.0, 261.6], [261.6, 329.6, 392.0], [196.0, 246.9, 293.7]];
    let melody = [659.3, 587.3, 523.3, 587.3, 659.3, 784.0, 880.0, 784.0];
    let mut phase = 0.0;
    let raw: Vec<f32> = (0..(seconds * RATE) as usize)
        .map(|n| {
            let t = n as f64 / RATE;
            let beat = t * 2.0;
            let (in_beat, number) = (beat.fract(), beat as usize);
            let chord: f64 =
                chords[number / 4 % 4].iter().map(|f| (TAU * f * t).sin() + 0.3 * (TAU * 2.0 * f * t).sin()).sum();
            phase += melody[number % 8] * (1.0 + 0.01 * (TAU * 5.5 * t).sin()) / RATE;
            let lead = ((TAU * phase).sin() + 0.4 * (2.0 * TAU * phase).sin() + 0.2 * (3.0 * TAU * phase).sin())
                * (-2.0 * in_beat).exp();
            let kick = (TAU * 60.0 * in_beat / 2.0).sin() * (-12.0 * in_beat).exp();
            let noise = f64::from(random.gauss());
            let snare = if number % 2 == 1 { noise * (-10.0 * in_beat).exp() } else { 0.0 };
            let hat = noise * (-40.0 * (beat * 2.0).fract()).exp() * 0.3;
            (0.25 * chord + 0.8 * lead + 1.5 * kick + 0.5 * snare + hat) as f32
        })
        .collect();
    scaled(&raw, rms)
}

fn generate(seconds: f64, wave: impl Fn(f64) -> f64) -> Vec<f32> {
    (0..(seconds * RATE) as usize).map(|n| wave(n as f64 / RATE) as f32).collect()
}

/// Root mean square.
pub fn rms(samples: &[f32]) -> f32 {
    (samples.iter().map(|s| s * s).sum::<f32>() / samples.len().max(1) as f32).sqrt()
}

/// The same sound at another level.
pub fn scaled(samples: &[f32], to: f32) -> Vec<f32> {
    let gain = to / rms(samples).max(1e-9);
    samples.iter().map(|s| (s * gain).clamp(-1.0, 1.0)).collect()
}

/// Telephone band: 300 to 3,400 Hz, second-order sections (RBJ's cookbook), twice.
pub fn telephone(samples: &[f32]) -> Vec<f32> {
    let pass = |x: &[f32], hz: f64, high: bool| -> Vec<f32> {
        let w = TAU * hz / RATE;
        let alpha = w.sin() / (2.0 * std::f64::consts::FRAC_1_SQRT_2);
        let c = w.cos();
        let (b0, b1) = if high { ((1.0 + c) / 2.0, -(1.0 + c)) } else { ((1.0 - c) / 2.0, 1.0 - c) };
        let (a0, a1, a2) = (1.0 + alpha, -2.0 * c, 1.0 - alpha);
        let (mut x1, mut x2, mut y1, mut y2) = (0.0, 0.0, 0.0, 0.0);
        x.iter()
            .map(|&s| {
                let s = f64::from(s);
                let y = (b0 * s + b1 * x1 + b0 * x2 - a1 * y1 - a2 * y2) / a0;
                (x2, x1, y2, y1) = (x1, s, y1, y);
                y as f32
            })
            .collect()
    };
    let once = pass(&pass(samples, 300.0, true), 3_400.0, false);
    pass(&pass(&once, 300.0, true), 3_400.0, false)
}

/// Two sounds at once; the shorter ends early.
pub fn mixed(a: &[f32], b: &[f32]) -> Vec<f32> {
    (0..a.len().max(b.len())).map(|i| (a.get(i).unwrap_or(&0.0) + b.get(i).unwrap_or(&0.0)).clamp(-1.0, 1.0)).collect()
}

/// xorshift64*: the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Standard normal, near enough: the sum of twelve.
    pub fn gauss(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}
