//! From the release of the key to the text: dictation hears recordings in real time, on the same way as a microphone.
//! Beside it the time that others take to recognise the same audio, once they have all of it.

use super::clips::{Clip, load, write_wav};
use super::peer::Peer;
use super::speech::THREADS;
use super::{Bench, Figure, median, p95};
use crate::app::dictate::{Command, Dictation, Event, Opening, State};
use crate::app::models::store;
use crate::app::wer::{WordErrors, wer};
use crate::audio::SPEECH_RATE;
use crate::audio::capture::Source;
use crate::config::Config;
use crate::error::Error;
use crate::language::{Lang, LanguageChoice};
use crate::models::Role;
use crate::outcome::Style;
use crate::speech::vad::{Segmenter, VadSettings};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two sentences of a long take, seconds: a breath.
const BREATH: f64 = 0.5;
/// Kept of the silence around a recording, seconds.
const AROUND: f64 = 0.1;
/// A cleaned text that was not there in time comes within this, or not at all.
const LATE: Duration = Duration::from_millis(1_500);
/// The lengths reported: name, shortest and longest in seconds, and how many takes.
const LENGTHS: [(&str, f64, f64, usize); 4] =
    [("2 s", 1.5, 3.2, 3), ("5 s", 3.5, 6.0, 4), ("15 s", 12.0, 20.0, 2), ("60 s", 52.0, 68.0, 1)];
/// What the promise about short utterances is about, seconds.
const SHORT: std::ops::RangeInclusive<f64> = 3.0..=6.0;

/// One take to be spoken.
struct Take {
    /// Index of its length.
    length: usize,
    samples: Arc<Vec<f32>>,
    /// What is said in it.
    reference: String,
    file: PathBuf,
}

impl Take {
    fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(SPEECH_RATE)
    }

    fn errors(&self, heard: &str) -> WordErrors {
        wer(&self.reference, heard, Lang::ENGLISH)
    }
}

/// Milliseconds of one run, and how right its words were.
#[derive(Clone, Copy)]
struct Run {
    /// From the release to the text, with the tail.
    release: f64,
    /// From the end of the tail to the text.
    after_tail: f64,
    /// Whether the cleaned text came too late.
    late: bool,
    /// Of the words as recognised.
    errors: WordErrors,
}

/// Milliseconds of a peer, and how right its words were.
#[derive(Clone, Copy)]
struct Theirs {
    ms: f64,
    errors: WordErrors,
}

pub(super) async fn run(bench: &Bench<'_>) -> Result<Vec<Figure>, Error> {
    let folder = tempfile::tempdir().map_err(|error| Error::Usage(format!("no temporary folder: {error}")))?;
    let mut clips = load(bench).await?;
    clips.retain(|clip| clip.language == Lang::ENGLISH);
    let takes = takes(&clips, folder.path())?;
    let mut config = bench.loaded.config.clone();
    config.speech.threads = THREADS as u32;
    config.speech.language = LanguageChoice::Fixed(Lang::ENGLISH);
    config.dictate.data_dir = folder.path().join("data");
    config.dictate.output = format!("file:{}", folder.path().join("text").display());
    let weights = store(&config).resolve(&config.speech.model, Role::Whisper)?;
    let mut peers = Peer::installed(&weights, THREADS);
    let style = if config.cleanup.style == Style::Verbatim { Style::Punctuate } else { config.cleanup.style };
    let mut ours = Vec::new();
    for style in [Style::Verbatim, style] {
        let mut config = config.clone();
        config.cleanup.style = style;
        config.dictate.data_dir = folder.path().join(format!("data-{style:?}"));
        ours.push(Dictating::start(config, bench).await?);
    }
    let mut runs: Vec<Vec<Vec<Run>>> = vec![vec![Vec::new(); takes.len()]; ours.len()];
    let mut theirs: Vec<Vec<Vec<Theirs>>> = vec![vec![Vec::new(); takes.len()]; peers.len()];
    // Round 0 warms every engine up and does not count: one short take is enough for that.
    for round in 0..=bench.args.repeat {
        let some = if round == 0 { 1 } else { takes.len() };
        for (number, take) in takes.iter().enumerate().take(some) {
            let mut line = format!("round {round}, take {} of {}, {:.1} s:", number + 1, takes.len(), take.seconds());
            for (dictating, runs) in ours.iter_mut().zip(&mut runs) {
                let run = dictating.take(take).await?;
                line = format!("{line} {:.0} ms,", run.release);
                if round > 0 {
                    runs[number].push(run);
                }
            }
            for (peer, times) in peers.iter_mut().zip(&mut theirs) {
                let answer = tokio::task::block_in_place(|| peer.recognize(&take.file))?;
                line = format!("{line} {} {:.0} ms,", peer.name, answer.ms);
                if round > 0 {
                    times[number].push(Theirs { ms: answer.ms, errors: take.errors(&answer.text) });
                }
            }
            bench.progress.line(line.trim_end_matches(','));
        }
    }
    for dictating in ours {
        dictating.end().await?;
    }
    let names: Vec<&str> = peers.iter().map(|peer| peer.name).collect();
    Ok(Report { takes: &takes, config: &config, names, runs, theirs, style }.figures())
}

/// Short takes are recordings as they are, long ones several with a breath between.
fn takes(clips: &[Clip], folder: &std::path::Path) -> Result<Vec<Take>, Error> {
    let sentences: Vec<(Vec<f32>, &str)> =
        clips.iter().map(|clip| (trimmed(&clip.samples), clip.reference.as_str())).collect();
    let breath = vec![0.0; (BREATH * f64::from(SPEECH_RATE)) as usize];
    let seconds = |samples: &[f32]| samples.len() as f64 / f64::from(SPEECH_RATE);
    let mut takes = Vec::new();
    for (length, (name, least, most, count)) in LENGTHS.into_iter().enumerate() {
        let begun = takes.len();
        for first in 0..sentences.len() {
            // As many sentences as are needed, going round.
            let (mut samples, mut reference) = (sentences[first].0.clone(), sentences[first].1.to_owned());
            let mut next = first;
            while seconds(&samples) < least && least > 10.0 {
                next = (next + 1) % sentences.len();
                samples.extend_from_slice(&breath);
                samples.extend_from_slice(&sentences[next].0);
                reference = format!("{reference} {}", sentences[next].1);
            }
            if takes.len() - begun < count && (least..=most).contains(&seconds(&samples)) {
                let file = folder.join(format!("{}.wav", takes.len()));
                write_wav(&file, samples.iter().copied())?;
                takes.push(Take { length, samples: Arc::new(samples), reference, file });
            }
        }
        if takes.len() == begun {
            return Err(Error::Usage(format!("the manifest has no English recordings for a take of {name}")));
        }
    }
    Ok(takes)
}

/// Without the silence around it.
fn trimmed(samples: &[f32]) -> Vec<f32> {
    let mut segmenter = Segmenter::new(VadSettings { pad: 0.0, ..VadSettings::default() });
    let mut utterances = segmenter.push(samples);
    utterances.extend(segmenter.finish());
    let (Some(first), Some(last)) = (utterances.first(), utterances.last()) else { return samples.to_vec() };
    let at = |seconds: f64| (seconds.max(0.0) * f64::from(SPEECH_RATE)) as usize;
    let (from, to) = (at(first.start() - AROUND), at(last.start() + last.seconds() + AROUND));
    samples[from.min(samples.len())..to.min(samples.len())].to_vec()
}

/// A dictation without keys, windows and views.
struct Dictating {
    dictation: Dictation,
    source: watch::Sender<Source>,
    end: CancellationToken,
    tail: Duration,
}

impl Dictating {
    async fn start(config: Config, bench: &Bench<'_>) -> Result<Self, Error> {
        let (source, sources) = watch::channel(Source::Default);
        let (end, tail) = (CancellationToken::new(), Duration::from_secs_f64(config.dictate.release_tail_seconds));
        let opening = Opening { config, source: sources, notice: bench.progress.notice(), end: end.clone() };
        let mut dictation = Dictation::start(opening).await?;
        dictation.loaded().await?;
        Ok(Dictating { dictation, source, end, tail })
    }

    /// Speaks a take and lets go with its last sample.
    async fn take(&mut self, take: &Take) -> Result<Run, Error> {
        let ended = || Error::Dictation("dictation has ended".into());
        let controller = &self.dictation.controller;
        self.source.send_replace(Source::Recording(take.samples.clone()));
        let begun = Instant::now();
        controller.request(Command::Start { binding: None }).await.ok_or_else(ended)?;
        tokio::time::sleep_until(begun + Duration::from_secs_f64(take.seconds())).await;
        let mut events = controller.events();
        let released = Instant::now();
        controller.send(Command::Stop);
        let (release, errors) = loop {
            match events.recv().await {
                Ok(Event::Final { raw, .. }) => break (released.elapsed(), take.errors(&raw)),
                Ok(Event::Nothing { why, .. }) => return Err(Error::Dictation(why)),
                Ok(Event::Error { message, .. }) => return Err(Error::Dictation(message)),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(ended()),
            }
        };
        let idle = controller.status().wait_for(|status| status.state == State::Idle).await.is_ok();
        if !idle {
            return Err(ended());
        }
        let late =
            async { while !matches!(events.recv().await, Ok(Event::Cleaned { .. }) | Err(RecvError::Closed)) {} };
        let late = tokio::time::timeout(LATE, late).await.is_ok();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        Ok(Run { release: ms(release), after_tail: ms(release.saturating_sub(self.tail)), late, errors })
    }

    async fn end(self) -> Result<(), Error> {
        self.end.cancel();
        self.dictation.finish().await
    }
}

struct Report<'a> {
    takes: &'a [Take],
    config: &'a Config,
    names: Vec<&'a str>,
    /// By variant (without cleanup, with it), take and repetition.
    runs: Vec<Vec<Vec<Run>>>,
    /// By peer, take and repetition.
    theirs: Vec<Vec<Vec<Theirs>>>,
    style: Style,
}

impl Report<'_> {
    fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (variant, runs) in self.runs.iter().enumerate() {
            let name = self.variant(variant);
            for (length, (label, ..)) in LENGTHS.iter().enumerate() {
                let all = self.of(runs, length);
                let release: Vec<f64> = all.iter().map(|run| run.release).collect();
                let after: Vec<f64> = all.iter().map(|run| run.after_tail).collect();
                let mut note = format!(
                    "p95 {:.0} ms, {} takes; after the tail of {:.0} ms: median {:.0} ms, p95 {:.0} ms",
                    p95(&release),
                    all.len(),
                    self.config.dictate.release_tail_seconds * 1000.0,
                    median(&after),
                    p95(&after),
                );
                if variant > 0 {
                    let late = all.iter().filter(|run| run.late).count();
                    note = format!("{note}; cleaned too late {late} times");
                }
                for (peer, times) in self.names.iter().zip(&self.theirs) {
                    let ms: Vec<f64> = self.of(times, length).iter().map(|one| one.ms).collect();
                    note = format!("{note}; {peer} alone {:.0} ms", median(&ms));
                }
                figures.push(Figure::new(
                    format!("release to text, {label}, {name}"),
                    format!("{:.0} ms", median(&release)),
                    note,
                ));
            }
            figures.push(self.growth(variant));
        }
        figures.extend(self.against_faster_whisper());
        figures.push(self.words());
        figures
    }

    /// What it costs in words to listen phrase by phrase: the rate over all takes, beside that of others on the whole.
    fn words(&self) -> Figure {
        let ours: WordErrors = self.runs.iter().flatten().flatten().map(|run| run.errors).sum();
        let mut note = format!("word errors of all takes as recognised, {} words", ours.reference_len());
        for (peer, runs) in self.names.iter().zip(&self.theirs) {
            let errors: WordErrors = runs.iter().flatten().map(|one| one.errors).sum();
            note = format!("{note}; {peer} {:.1} %", 100.0 * errors.rate());
        }
        Figure::new("words", format!("{:.1} %", 100.0 * ours.rate()), note)
    }

    /// 60 s against 5 s.
    fn growth(&self, variant: usize) -> Figure {
        let of = |length| {
            median(&self.of(&self.runs[variant], length).iter().map(|run: &Run| run.release).collect::<Vec<_>>())
        };
        let ratio = of(3) / of(1).max(0.001);
        let note = "median of the 60 s takes over that of the 5 s takes, tail included; promised: at most 1.3";
        Figure::new(format!("60 s against 5 s, {}", self.variant(variant)), format!("{ratio:.2}x"), note)
    }

    /// Short takes without cleanup against faster-whisper's recognition.
    fn against_faster_whisper(&self) -> Option<Figure> {
        let peer = self.names.iter().position(|name| name.starts_with("faster-whisper"))?;
        let ratios: Vec<f64> = (0..self.takes.len())
            .filter(|take| SHORT.contains(&self.takes[*take].seconds()))
            .map(|take| {
                let ours: Vec<f64> = self.runs[0][take].iter().map(|run| run.after_tail).collect();
                let theirs: Vec<f64> = self.theirs[peer][take].iter().map(|one| one.ms).collect();
                median(&ours) / median(&theirs).max(0.001)
            })
            .collect();
        let worst = ratios.iter().copied().fold(0.0, f64::max);
        let note = format!(
            "text after the tail over faster-whisper's recognition alone (int8, greedy, same weights, {THREADS} threads), \
             median over {} takes of 3-6 s, worst {worst:.2}x; promised: at most 0.6",
            ratios.len()
        );
        Some(Figure::new("raw text against faster-whisper", format!("{:.2}x", median(&ratios)), note))
    }

    fn variant(&self, variant: usize) -> String {
        if variant == 0 { "raw".into() } else { format!("cleanup {:?}", self.style).to_lowercase() }
    }

    /// All repetitions of all takes of a length.
    fn of<T: Clone>(&self, by_take: &[Vec<T>], length: usize) -> Vec<T> {
        let of_length = self.takes.iter().zip(by_take).filter(|(take, _)| take.length == length);
        of_length.flat_map(|(_, runs)| runs.clone()).collect()
    }
}
