//! A recording with somebody in each channel: every channel is recognised on its own, one after the other, so that two
//! people who speak at once are both understood. What one channel only lets through of another is dropped, and what is
//! left becomes one text in order of time, with the labels of the channels.
//!
//! ```text
//! survey -> one signal: as any recording (dual mono is no conversation)
//!        `-> for each channel [decode -> recognise] -> bleed dropped -> for each channel [clean, translate] -> merged
//! ```
//!
//! Text waits for the last channel: what is bleed is known when all are heard. Events come when their place in the
//! recording is known: one after the other at the end, but for progress.

use super::bleed::{self, is_bleed};
use super::decide::decide_and_answer;
use super::decode::{Count, Decoded, Recording, decode};
use super::listen::{Utterances, recognize, warn_about_speech};
use super::notes::{Notes, ms};
use super::write::{Spoken, weaker, write};
use super::{Checkpoint, Event, LANGUAGE_HEARD, Parts, Run, Written, assemble, run_signal, warn_about_damage};
use crate::audio::{self, AudioError, Channels, Survey};
use crate::error::Error;
use crate::language::Lang;
use crate::outcome::*;
use crate::speech::{Segment, Transcript};
use std::time::Instant;
use tokio::sync::mpsc;

/// One recording, a text for each of its channels.
pub(super) async fn run(run: Run<'_>, recording: Recording, name: &str) -> Result<Outcome, Error> {
    let started = Instant::now();
    let (kept, settings, survey) = look(run, recording).await?;
    let again = |channels| Recording {
        input: kept.input.clone(),
        settings: audio::DecodeSettings { channels, ..settings.clone() },
    };
    let distinct = survey.distinct();
    if let [only] = distinct[..] {
        let channels = if survey.channels() == 1 { Channels::Average } else { Channels::One(only) };
        return run_signal(run, again(channels), name, started).await;
    }
    let notes = Notes::default();
    notes.time(|timings| timings.decode_ms = Some(ms(started)));
    let mut heard: Vec<Heard> = Vec::new();
    for (nth, channel) in distinct.iter().enumerate() {
        // Progress goes once from the start to the end of the recording.
        let (share, before) = (1.0 / distinct.len() as f64, survey.seconds() * nth as f64);
        let observer = |event: Event<'_>| match event {
            Event::Opened { .. } if nth == 0 => (run.observer)(event),
            Event::Progress { seconds } => (run.observer)(Event::Progress { seconds: (before + seconds) * share }),
            Event::Warning(_) => (run.observer)(event),
            _ => {}
        };
        let own = OfChannel { checkpoint: run.checkpoint, channel: *channel as u64 };
        let of_channel = Run { observer: &observer, checkpoint: own.checkpoint.map(|_| &own as _), ..run };
        match hear(of_channel, again(Channels::One(*channel)), *channel, &notes).await {
            Ok(one) => heard.push(one),
            // Given up half-way: what was recognised is delivered.
            Err(_) if run.cancel.is_cancelled() && heard.iter().any(|one| !one.parts.is_empty()) => break,
            Err(error) => return Err(error),
        }
    }
    if run.cancel.is_cancelled() {
        let message = format!("interrupted; {} of {} channels are recognised or begun", heard.len(), distinct.len());
        notes.warn(run, Warning::new(WarningCode::Interrupted, message));
    }
    drop_bleed(&mut heard, &survey);
    let order = order(&heard);
    let transcript = label_and_merge(run, &mut heard, &order);
    run.heard.inspect(|heard| heard());
    warn_about_speech(run, &transcript, &notes);
    let ((intent, reply), (cleaned, translated)) =
        tokio::join!(decide_and_answer(run, &transcript, &notes), write_all(run, &heard, &order, &notes));
    heard.iter().for_each(|one| warn_about_damage(run, &one.decoded, &notes));
    let seconds = heard.iter().map(|one| one.decoded.seconds).fold(0.0, f64::max);
    notes.time(|timings| {
        timings.audio_s = seconds;
        let sum = |of: fn(&Decoded) -> f64| heard.iter().map(|one| of(&one.decoded)).sum::<f64>();
        timings.decode_ms = Some(timings.decode_ms.unwrap_or_default() + sum(|decoded| decoded.decode_ms));
        timings.vad_ms = Some(sum(|decoded| decoded.vad_ms));
    });
    let format = heard.first().map(|one| one.decoded.format.clone());
    let source = SourceInfo { name: name.to_owned(), duration: Some(seconds), format };
    let parts = Parts { source, transcript, cleaned, translated, intent, reply };
    Ok(assemble(parts, notes, started))
}

/// Surveys the recording, copied where it can be read only once.
async fn look(
    run: Run<'_>,
    Recording { input, settings }: Recording,
) -> Result<(audio::Rereadable, audio::DecodeSettings, Survey), Error> {
    let cancel = run.cancel.clone();
    let work = tokio::task::spawn_blocking(move || {
        let kept = audio::rereadable(input, &settings)?;
        let survey = audio::survey(&kept.input, &settings, &|| cancel.is_cancelled())?;
        Ok((kept, settings, survey))
    });
    // A pipe that says nothing must not keep a run that was given up.
    let Some(looked) = run.cancel.run_until_cancelled(work).await else { return Err(Error::Interrupted) };
    match looked.map_err(|panic| Error::Usage(format!("decoding failed unexpectedly: {panic}")))? {
        Err(AudioError::Cancelled) => Err(Error::Interrupted),
        looked => Ok(looked?),
    }
}

/// What was heard in one channel.
struct Heard {
    channel: usize,
    label: String,
    decoded: Decoded,
    /// Utterance by utterance.
    parts: Vec<Spoken>,
}

impl Heard {
    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.parts.iter().flat_map(|part| &part.segments)
    }
}

async fn hear(run: Run<'_>, recording: Recording, channel: usize, notes: &Notes) -> Result<Heard, Error> {
    let (utterances_in, utterances) = mpsc::channel(4);
    let (spoken_in, mut spoken) = mpsc::unbounded_channel();
    let (count, counted) = Count::new();
    let listening = recognize(run, Utterances { found: utterances, counted }, spoken_in, notes);
    let (decoded, transcript) = tokio::join!(decode(run, recording, utterances_in, count), listening);
    // As for one signal: the recogniser's error is the cause.
    let transcript = transcript?;
    let decoded = match decoded {
        Err(Error::Interrupted) if !transcript.segments.is_empty() => Decoded::interrupted(transcript.end()),
        decoded => decoded?,
    };
    let mut parts = Vec::new();
    while let Ok(part) = spoken.try_recv() {
        parts.push(part);
    }
    let label = run.plan.speakers.get(channel).map(|label| label.trim()).filter(|label| !label.is_empty());
    let label = label.map_or_else(|| format!("Speaker {}", channel + 1), ToOwned::to_owned);
    Ok(Heard { channel, label, decoded, parts })
}

fn drop_bleed(heard: &mut [Heard], survey: &Survey) {
    let of_one = |one: &'_ Heard| -> Vec<(usize, Segment)> {
        one.segments().map(|segment| (one.channel, segment.clone())).collect()
    };
    let all: Vec<(usize, Segment)> = heard.iter().flat_map(of_one).collect();
    let all: Vec<_> = all.iter().map(|(channel, segment)| bleed::Heard { channel: *channel, segment }).collect();
    for one in heard {
        let channel = one.channel;
        for part in &mut one.parts {
            part.segments.retain(|segment| !is_bleed(&bleed::Heard { channel, segment }, &all, survey));
        }
        one.parts.retain(|part| !part.segments.is_empty());
    }
}

/// Which segment of which channel comes when: by start; of two that start together the lower channel's.
fn order(heard: &[Heard]) -> Vec<(usize, usize)> {
    let starts: Vec<Vec<f64>> = heard.iter().map(|one| one.segments().map(|segment| segment.start).collect()).collect();
    let mut order: Vec<(usize, usize)> =
        starts.iter().enumerate().flat_map(|(one, starts)| (0..starts.len()).map(move |at| (one, at))).collect();
    order.sort_by(|a, b| starts[a.0][a.1].total_cmp(&starts[b.0][b.1]));
    order
}

/// The lists in that order; by start where they do not have one item a segment.
fn in_order<T: Clone>(lists: &[Vec<T>], order: &[(usize, usize)], start: impl Fn(&T) -> f64) -> Vec<T> {
    if lists.iter().map(Vec::len).sum::<usize>() == order.len() && order.iter().all(|(one, at)| lists[*one].len() > *at)
    {
        return order.iter().map(|(one, at)| lists[*one][*at].clone()).collect();
    }
    let mut items = lists.concat();
    items.sort_by(|a, b| start(a).total_cmp(&start(b)));
    items
}

fn label_and_merge(run: Run<'_>, heard: &mut [Heard], order: &[(usize, usize)]) -> Transcript {
    for one in heard.iter_mut() {
        for segment in one.parts.iter_mut().flat_map(|part| &mut part.segments) {
            segment.speaker = Some(one.label.clone());
        }
    }
    let lists: Vec<Vec<Segment>> = heard.iter().map(|one| one.segments().cloned().collect()).collect();
    let transcript = Transcript { language: language(heard), segments: in_order(&lists, order, |s| s.start) };
    if let Some(language) = transcript.language {
        (run.observer)(Event::Language(language));
    }
    transcript.segments.iter().for_each(|segment| (run.observer)(Event::Segment(segment)));
    transcript
}

/// The language that is spoken longest.
fn language(heard: &[Heard]) -> Option<Lang> {
    let mut spoken: Vec<(Lang, f64)> = Vec::new();
    for part in heard.iter().flat_map(|one| &one.parts) {
        let seconds: f64 = part.segments.iter().map(|segment| segment.end - segment.start).sum();
        match spoken.iter_mut().find(|(lang, _)| *lang == part.lang) {
            Some((_, sum)) => *sum += seconds,
            None => spoken.push((part.lang, seconds)),
        }
    }
    spoken.into_iter().rev().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(lang, _)| lang)
}

/// Cleanup and translation of each channel, whose sentences go on across what others say in between.
async fn write_all(
    run: Run<'_>,
    heard: &[Heard],
    order: &[(usize, usize)],
    notes: &Notes,
) -> (Option<Cleaned>, Option<Track>) {
    let observer = |event: Event<'_>| {
        if let Event::Warning(_) = event {
            (run.observer)(event);
        }
    };
    let (mut cleaned, mut translated, mut engine) = (Vec::new(), Vec::new(), CleanEngine::None);
    let mut any_translated = false;
    for one in heard {
        let own = OfChannel { checkpoint: run.checkpoint, channel: one.channel as u64 };
        let of_channel = Run { observer: &observer, checkpoint: own.checkpoint.map(|_| &own as _), ..run };
        let (spoken_in, spoken) = mpsc::unbounded_channel();
        for part in &one.parts {
            // The receiver lives until `write` returns, so this cannot fail.
            let _ = spoken_in.send(part.clone());
        }
        drop(spoken_in);
        let (clean, translation) = write(of_channel, spoken, notes).await;
        let labelled = |cue: Cue| Cue { speaker: Some(one.label.clone()), ..cue };
        let mut own_words: Vec<Cue> = Vec::new();
        if let Some(clean) = clean {
            engine = weaker(engine, clean.engine);
            own_words = clean.track.cues.into_iter().map(labelled).collect();
        }
        any_translated |= translation.is_some();
        // As within a channel: what could not be translated keeps its own words.
        let other_words = translation.map(|track| track.cues.into_iter().map(labelled).collect());
        translated.push(other_words.unwrap_or_else(|| own_words.clone()));
        cleaned.push(own_words);
    }
    let Some(lang) = language(heard) else { return (None, None) };
    let merged = |lists: &[Vec<Cue>]| {
        let mut cues = in_order(lists, order, |cue| cue.start);
        for at in 1..cues.len() {
            cues[at].paragraph |= cues[at].speaker != cues[at - 1].speaker;
        }
        cues
    };
    let cleaned = Cleaned { style: run.plan.clean, engine, track: Track::new(lang, merged(&cleaned)) };
    (run.observer)(Event::Cleaned(&cleaned.track.cues));
    let translated = run.plan.translate.filter(|_| any_translated).map(|to| Track::new(to, merged(&translated)));
    if let Some(track) = &translated {
        (run.observer)(Event::Translated(&track.cues));
    }
    (Some(cleaned), translated)
}

/// One channel's part of what is kept: utterances of two channels may start at the same sample.
struct OfChannel<'a> {
    checkpoint: Option<&'a dyn Checkpoint>,
    channel: u64,
}

impl OfChannel<'_> {
    /// 2⁴⁸ samples are 557 years, and up to 2¹⁴ channels leave the number in a signed 64-bit column. What is kept under
    /// no sample counts down from its number.
    fn key(&self, utterance: u64) -> u64 {
        if utterance == LANGUAGE_HEARD { utterance - self.channel } else { self.channel << 48 | utterance }
    }
}

impl Checkpoint for OfChannel<'_> {
    fn recall(&self, utterance: u64) -> Option<Transcript> {
        self.checkpoint?.recall(self.key(utterance))
    }

    fn keep(&self, utterance: u64, part: &Transcript) {
        if let Some(checkpoint) = self.checkpoint {
            checkpoint.keep(self.key(utterance), part);
        }
    }

    fn recall_written(&self, utterance: u64) -> Option<Written> {
        self.checkpoint?.recall_written(self.key(utterance))
    }

    fn keep_written(&self, utterance: u64, written: &Written) {
        if let Some(checkpoint) = self.checkpoint {
            checkpoint.keep_written(self.key(utterance), written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::surveyed;
    use crate::text::clean::MoreFollows;
    use std::collections::HashMap;
    use std::sync::Mutex;

    fn heard(channel: usize, lang: Lang, parts: &[&[(f64, f64, &str)]]) -> Heard {
        let segment = |(start, end, text): &(f64, f64, &str)| Segment {
            start: *start,
            end: *end,
            text: (*text).to_owned(),
            ..Segment::default()
        };
        let part = |part: &&[(f64, f64, &str)]| Spoken {
            utterance: Some(0),
            segments: part.iter().map(segment).collect(),
            lang,
            more_follows: MoreFollows::No,
        };
        let parts = parts.iter().map(part).collect();
        Heard { channel, label: format!("Speaker {}", channel + 1), decoded: Decoded::interrupted(0.0), parts }
    }

    #[test]
    fn what_is_heard_is_put_in_order_and_keeps_its_own_cue() {
        let german = "de".parse().expect("a language");
        let all = [
            heard(0, Lang::ENGLISH, &[&[(0.0, 2.0, "a"), (5.0, 6.0, "c")], &[(5.5, 9.0, "e")]]),
            heard(2, german, &[&[(3.0, 4.0, "b"), (5.0, 5.2, "d")]]),
        ];
        let order = order(&all);
        let segments: Vec<Vec<&str>> =
            all.iter().map(|one| one.segments().map(|s| s.text.as_str()).collect()).collect();
        assert_eq!(in_order(&segments, &order, |_| 0.0), ["a", "b", "c", "d", "e"]);
        assert_eq!(language(&all), Some(Lang::ENGLISH), "spoken longest");
        // Lists that lost an item go by their times.
        let times = [vec![0.0, 5.0], vec![3.0, 4.0]];
        assert_eq!(in_order(&times, &order, |time| *time), [0.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn a_copy_in_the_other_channel_is_dropped_with_its_utterance() {
        let (voice, other) = (surveyed::voice(1, 4, 0.5), surveyed::voice(2, 4, 0.5));
        let faint = |samples: &[f32]| samples.iter().map(|sample| sample * 0.056).collect::<Vec<f32>>();
        let survey = surveyed::of(&[[voice.clone(), faint(&other)].concat(), [faint(&voice), other].concat()]);
        let mut all = [
            heard(0, Lang::ENGLISH, &[&[(0.0, 4.0, "good morning")], &[(4.0, 8.0, "hello to you")]]),
            heard(1, Lang::ENGLISH, &[&[(0.0, 4.0, "could mourning")], &[(4.0, 8.0, "hello to you too")]]),
        ];
        drop_bleed(&mut all, &survey);
        let left: Vec<Vec<&str>> = all.iter().map(|one| one.segments().map(|s| s.text.as_str()).collect()).collect();
        assert_eq!(left, [["good morning"], ["hello to you too"]]);
        assert!(all.iter().all(|one| one.parts.len() == 1));
    }

    #[derive(Default)]
    struct Memory(Mutex<HashMap<u64, Transcript>>);

    impl Checkpoint for Memory {
        fn recall(&self, utterance: u64) -> Option<Transcript> {
            self.0.lock().unwrap().get(&utterance).cloned()
        }
        fn keep(&self, utterance: u64, part: &Transcript) {
            self.0.lock().unwrap().insert(utterance, part.clone());
        }
        fn recall_written(&self, _: u64) -> Option<Written> {
            None
        }
        fn keep_written(&self, _: u64, _: &Written) {}
    }

    #[test]
    fn channels_share_nothing_that_is_kept() {
        let memory = Memory::default();
        let of = |channel| OfChannel { checkpoint: Some(&memory), channel };
        let text = |text: &str| Transcript {
            segments: vec![Segment { text: text.into(), ..Segment::default() }],
            ..Transcript::default()
        };
        of(0).keep(8000, &text("one"));
        of(1).keep(8000, &text("two"));
        of(1).keep_language("de".parse().expect("a language"));
        assert_eq!(of(0).recall(8000), Some(text("one")));
        assert_eq!(of(1).recall(8000), Some(text("two")));
        assert_eq!((of(0).recall_language(), of(1).recall_language()), (None, "de".parse().ok()));
        assert!(memory.0.lock().unwrap().keys().all(|key| i64::try_from(*key).is_ok()));
    }
}
