//! Warm recognition of short clips: ours, whisper.cpp's defaults and faster-whisper, on the same weights and threads.

use super::clips::{Clip, load, write_wav};
use super::peer::Peer;
use super::{Bench, Figure, median};
use crate::app::models::store;
use crate::app::wer::{WordErrors, wer};
use crate::error::Error;
use crate::language::{Lang, LanguageChoice};
use crate::models::Role;
use crate::speech::whisper::{Model, ModelSettings};
use crate::speech::worker::{PoolSettings, Recognizers};
use crate::speech::{SpeechOptions, Utterance};
use std::path::PathBuf;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Threads of every engine in this comparison.
pub(super) const THREADS: usize = 2;

/// Speech over noise in the noisy copies, dB: a busy office.
const NOISE_DB: f64 = 15.0;

/// The clip in white noise, the same at every run.
fn with_noise(clip: &Clip, snr_db: f64) -> Clip {
    let power =
        clip.samples.iter().map(|sample| f64::from(sample * sample)).sum::<f64>() / clip.samples.len().max(1) as f64;
    // Uniform noise in -a to a has the power a²/3.
    let amplitude = (3.0 * power * 10f64.powf(-snr_db / 10.0)).sqrt() as f32;
    let mut random = fastrand::Rng::with_seed(clip.samples.len() as u64);
    let samples = clip.samples.iter().map(|sample| sample + amplitude * (2.0 * random.f32() - 1.0)).collect();
    Clip { samples, ..clip.clone() }
}

/// Milliseconds and text by clip.
struct Column {
    name: String,
    runs: Vec<Vec<f64>>,
    texts: Vec<String>,
}

impl Column {
    fn new(name: &str, clips: usize) -> Self {
        Column { name: name.to_owned(), runs: vec![Vec::new(); clips], texts: vec![String::new(); clips] }
    }

    fn add(&mut self, clip: usize, ms: f64, text: String) {
        self.runs[clip].push(ms);
        self.texts[clip] = text;
    }

    fn medians(&self) -> Vec<f64> {
        self.runs.iter().map(|runs| median(runs)).collect()
    }

    fn errors(&self, clips: &[Clip]) -> f64 {
        let mut total = WordErrors::default();
        for (clip, text) in clips.iter().zip(&self.texts) {
            total += wer(&clip.reference, text, clip.language);
        }
        total.rate() * 100.0
    }
}

pub(super) async fn run(bench: &Bench<'_>) -> Result<Vec<Figure>, Error> {
    let mut clips = load(bench).await?;
    clips.retain(|clip| clip.language == Lang::ENGLISH && (2.0..=10.0).contains(&clip.seconds()));
    if clips.is_empty() {
        return Err(Error::Usage("the manifest has no English recording of 2 to 10 s".into()));
    }
    // Each again in noise: more words, so that one of them does not make half a point, and the harder half of real life.
    let noisy: Vec<Clip> = clips.iter().map(|clip| with_noise(clip, NOISE_DB)).collect();
    clips.extend(noisy);
    let folder = tempfile::tempdir().map_err(|error| Error::Usage(format!("no temporary folder: {error}")))?;
    let mut files: Vec<PathBuf> = Vec::new();
    for (number, clip) in clips.iter().enumerate() {
        files.push(folder.path().join(format!("{number}.wav")));
        write_wav(&files[number], clip.samples.iter().copied())?;
    }
    let spec = &bench.loaded.config.speech.model;
    let path = store(&bench.loaded.config).resolve(spec, Role::Whisper)?;
    let pool = PoolSettings { recognizers: 1, threads_each: THREADS, queue: 1 };
    let ours = Recognizers::start(Model::load(&ModelSettings::new(&path))?, pool)?;
    let mut peers = Peer::installed(&path, THREADS);
    let mut columns: Vec<Column> = vec![Column::new("bestbox", clips.len())];
    columns.extend(peers.iter().map(|peer| Column::new(peer.name, clips.len())));
    // Round 0 warms every engine up and does not count.
    for round in 0..=bench.args.repeat {
        for (number, clip) in clips.iter().enumerate() {
            bench.progress.line(&format!("round {round}, clip {} of {}", number + 1, clips.len()));
            let (ms, text) = recognize(&ours, clip).await?;
            if round > 0 {
                columns[0].add(number, ms, text);
            }
            for (peer, column) in peers.iter_mut().zip(&mut columns[1..]) {
                let answer = tokio::task::block_in_place(|| peer.recognize(&files[number]))?;
                if round > 0 {
                    column.add(number, answer.ms, answer.text);
                }
            }
        }
    }
    Ok(report(&columns, &clips, spec, bench.args.repeat))
}

async fn recognize(ours: &Recognizers, clip: &Clip) -> Result<(f64, String), Error> {
    let options = SpeechOptions { language: LanguageChoice::Fixed(clip.language), ..SpeechOptions::default() };
    let begun = Instant::now();
    let Some(utterance) = Utterance::whole(clip.samples.clone(), 0.0) else { return Ok((0.0, String::new())) };
    let transcript = ours.recognize(utterance, options, CancellationToken::new()).await?;
    Ok((begun.elapsed().as_secs_f64() * 1000.0, transcript.text()))
}

fn report(columns: &[Column], clips: &[Clip], model: &str, repeat: usize) -> Vec<Figure> {
    let seconds: f64 = clips.iter().map(Clip::seconds).sum();
    let base = columns[0].medians();
    let mut figures = Vec::new();
    for column in columns {
        let medians = column.medians();
        let total: f64 = medians.iter().sum();
        let ratios: Vec<f64> = medians.iter().zip(&base).map(|(theirs, ours)| theirs / ours).collect();
        let note = format!(
            "{} clips of 2-10 s ({seconds:.0} s; half of them in noise at {NOISE_DB:.0} dB), {model}, {THREADS} threads, median of {repeat}; WER {:.1} %; {:.2}x bestbox's time (median over clips)",
            clips.len(),
            column.errors(clips),
            median(&ratios),
        );
        figures.push(Figure::new(
            format!("recognition, {}", column.name),
            format!("{:.0} ms a clip", total / clips.len() as f64),
            note,
        ));
    }
    if columns.len() < 3 {
        let note = "run bench/setup-peers to compare with whisper.cpp's defaults and faster-whisper";
        figures.push(Figure::new("peers", format!("{} of 2", columns.len() - 1), note));
    }
    figures
}
