//! One file, from bytes to outputs.

use super::checkpoint::{Journal, Kept, unavailable};
use super::engine::Engines;
use super::inputs;
use super::manifest::{Claim, Manifest, ManifestError, Row, Stored, now};
use super::names::Base;
use super::outputs::{self, WriteError};
use super::progress::Progress;
use super::record::{Failure, FileRecord, Kind, Reason, RelativePath, Status, Summary};
use super::then::{About, Then};
use super::walk::{Found, Stamp};
use super::wanted::Wanted;
use crate::audio::{AudioError, Input};
use crate::engine::Engine;
use crate::error::Error;
use crate::outcome::{Outcome, WarningCode};
use crate::pipeline::{self, Event, Run};
use crate::speech::SpeechError;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

/// Attempts at a file whose fault may pass, in one run.
const ATTEMPTS: u32 = 3;

/// After the first failed attempt; doubled after the second.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the text of an utterance may take once the run is to end.
const LAST_TEXT: Duration = Duration::from_secs(30);

/// Between two looks at what the recognisers do.
const GLANCE: Duration = Duration::from_millis(200);

/// What is to be done again although it was done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Again {
    /// Everything.
    pub all: bool,
    /// What failed, and what a missing model server left half done.
    pub failed: bool,
}

/// What work on any file needs.
pub(super) struct Shop {
    pub manifest: Arc<Manifest>,
    pub journal: Journal,
    pub wanted: Wanted,
    pub engine: Arc<Engines>,
    pub progress: Progress,
    pub then: Option<Then>,
    pub again: Again,
    pub overwrite: bool,
    pub root: PathBuf,
    /// Finish the utterance, save, end.
    pub stop: CancellationToken,
    /// End now: nothing more can be written, or the folder is gone.
    pub abort: CancellationToken,
    /// Contents that `--force` has done in this run: a copy of one needs no second time.
    pub fresh: Mutex<HashSet<String>>,
}

/// A file to work on and the name of its outputs.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub found: Found,
    pub base: Base,
    pub attempts: u32,
    /// SHA-256 of its bytes, once they were read.
    pub content: Option<String>,
}

/// What came of it.
pub(super) enum Done {
    /// Finished one way or the other.
    Recorded(Box<FileRecord>, Vec<String>),
    /// Another process, or another file of the same content, is at it: look again.
    Later(Task),
    /// It is no longer there.
    Vanished(RelativePath),
    /// The run ends; what was done of it is kept.
    Unfinished,
}

/// Why the whole run ends.
#[derive(Debug)]
pub(super) enum Fatal {
    /// Nothing can be written.
    Manifest(ManifestError),
    /// No room on the disk.
    Write(WriteError),
    /// IN is not there any more.
    Gone,
    /// No recogniser.
    Engine(Error),
}

impl From<ManifestError> for Fatal {
    fn from(error: ManifestError) -> Self {
        Fatal::Manifest(error)
    }
}

/// What was made of the file itself.
enum Made {
    Outcome(Box<(Outcome, Stored)>, Status),
    Failed(Failure, bool),
    Unfinished,
}

/// Whether there is anything left to do for a file.
pub(super) struct Settled<'a> {
    pub wanted: &'a Wanted,
    pub out: &'a Path,
    pub again: Again,
    /// Whether a command that was not run yet is wanted.
    pub hooks: bool,
}

impl Settled<'_> {
    /// Nothing is left: the file, the settings and the outputs are as they were.
    pub fn unchanged(&self, task: &Task, row: &Row) -> bool {
        row.stamp == task.found.stamp && task.found.problem.is_none() && self.same(task, row)
    }

    /// Nothing is left if the file's content is what it was.
    pub fn same(&self, task: &Task, row: &Row) -> bool {
        let wanted = self.wanted;
        if self.again.all || row.settings != wanted.settings(task.found.kind) {
            return false;
        }
        if row.failed {
            return !self.again.failed && !row.transient;
        }
        let fallbacks = row.record.summary.iter().any(|summary| summary.warnings.iter().any(unavailable));
        let there = |path: &RelativePath| self.out.join(path.to_path()).is_file();
        let left = (self.again.failed && fallbacks) || (row.pending && self.hooks);
        !left
            && row.shape == wanted.shape
            && row.base == task.base.text()
            && row.record.outputs.iter().all(|output| there(&output.path))
            && row.record.outcome.as_ref().is_some_and(there)
    }
}

impl Shop {
    /// Whether nothing of this file is left to do.
    pub fn unchanged(&self, task: &Task, row: &Row) -> bool {
        self.settled().unchanged(task, row)
    }

    fn settled(&self) -> Settled<'_> {
        Settled { wanted: &self.wanted, out: &self.manifest.out, again: self.again, hooks: self.then.is_some() }
    }

    /// Works on one file. `permit` is given back once its recognition is over.
    pub async fn work(&self, task: Task, permit: OwnedSemaphorePermit) -> Result<Done, Fatal> {
        let path_key = format!("file {} {}", self.root.display(), task.found.path);
        match self.manifest.claim(&path_key).await? {
            Claim::Mine => {}
            Claim::Already | Claim::Elsewhere => return Ok(Done::Later(task)),
        }
        let result = self.claimed(task, permit).await;
        if let Ok(Done::Vanished(path)) = &result {
            self.manifest.forget(path).await?;
        }
        self.manifest.release(&path_key).await?;
        result
    }

    async fn claimed(&self, task: Task, permit: OwnedSemaphorePermit) -> Result<Done, Fatal> {
        let before = self.manifest.row(&task.found.path).await?;
        if let Some(row) = before.as_ref().filter(|row| self.unchanged(&task, row)) {
            // Another process has done it meanwhile.
            return Ok(recorded(FileRecord { status: unchanged_status(row), ..row.record.clone() }));
        }
        if let Some(problem) = task.found.problem.clone() {
            return self.failed(&task, before.as_ref(), None, (problem, false)).await;
        }
        let known = before.as_ref().filter(|row| row.stamp == task.found.stamp).and_then(|row| row.content.clone());
        let content = match task.content.clone().or(known) {
            Some(content) => content,
            None => match self.content(&task).await? {
                Ok(content) => content,
                Err(done) => return done,
            },
        };
        if let Some(row) = before.as_ref().filter(|row| row.content.as_ref() == Some(&content))
            && self.settled().same(&task, row)
        {
            // Touched, not changed.
            let row = Row { stamp: task.found.stamp, ..row.clone() };
            self.manifest.save(&row).await?;
            return Ok(recorded(FileRecord { status: unchanged_status(&row), ..row.record }));
        }
        let key = self.wanted.key(task.found.kind, &content);
        let content_key = format!("content {key}");
        match self.manifest.claim(&content_key).await? {
            Claim::Mine => {}
            Claim::Already | Claim::Elsewhere => return Ok(Done::Later(Task { content: Some(content), ..task })),
        }
        let result = self.at_content(task, permit, before, &content, &key).await;
        self.manifest.release(&content_key).await?;
        result
    }

    async fn at_content(
        &self,
        mut task: Task,
        permit: OwnedSemaphorePermit,
        before: Option<Row>,
        content: &str,
        key: &str,
    ) -> Result<Done, Fatal> {
        let begun = Instant::now();
        let made = match self.stored(key).await? {
            Some(stored) => Made::Outcome(Box::new(stored), Status::Reused),
            None => {
                self.progress.begin(task.found.path.as_str());
                let made = self.make(&mut task, permit, content, key).await;
                self.progress.leave(task.found.path.as_str());
                made?
            }
        };
        let ((outcome, stored), status) = match made {
            Made::Unfinished => return Ok(Done::Unfinished),
            Made::Failed(failure, transient) => {
                if !self.is_there() {
                    return Err(Fatal::Gone);
                }
                if failure.code == Reason::Unreadable && !task.found.file.exists() {
                    return Ok(Done::Vanished(task.found.path));
                }
                return self.failed(&task, before.as_ref(), Some(content), (failure, transient)).await;
            }
            Made::Outcome(made, status) => (*made, status),
        };
        self.deliver(&task, before, content, Delivery { outcome, stored, status, begun }).await
    }

    /// The outcome that this content has already, unless it is to be made again.
    async fn stored(&self, key: &str) -> Result<Option<(Outcome, Stored)>, Fatal> {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).contains(key);
        if self.again.all && !fresh {
            return Ok(None);
        }
        let Some(stored) = self.manifest.result(key).await? else { return Ok(None) };
        if self.again.failed && !fresh && stored.summary.warnings.iter().any(unavailable) {
            return Ok(None);
        }
        let outcome = outputs::stored(&self.manifest.out, &stored.outcome).await;
        Ok(outcome.map(|outcome| (outcome, stored)))
    }

    /// Reads the file once to know whether its content is known.
    async fn content(&self, task: &Task) -> Result<Result<String, Result<Done, Fatal>>, Fatal> {
        let mut attempts = 0;
        loop {
            let (file, cancel) = (task.found.file.clone(), self.stop.clone());
            let hashed = tokio::task::spawn_blocking(move || outputs::content_of(&file, &cancel)).await;
            attempts += 1;
            match hashed.map_err(io::Error::other).and_then(|hashed| hashed) {
                Ok(content) => return Ok(Ok(content)),
                Err(_) if self.stop.is_cancelled() || self.abort.is_cancelled() => {
                    return Ok(Err(Ok(Done::Unfinished)));
                }
                Err(_) if !self.is_there() => return Ok(Err(Err(Fatal::Gone))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Err(Ok(Done::Vanished(task.found.path.clone()))));
                }
                Err(error) if passes(&error) && attempts < ATTEMPTS => tokio::time::sleep(PAUSE * attempts).await,
                Err(error) => {
                    let failure = Failure::new(Reason::Unreadable, format!("cannot read it: {error}"));
                    let before = self.manifest.row(&task.found.path).await?;
                    let failed = self.failed(task, before.as_ref(), None, (failure, passes(&error))).await;
                    return Ok(Err(failed));
                }
            }
        }
    }

    /// Runs the pipeline, again where the fault may pass.
    async fn make(
        &self,
        task: &mut Task,
        permit: OwnedSemaphorePermit,
        content: &str,
        key: &str,
    ) -> Result<Made, Fatal> {
        let permit = Mutex::new(Some(permit));
        if self.again.all {
            self.manifest.begin_anew(&self.wanted.speech_key(content), key).await?;
        }
        loop {
            task.attempts += 1;
            let error = match self.run(task, &permit, content, key).await? {
                Ok(outcome) if outcome.warnings.iter().any(|w| w.code == WarningCode::Interrupted) => {
                    return Ok(Made::Unfinished);
                }
                Ok(outcome) => {
                    let now = std::fs::metadata(&task.found.file).map(|found| Stamp::of(&found)).ok();
                    if now != Some(task.found.stamp) {
                        let message = "it changed while it was being read; run again once it is complete";
                        return Ok(Made::Failed(Failure::new(Reason::Changed, message), true));
                    }
                    let summary = Summary::of(&outcome);
                    let seconds = outcome.source.duration.unwrap_or(outcome.transcript.end());
                    let place = outputs::store(&self.manifest, key, &outcome).await.map_err(Fatal::Write)?;
                    let stored = Stored { outcome: place, seconds, summary };
                    self.journal.flush().await;
                    self.manifest.save_result(key, &stored).await?;
                    self.fresh.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned());
                    return Ok(Made::Outcome(Box::new((outcome, stored)), Status::Done));
                }
                Err(_) if self.stop.is_cancelled() || self.abort.is_cancelled() => return Ok(Made::Unfinished),
                Err(error) => error,
            };
            let (failure, transient) = explain(&error);
            if failure.code == Reason::DiskFull {
                return Err(Fatal::Engine(error));
            }
            if !transient || task.attempts >= ATTEMPTS || !self.is_there() {
                return Ok(Made::Failed(failure, transient));
            }
            tracing::info!(path = %task.found.path, %error, "trying again");
            let pause = PAUSE * 2u32.saturating_pow(task.attempts - 1);
            if self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(Made::Unfinished);
            }
        }
    }

    /// One attempt. The outer error ends the whole run.
    async fn run(
        &self,
        task: &Task,
        permit: &Mutex<Option<OwnedSemaphorePermit>>,
        content: &str,
        key: &str,
    ) -> Result<Result<Outcome, Error>, Fatal> {
        let (path, name) = (task.found.path.as_str(), task.found.path.to_string());
        let speech_key = self.wanted.speech_key(content);
        let engine = self.engine().await?;
        let cancel = self.abort.child_token();
        let kept = Kept {
            journal: &self.journal,
            parts: self.manifest.parts(&speech_key).await?,
            texts: self.manifest.texts(key).await?,
            speech_key: speech_key.into(),
            text_key: key.into(),
            cancel: cancel.clone(),
        };
        let (heard_one, written_one) = (Notify::new(), Notify::new());
        let observer = |event: Event<'_>| {
            match event {
                Event::Progress { .. } => heard_one.notify_one(),
                Event::Cleaned(_) | Event::Translated(_) => written_one.notify_one(),
                _ => {}
            }
            self.progress.event(path, &event);
        };
        let all_heard = CancellationToken::new();
        let heard = || {
            all_heard.cancel();
            self.progress.heard(path);
            drop(permit.lock().unwrap_or_else(PoisonError::into_inner).take());
        };
        let run = Run {
            checkpoint: Some(&kept),
            heard: Some(&heard),
            ..Run::new(engine, &self.wanted.plan, &observer, &cancel)
        };
        let work = async {
            match task.found.kind {
                Kind::Audio => pipeline::run_audio(run, Input::File(task.found.file.clone()), &name).await,
                Kind::Transcript => run_transcript(run, &task.found.file, &name).await,
            }
        };
        // Once: the utterance in flight is finished and saved, and so is the text being written when all is heard.
        let ending = async {
            self.stop.cancelled().await;
            tokio::select! {
                () = after(&heard_one) => {}
                // It may be minutes to the next word of a recording that is mostly silence.
                () = idle(engine) => {}
                () = all_heard.cancelled() => {
                    let _ = tokio::time::timeout(LAST_TEXT, after(&written_one)).await;
                }
            }
            cancel.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = work => Ok(result),
            () = ending => Ok(Err(Error::Interrupted)),
        }
    }

    /// Writes the outputs, remembers it all, runs the command.
    async fn deliver(
        &self,
        task: &Task,
        before: Option<Row>,
        content: &str,
        delivery: Delivery,
    ) -> Result<Done, Fatal> {
        let Delivery { mut outcome, stored, status, begun } = delivery;
        outcome.source.name = task.found.path.to_string();
        let path = &task.found.path;
        let job = outputs::Job {
            manifest: &self.manifest,
            wanted: &self.wanted,
            base: &task.base,
            source: path,
            overwrite: self.overwrite,
        };
        let wrote = match job.write(&outcome).await {
            Ok(wrote) => wrote,
            Err(error) if error.is_full() || matches!(error, WriteError::Manifest(_)) => {
                return Err(Fatal::Write(error));
            }
            Err(error) => return self.failed(task, before.as_ref(), Some(content), (error.failure(), true)).await,
        };
        if let Some(row) = &before {
            outputs::clear(&self.manifest, path, &row.record.outputs, &wrote.outputs).await?;
        }
        let record = FileRecord {
            path: path.clone(),
            status,
            kind: task.found.kind,
            bytes: task.found.stamp.bytes,
            seconds: stored.seconds,
            wall_s: if status == Status::Done { begun.elapsed().as_secs_f64() } else { 0.0 },
            finished: now(),
            error: None,
            attempts: task.attempts,
            summary: Some(stored.summary),
            outputs: wrote.outputs,
            outcome: Some(stored.outcome),
            then: None,
        };
        let settings = self.wanted.settings(task.found.kind).to_owned();
        let mut row = Row {
            stamp: task.found.stamp,
            content: Some(content.to_owned()),
            settings,
            shape: self.wanted.shape.clone(),
            base: task.base.text(),
            failed: false,
            transient: false,
            pending: self.then.is_some(),
            record,
        };
        self.manifest.save(&row).await?;
        if let Some(then) = &self.then {
            let about = About { file: &task.found.file, out: &self.manifest.out, record: &row.record };
            let hook = then.run(about, &self.abort).await;
            let interrupted = self.abort.is_cancelled();
            (row.pending, row.record.then) = (interrupted, Some(hook));
            self.manifest.save(&row).await?;
        }
        let mut notes = wrote.notes;
        let problem = row.record.then.as_ref().and_then(|hook| hook.problem.as_ref());
        notes.extend(problem.map(|problem| format!("--then: {problem}")));
        Ok(Done::Recorded(Box::new(row.record), notes))
    }

    async fn failed(
        &self,
        task: &Task,
        before: Option<&Row>,
        content: Option<&str>,
        (failure, transient): (Failure, bool),
    ) -> Result<Done, Fatal> {
        let record = FileRecord {
            path: task.found.path.clone(),
            status: Status::Failed,
            kind: task.found.kind,
            bytes: task.found.stamp.bytes,
            seconds: 0.0,
            wall_s: 0.0,
            finished: now(),
            error: Some(failure),
            attempts: task.attempts,
            summary: None,
            // What an earlier run wrote of an earlier content is still there and still ours.
            outputs: before.map(|row| row.record.outputs.clone()).unwrap_or_default(),
            outcome: None,
            then: None,
        };
        let row = Row {
            stamp: task.found.stamp,
            content: content.map(ToOwned::to_owned),
            settings: self.wanted.settings(task.found.kind).to_owned(),
            shape: self.wanted.shape.clone(),
            base: task.base.text(),
            failed: true,
            transient,
            pending: false,
            record,
        };
        self.manifest.save(&row).await?;
        Ok(recorded(row.record))
    }

    async fn engine(&self) -> Result<&Engine, Fatal> {
        self.engine.get(&self.wanted, &self.progress, &self.stop).await.map_err(Fatal::Engine)
    }

    /// Gives back what this process holds in the folder.
    pub async fn leave(&self) {
        self.journal.flush().await;
        self.manifest.close().await;
    }

    /// Whether IN can still be read: a network folder may go away under our hands.
    pub fn is_there(&self) -> bool {
        std::fs::read_dir(&self.root).is_ok()
    }
}

/// A transcript that is there already.
async fn run_transcript(run: Run<'_>, file: &Path, name: &str) -> Result<Outcome, Error> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || inputs::read(&path)).await;
    let given = read.map_err(|panic| Error::Usage(format!("reading it failed unexpectedly: {panic}")))??;
    let Some(given) = given else { return Err(Error::Usage("it is not a transcript of a known form".into())) };
    if let Some(heard) = run.heard {
        heard();
    }
    let mut outcome = pipeline::run_text(run, given.transcript, name).await?;
    outcome.source.duration = given.duration;
    Ok(outcome)
}

/// An outcome on its way to OUT.
struct Delivery {
    outcome: Outcome,
    stored: Stored,
    status: Status,
    begun: Instant,
}

fn recorded(record: FileRecord) -> Done {
    Done::Recorded(Box::new(record), Vec::new())
}

fn unchanged_status(row: &Row) -> Status {
    if row.failed { Status::Failed } else { Status::Unchanged }
}

/// The next time it happens; not one that has been.
async fn after(happened: &Notify) {
    // A permit that is there was for something before now.
    let stale = happened.notified();
    let _ = tokio::time::timeout(Duration::ZERO, stale).await;
    happened.notified().await;
}

/// Returns when no recogniser has anything to do.
async fn idle(engine: &Engine) {
    let busy = || {
        engine.speech().is_ok_and(|speech| {
            let stats = speech.stats();
            stats.working + stats.waiting_short + stats.waiting_long > 0
        })
    };
    // Twice: between two utterances there is a moment without one.
    while busy() || {
        tokio::time::sleep(GLANCE).await;
        busy()
    } {
        tokio::time::sleep(GLANCE).await;
    }
}

/// Whether an error of the system may pass by itself.
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    let kinds = [
        Interrupted,
        TimedOut,
        WouldBlock,
        ResourceBusy,
        StaleNetworkFileHandle,
        NetworkDown,
        NetworkUnreachable,
        HostUnreachable,
        ConnectionReset,
        ConnectionAborted,
        NotConnected,
        OutOfMemory,
    ];
    // EIO, EMFILE and ENFILE have no kind of their own.
    kinds.contains(&error.kind()) || matches!(error.raw_os_error(), Some(5 | 23 | 24))
}

/// The reason of a failure, and whether it may pass by itself.
fn explain(error: &Error) -> (Failure, bool) {
    let (code, transient) = match error {
        Error::Audio(error) => match error {
            AudioError::Open { source, .. } | AudioError::Read(source) => (Reason::Unreadable, passes(source)),
            AudioError::Directory(_) => (Reason::NotAFile, false),
            AudioError::Empty | AudioError::NoSamples(_) => (Reason::Empty, false),
            AudioError::NotAudio(_) | AudioError::NoTrack(_) => (Reason::NotAudio, false),
            AudioError::Unsupported { .. } | AudioError::Ffmpeg { .. } => (Reason::Unsupported, false),
            AudioError::TooLong { .. } | AudioError::TooManyBytes { .. } | AudioError::SpoolLimit { .. } => {
                (Reason::TooLong, false)
            }
            AudioError::Memory { .. } | AudioError::CpuTime { .. } | AudioError::Corrupt(_) => (Reason::Corrupt, false),
            AudioError::Spool { source, .. } if super::manifest::is_full(source) => (Reason::DiskFull, true),
            // Once more: a decoder may have been the victim of a machine short of memory.
            AudioError::Worker(_) | AudioError::Start { .. } | AudioError::Spool { .. } => (Reason::Corrupt, true),
            AudioError::Channel { .. } | AudioError::Cancelled => (Reason::Other, false),
        },
        Error::Speech(SpeechError::Failed { .. } | SpeechError::Stopped) => (Reason::Speech, true),
        Error::Speech(_) => (Reason::Speech, false),
        Error::Read { source, .. } if source.kind() == io::ErrorKind::InvalidData => (Reason::NotATranscript, false),
        Error::Read { source, .. } => (Reason::Unreadable, passes(source)),
        Error::Usage(_) => (Reason::NotATranscript, false),
        _ => (Reason::Other, true),
    };
    (Failure::new(code, error.to_string()), transient)
}
