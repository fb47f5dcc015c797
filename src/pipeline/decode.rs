//! Bytes to utterances, on a blocking thread, with as much in flight as the channel holds.

use super::notes::ms;
use super::{Event, Run};
use crate::audio::{self, AudioError, Input};
use crate::error::Error;
use crate::speech::Utterance;
use crate::speech::vad::Segmenter;
use crate::text::clean::MoreFollows;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::mpsc;

/// Which utterance is the last: known as soon as the decoder is at the end, mostly long before it is recognised.
#[derive(Default)]
pub(super) struct Count {
    sent: AtomicUsize,
    complete: AtomicBool,
}

impl Count {
    pub(super) fn after(&self, recognised: usize) -> MoreFollows {
        let last = self.complete.load(Ordering::Acquire) && recognised >= self.sent.load(Ordering::Acquire);
        if last { MoreFollows::No } else { MoreFollows::Perhaps }
    }
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
    input: Input,
    utterances: mpsc::Sender<Utterance>,
    count: Arc<Count>,
) -> Result<Decoded, Error> {
    let settings = run.engine.decode_settings();
    let mut segmenter = Segmenter::new(run.engine.cutting(run.plan));
    let cancel = run.cancel.clone();
    let (opened_in, opened) = tokio::sync::oneshot::channel();
    let work = move || -> Result<Decoded, Error> {
        let begun = Instant::now();
        let mut stream = audio::open(input, &settings)?;
        let info = stream.info().clone();
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
                    segmenter.push(block)
                }
                None => segmenter.finish(),
            };
            vad_ms += ms(begun);
            count.sent.fetch_add(ready.len(), Ordering::Release);
            // After the count and before the utterances, so that the last one is known to be the last.
            count.complete.store(block.is_none(), Ordering::Release);
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
