//! The flow for somebody who is still speaking: utterances come recognised, one by one, from a front end that listens
//! itself; each is cleaned and translated at once, so that little is left to do when the last one has come.

use super::decide::decide_and_answer;
use super::listen::warn_about_speech;
use super::notes::Notes;
use super::write::{Spoken, write};
use super::{Event, Parts, Run, assemble};
use crate::language::Lang;
use crate::outcome::{Outcome, SourceInfo, Warning, WarningCode};
use crate::speech::Transcript;
use crate::text::clean::MoreFollows;
use std::time::Instant;
use tokio::sync::mpsc;

/// An utterance that was recognised.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its text, times on the clock of the recording; may be empty.
    pub part: Transcript,
    /// Whether the speaker may go on in the same sentence.
    pub more_follows: MoreFollows,
}

/// Utterances, in order, to the outcome. Complete once the sender of `heard` is gone and everything is written; never
/// fails, as the words are there already.
///
/// The intent needs all of the words: it is asked for when the sender is gone.
pub async fn run_live(run: Run<'_>, mut heard: mpsc::UnboundedReceiver<Live>, name: &str) -> Outcome {
    let started = Instant::now();
    let _busy = run.engine.busy();
    let notes = Notes::default();
    let (spoken_in, spoken) = mpsc::unbounded_channel();
    let listening = async {
        let mut transcript = Transcript::default();
        while let Some(Live { part, more_follows }) = heard.recv().await {
            if part.segments.is_empty() {
                continue;
            }
            let lang = part.language.or(transcript.language).unwrap_or(Lang::ENGLISH);
            if transcript.language.is_none() {
                transcript.language = Some(lang);
                (run.observer)(Event::Language(lang));
            }
            for segment in &part.segments {
                (run.observer)(Event::Segment(segment));
            }
            // The receiver lives as long as this: both are halves of one join.
            let _ = spoken_in.send(Spoken { utterance: None, segments: part.segments.clone(), lang, more_follows });
            transcript.segments.extend(part.segments);
        }
        drop(spoken_in);
        let (intent, reply) = decide_and_answer(run, &transcript, &notes).await;
        (transcript, intent, reply)
    };
    let ((transcript, intent, reply), (cleaned, translated)) = tokio::join!(listening, write(run, spoken, &notes));
    if run.cancel.is_cancelled() {
        notes.warn(run, Warning::new(WarningCode::Interrupted, "given up; what was made until then is there"));
    }
    warn_about_speech(run, &transcript, &notes);
    let source = SourceInfo { name: name.to_owned(), ..SourceInfo::default() };
    assemble(Parts { source, transcript, cleaned, translated, intent, reply }, notes, started)
}
