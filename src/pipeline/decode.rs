//! Bytes to utterances, on a blocking thread, with as much in flight as the channel holds.

use super::notes::ms;
use super::{Event, Run};
use crate::audio::{self, AudioError, DecodeSettings, Input};
use crate::error::Error;
use crate::speech::Utterance;
use crate::speech::queue::Lane;
use crate::speech::vad::Segmenter;
use crate::text::clean::MoreFollows;
use std::time::Instant;
use tokio::sync::{mpsc, watch};

/// From this length on a recording waits in the lane for long ones, seconds. One window of Whisper's: up to there it is
/// one utterance, the least that anybody in front of it in the queue can cost.
const LONG_SECONDS: f64 = 30.0;

/// What the decoder knows of the recording so far.
#[derive(Clone, Copy, Default)]
struct Known {
    /// Utterances found.
    sent: usize,
    /// Whether these are all.
    complete: bool,
    lane: Lane,
}

/// What the decoder tells the recogniser: which utterance is the last, known as soon as the decoder is at the end, mostly
/// long before it is recognised; and how long the recording is.
pub(super) struct Count(watch::Sender<Known>);

/// The recogniser's side of [`Count`].
#[derive(Clone)]
pub(super) struct Counted(watch::Receiver<Known>);

impl Count {
    pub(super) fn new() -> (Count, Counted) {
        let (known, knowing) = watch::channel(Known::default());
        (Count(known), Counted(knowing))
    }

    /// The recording is, or will be, this long, seconds.
    fn lasts(&self, seconds: f64) {
        if seconds > LONG_SECONDS {
            self.0.send_if_modified(|known| std::mem::replace(&mut known.lane, Lane::Long) != Lane::Long);
        }
    }

    fn found(&self, utterances: usize, complete: bool) {
        self.0.send_modify(|known| (known.sent, known.complete) = (known.sent + utterances, complete));
    }
}

impl Counted {
    /// Whether more follows after so many utterances.
    pub(super) fn after(&self, recognised: usize) -> MoreFollows {
        let known = *self.0.borrow();
        if known.complete && recognised >= known.sent { MoreFollows::No } else { MoreFollows::Perhaps }
    }

    /// Waits until [`Counted::after`] is sure of it, or nobody will ever know.
    pub(super) async fn settled(&mut self, recognised: usize) {
        let _ = self.0.wait_for(|known| known.complete || known.sent > recognised).await;
    }

    /// Where this recording's utterances wait.
    pub(super) fn lane(&self) -> Lane {
        self.0.borrow().lane
    }
}

/// What is decoded, and how.
pub(super) struct Recording {
    pub input: Input,
    pub settings: DecodeSettings,
}

pub(super) struct Decoded {
    pub format: String,
    pub seconds: f64,
    pub truncated: Option<String>,
    pub decode_ms: f64,
    pub vad_ms: f64,
}

impl Decoded {
    /// What is known of a recording that was given up at `seconds`.
    pub(super) fn interrupted(seconds: f64) -> Self {
        Decoded { format: String::new(), seconds, truncated: None, decode_ms: 0.0, vad_ms: 0.0 }
    }
}

/// Bytes to utterances on a blocking thread. A full channel holds the decoder back, so memory stays bounded.
pub(super) async fn decode(
    run: Run<'_>,
    Recording { input, settings }: Recording,
    utterances: mpsc::Sender<Utterance>,
    count: Count,
) -> Result<Decoded, Error> {
    let mut segmenter = Segmenter::new(run.engine.cutting(run.plan));
    let cancel = run.cancel.clone();
    let (opened_in, opened) = tokio::sync::oneshot::channel();
    let work = move || -> Result<Decoded, Error> {
        let begun = Instant::now();
        let mut stream = audio::open(input, &settings)?;
        let info = stream.info().clone();
        count.lasts(info.duration.unwrap_or_default());
        // Nobody listening only means that the run was given up.
        let _ = opened_in.send((info.format.clone(), info.duration, stream.canceller()));
        let mut decode_ms = ms(begun);
        let mut vad_ms = 0.0;
        let mut samples = 0u64;
        loop {
            let begun = Instant::now();
            let block = stream.next_block()?;
            decode_ms += ms(begun);
            let begun = Instant::now();
            let ready = match &block {
                Some(block) => {
                    samples += block.len() as u64;
                    count.lasts(samples as f64 / f64::from(audio::SPEECH_RATE));
                    segmenter.push(block)
                }
                None => segmenter.finish(),
            };
            vad_ms += ms(begun);
            // Before the utterances, so that the last one is known to be the last.
            count.found(ready.len(), block.is_none());
            for utterance in ready {
                if utterances.blocking_send(utterance).is_err() {
                    return Err(Error::Interrupted);
                }
            }
            if cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            if block.is_none() {
                break;
            }
        }
        let seconds = samples as f64 / f64::from(audio::SPEECH_RATE);
        let truncated = stream.truncated().map(ToOwned::to_owned);
        Ok(Decoded { format: info.format, seconds, truncated, decode_ms, vad_ms })
    };
    let mut worker = tokio::task::spawn_blocking(work);
    // A source that says nothing yet (a pipe) must not keep a run that was given up.
    let Some(opened) = run.cancel.run_until_cancelled(opened).await else { return Err(Error::Interrupted) };
    if let Ok((format, duration, canceller)) = opened {
        (run.observer)(Event::Opened { format: &format, duration });
        tokio::select! {
            ended = &mut worker => return joined(ended),
            () = run.cancel.cancelled() => canceller.cancel(),
        }
    }
    joined(worker.await)
}

fn joined(ended: Result<Result<Decoded, Error>, tokio::task::JoinError>) -> Result<Decoded, Error> {
    match ended.map_err(|panic| Error::Usage(format!("decoding failed unexpectedly: {panic}")))? {
        Err(Error::Audio(AudioError::Cancelled)) => Err(Error::Interrupted),
        result => result,
    }
}
