//! The parent's side: starts decoder processes, reads their frames, turns every way to fail into an [`AudioError`].

use super::input::{self, Source};
use super::process::{Ends, Killer, Pipes, Process};
use super::protocol::{Failure, Frame, HeAac, Limits, Request, StreamInfo, Task, read_frame};
use super::worker::Job;
use super::{AudioError, DecodeSettings, Input, ffmpeg};
use std::fs::File;
use std::io::{self, BufReader, Seek, Write};
use std::path::Path;
use std::process::{ChildStdout, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Opens a recording and waits for its first second. Blocking: call it on a blocking thread.
///
/// # Errors
/// See [`AudioError`]; damage after the first second is reported by [`AudioStream::next_block`].
pub fn open(input: Input, settings: &DecodeSettings) -> Result<AudioStream, AudioError> {
    start(input::prepare(input, settings)?, settings, Task::Decode)
}

/// Reads only what the container says, in the same confined process. Blocking.
///
/// # Errors
/// See [`AudioError`].
pub fn probe(input: Input, settings: &DecodeSettings) -> Result<StreamInfo, AudioError> {
    Ok(start(input::prepare(input, settings)?, settings, Task::Probe)?.info)
}

/// A recording as a stream of 16 kHz mono blocks. Memory is bounded whatever the length: the decoder waits when nobody
/// reads. Dropping it ends the decoder.
pub struct AudioStream {
    info: StreamInfo,
    worker: Worker,
    /// Decodes for `worker`, where the built-in decoders could not.
    ffmpeg: Option<Process>,
    damage: Option<String>,
    ended: bool,
    cancelled: Arc<AtomicBool>,
}

/// Ends a stream from another thread; a blocked [`AudioStream::next_block`] returns at once.
#[derive(Clone)]
pub struct Canceller {
    cancelled: Arc<AtomicBool>,
    children: Vec<Killer>,
}

impl Canceller {
    /// Ends the stream's processes. Harmless when they have already ended.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.children.iter().for_each(Killer::kill);
    }
}

impl AudioStream {
    /// What the container says.
    pub fn info(&self) -> &StreamInfo {
        &self.info
    }

    /// The next samples: 16 kHz mono, -1 to 1, one second a block (the last may be shorter); `None` at the end.
    ///
    /// # Errors
    /// Limits, a decoder that died, cancellation. What was delivered before stays valid.
    pub fn next_block(&mut self) -> Result<Option<Vec<f32>>, AudioError> {
        if self.ended {
            return Ok(None);
        }
        let failed = match self.worker.read() {
            Ok(Frame::Block(samples)) => return Ok(Some(samples)),
            Ok(Frame::End(damage)) => {
                self.ended = true;
                self.damage = damage.or_else(|| self.worker.feed_error());
                self.check_ffmpeg();
                return Ok(None);
            }
            Ok(Frame::Failed(failure)) => self.worker.error(failure),
            Ok(Frame::Header(_)) => AudioError::Worker("it sent a second header".into()),
            Err(error) => error,
        };
        self.ended = true;
        Err(if self.cancelled.load(Ordering::Acquire) { AudioError::Cancelled } else { failed })
    }

    /// What was damaged, once the stream has ended: everything that could be decoded was delivered.
    pub fn truncated(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// A handle that ends the stream from another thread.
    pub fn canceller(&self) -> Canceller {
        let children = std::iter::once(&self.worker.process).chain(&self.ffmpeg).map(Process::killer).collect();
        Canceller { cancelled: self.cancelled.clone(), children }
    }

    /// Damage that only ffmpeg noticed.
    fn check_ffmpeg(&mut self) {
        if let Some((Ok(status), text)) = self.ffmpeg.as_mut().map(Process::end)
            && !status.success()
        {
            let message = last_line(&text).unwrap_or_else(|| status.to_string());
            self.damage.get_or_insert(format!("ffmpeg stopped early: {message}"));
        }
    }
}

/// One decoder process.
struct Worker {
    process: Process,
    frames: BufReader<ChildStdout>,
    limits: Limits,
    max_seconds: f64,
    max_decoded_bytes: u64,
    /// Copies a pipe to the process. It ends with the process, or, where it waits for a pipe that stays silent, with the
    /// next byte.
    feeder: Option<JoinHandle<io::Result<()>>>,
}

/// What a decoder process reads.
enum Feed {
    Ready(Stdio),
    /// Through a thread of ours, because the first bytes have already been read.
    Copied {
        head: Vec<u8>,
        rest: File,
    },
}

fn start(source: Source, settings: &DecodeSettings, task: Task) -> Result<AudioStream, AudioError> {
    let program = ffmpeg::find(settings.ffmpeg);
    let (feed, file) = match source {
        Source::File(file) => (Feed::Ready(copy(&file)?.into()), Some(file)),
        Source::Pipe { head, rest } => (Feed::Copied { head, rest }, None),
    };
    let he_aac = if program.is_some() && file.is_some() { HeAac::Refuse } else { HeAac::Core };
    let request = request(settings, task, he_aac);
    let mut worker = Worker::start(settings, &request, feed)?;
    let (format, demuxer, duration) = match worker.header()? {
        Ok(info) => return Ok(AudioStream::new(info, worker, None)),
        Err(Failure::Unsupported { format, demuxer, duration }) => (format, demuxer, duration),
        Err(failure) => return Err(worker.error(failure)),
    };
    drop(worker);
    let unsupported = |advice| AudioError::Unsupported { format: format.clone(), advice };
    let Some(demuxer) = demuxer.as_deref().and_then(ffmpeg::allowed) else {
        return Err(unsupported("convert it to WAV, FLAC, MP3 or Opus first"));
    };
    let Some(program) = program else {
        return Err(unsupported("installing ffmpeg helps"));
    };
    let Some(file) = file else {
        return Err(unsupported("give it as a file instead of a pipe, so that ffmpeg can read it"));
    };
    let foreign = Foreign { format: &format, duration, demuxer, program: &program };
    match through_ffmpeg(copy(&file)?, settings, task, &foreign) {
        Err(AudioError::Ffmpeg { .. }) if he_aac == HeAac::Refuse => {}
        result => return result,
    }
    // The core of an HE-AAC stream is better than nothing; for every other codec the first error stands.
    let again = Request { he_aac: HeAac::Core, ..request };
    let mut worker = Worker::start(settings, &again, Feed::Ready(copy(&file)?.into()))?;
    match worker.header()? {
        Ok(info) => Ok(AudioStream::new(info, worker, None)),
        Err(_) => through_ffmpeg(file, settings, task, &foreign),
    }
}

/// What ffmpeg is to decode.
struct Foreign<'a> {
    format: &'a str,
    duration: Option<f64>,
    demuxer: &'static str,
    program: &'a Path,
}

/// ffmpeg turns the file into WAV; a second decoder process reads that as it would any other.
fn through_ffmpeg(
    mut file: File,
    settings: &DecodeSettings,
    task: Task,
    foreign: &Foreign<'_>,
) -> Result<AudioStream, AudioError> {
    file.rewind().map_err(AudioError::Read)?;
    let (reader, writer) = io::pipe().map_err(AudioError::Read)?;
    let request = request(settings, task, HeAac::Refuse);
    let job = Job::Ffmpeg {
        limits: request.limits,
        program: foreign.program.to_owned(),
        demuxer: foreign.demuxer.to_owned(),
    };
    let ends = Ends { stdin: file.into(), stdout: writer.into() };
    let (mut decoder, _) =
        Process::start(&settings.worker, &job, ends).map_err(|source| cannot_start(settings, source))?;
    let mut worker = Worker::start(settings, &request, Feed::Ready(reader.into()))?;
    let header = worker.header();
    match header {
        Ok(Ok(mut info)) => {
            info.format = format!("{} (ffmpeg)", foreign.format);
            info.duration = foreign.duration;
            Ok(AudioStream::new(info, worker, Some(decoder)))
        }
        // A limit is a limit; anything else means that ffmpeg wrote no audio, and it says why.
        Ok(Err(failure @ (Failure::TooLong | Failure::TooManyBytes | Failure::Channel { .. }))) => {
            Err(worker.error(failure))
        }
        Ok(Err(_)) | Err(_) => {
            let (status, text) = decoder.end();
            if let Some(error) = status.as_ref().ok().and_then(|status| limit_hit(*status, &text, &request.limits)) {
                return Err(error);
            }
            let message = last_line(&text).unwrap_or_else(|| match status {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            });
            Err(AudioError::Ffmpeg { format: foreign.format.to_owned(), message })
        }
    }
}

impl AudioStream {
    fn new(info: StreamInfo, worker: Worker, ffmpeg: Option<Process>) -> Self {
        AudioStream { info, worker, ffmpeg, damage: None, ended: false, cancelled: Arc::default() }
    }
}

impl Worker {
    fn start(settings: &DecodeSettings, request: &Request, feed: Feed) -> Result<Worker, AudioError> {
        let failed = |source| cannot_start(settings, source);
        let (stdin, copied) = match feed {
            Feed::Ready(stdin) => (stdin, None),
            Feed::Copied { head, rest } => (Stdio::piped(), Some((head, rest))),
        };
        let ends = Ends { stdin, stdout: Stdio::piped() };
        let job = Job::Decode(request.clone());
        let (process, Pipes { stdin, stdout }) = Process::start(&settings.worker, &job, ends).map_err(failed)?;
        let stdout = stdout.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let feeder = match (copied, stdin) {
            (Some((head, mut rest)), Some(mut stdin)) => {
                let copy = move || {
                    stdin.write_all(&head)?;
                    io::copy(&mut rest, &mut stdin).map(drop)
                };
                Some(std::thread::Builder::new().name("decoder-feed".into()).spawn(copy).map_err(failed)?)
            }
            _ => None,
        };
        Ok(Worker {
            process,
            frames: BufReader::new(stdout),
            limits: request.limits,
            max_seconds: request.max_seconds,
            max_decoded_bytes: request.max_decoded_bytes,
            feeder,
        })
    }

    /// The first frame: a header, or why there is none.
    fn header(&mut self) -> Result<Result<StreamInfo, Failure>, AudioError> {
        match self.read()? {
            Frame::Header(info) => Ok(Ok(info)),
            Frame::Failed(failure) => Ok(Err(failure)),
            Frame::Block(_) | Frame::End(_) => Err(AudioError::Worker("it sent no header".into())),
        }
    }

    fn read(&mut self) -> Result<Frame, AudioError> {
        read_frame(&mut self.frames).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.death(),
            _ => AudioError::Worker(error.to_string()),
        })
    }

    /// The process closed its output without a last frame: says what ended it.
    fn death(&mut self) -> AudioError {
        let (status, text) = self.process.end();
        match status {
            Err(error) => AudioError::Worker(error.to_string()),
            Ok(status) => limit_hit(status, &text, &self.limits).unwrap_or_else(|| {
                let cause = last_line(&text).map_or_else(String::new, |line| format!(" ({line})"));
                AudioError::Worker(format!("{status}{cause}"))
            }),
        }
    }

    fn error(&self, failure: Failure) -> AudioError {
        match failure {
            Failure::Empty => AudioError::Empty,
            Failure::Read(message) => AudioError::Read(io::Error::other(message)),
            Failure::NotAudio(what) => AudioError::NotAudio(what),
            Failure::Unsupported { format, .. } => {
                AudioError::Unsupported { format, advice: "installing ffmpeg helps" }
            }
            Failure::NoTrack(container) => AudioError::NoTrack(container),
            Failure::NoSamples(container) => AudioError::NoSamples(container),
            Failure::Channel { wanted, available } => AudioError::Channel { wanted, available },
            Failure::TooLong => AudioError::TooLong { limit: self.max_seconds },
            Failure::TooManyBytes => AudioError::TooManyBytes { limit: self.max_decoded_bytes },
            Failure::Corrupt(message) => AudioError::Corrupt(message),
            Failure::Panic(message) => AudioError::Worker(format!("the decoder gave up: {message}")),
        }
    }

    /// Why the copy of a pipe ended early. A decoder that has read enough closes its end: that is none.
    fn feed_error(&mut self) -> Option<String> {
        let feeder = self.feeder.take_if(|feeder| feeder.is_finished())?;
        match feeder.join() {
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                Some(format!("reading the input failed: {error}"))
            }
            _ => None,
        }
    }
}

fn request(settings: &DecodeSettings, task: Task, he_aac: HeAac) -> Request {
    Request {
        task,
        channels: settings.channels,
        max_seconds: settings.max_seconds,
        max_decoded_bytes: settings.max_decoded_bytes,
        limits: Limits {
            memory_bytes: settings.memory_bytes,
            cpu_seconds: settings.cpu_seconds,
            parent: std::process::id(),
        },
        he_aac,
    }
}

/// A second descriptor of the same open file.
fn copy(file: &File) -> Result<File, AudioError> {
    file.try_clone().map_err(AudioError::Read)
}

fn cannot_start(settings: &DecodeSettings, source: io::Error) -> AudioError {
    AudioError::Start { program: settings.worker.clone(), source }
}

/// Which limit ended a process, if one did.
fn limit_hit(status: ExitStatus, stderr: &str, limits: &Limits) -> Option<AudioError> {
    if stderr.contains("memory allocation of") || stderr.contains("Cannot allocate memory") {
        return Some(AudioError::Memory { limit: limits.memory_bytes });
    }
    #[cfg(unix)]
    if std::os::unix::process::ExitStatusExt::signal(&status) == Some(nix::libc::SIGXCPU) {
        return Some(AudioError::CpuTime { limit: limits.cpu_seconds });
    }
    #[cfg(not(unix))]
    let _ = status;
    None
}

fn last_line(text: &str) -> Option<String> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
}
