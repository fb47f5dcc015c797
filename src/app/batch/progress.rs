//! What a person sees while a folder is worked through: an overall bar in audio time with speed and what is left, and a
//! line for each file in flight; a line for each finished file where there is no terminal; JSON lines; or nothing.

use super::record::{FileRecord, Status};
use super::walk::Found;
use crate::app::say;
use crate::cli::{Global, ProgressMode};
use crate::engine::Notice;
use crate::pipeline::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes a second of a recording whose kind has not been seen yet: 128 kbit/s.
const BYTES_PER_SECOND: f64 = 16_000.0;

/// Between two JSON events of overall progress.
const JSON_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bars,
    Plain,
    Json,
    Quiet,
}

/// Shared by everything that works on files.
#[derive(Clone)]
pub(super) struct Progress {
    mode: Mode,
    bars: MultiProgress,
    overall: ProgressBar,
    state: Arc<Mutex<State>>,
}

struct State {
    started: Instant,
    files: usize,
    done: usize,
    failed: usize,
    /// Seconds of audio of files that are finished in this run.
    finished: f64,
    /// Files to do: seconds where known, an estimate otherwise.
    waiting: HashMap<String, Waiting>,
    /// Bytes and seconds seen of each extension.
    rates: HashMap<String, (f64, f64)>,
    in_flight: HashMap<String, Flight>,
    told: Instant,
}

struct Waiting {
    bytes: f64,
    extension: String,
    seconds: Option<f64>,
}

struct Flight {
    bar: Option<ProgressBar>,
    seconds: f64,
    total: Option<f64>,
}

impl Progress {
    pub fn new(global: &Global, mode: ProgressMode) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let mode = match mode {
            ProgressMode::Json => Mode::Json,
            ProgressMode::None => Mode::Quiet,
            _ if global.quiet => Mode::Quiet,
            ProgressMode::Bar => Mode::Bars,
            ProgressMode::Plain => Mode::Plain,
            ProgressMode::Auto if terminal => Mode::Bars,
            ProgressMode::Auto => Mode::Plain,
        };
        let bars = MultiProgress::new();
        let overall = if mode == Mode::Bars { bars.add(ProgressBar::new(0)) } else { ProgressBar::hidden() };
        overall.set_style(overall_style());
        let now = Instant::now();
        let state = State {
            started: now,
            files: 0,
            done: 0,
            failed: 0,
            finished: 0.0,
            waiting: HashMap::new(),
            rates: HashMap::new(),
            in_flight: HashMap::new(),
            told: now,
        };
        Progress { mode, bars, overall, state: Arc::new(Mutex::new(state)) }
    }

    /// For what is loaded or started.
    pub fn notice(&self) -> Notice {
        let progress = self.clone();
        Arc::new(move |line: &str| progress.line(line))
    }

    /// More to do. The clock of the speed starts with the first work after a pause.
    pub fn add(&self, files: &[&Found]) {
        let mut state = self.lock();
        if state.waiting.is_empty() {
            (state.started, state.finished) = (Instant::now(), 0.0);
        }
        state.files += files.len();
        for found in files {
            let extension = found.file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
            let waiting = Waiting { bytes: found.stamp.bytes as f64, extension, seconds: None };
            state.waiting.insert(found.path.to_string(), waiting);
        }
        let (files, seconds) = (state.files, state.remaining());
        drop(state);
        self.json(|| json!({"event": "start", "files": files, "estimated_seconds": seconds}));
        self.show();
    }

    /// A file is being worked on.
    pub fn begin(&self, path: &str) {
        let bar = (self.mode == Mode::Bars).then(|| {
            let bar = self.bars.insert_before(&self.overall, ProgressBar::new(0));
            bar.set_style(file_style());
            bar.set_message(printable(path));
            bar
        });
        self.lock().in_flight.insert(path.to_owned(), Flight { bar, seconds: 0.0, total: None });
        self.json(|| json!({"event": "begin", "path": path}));
    }

    /// Something happened in it.
    pub fn event(&self, path: &str, event: &Event<'_>) {
        let mut state = self.lock();
        match event {
            Event::Opened { duration, .. } => {
                if let Some(waiting) = state.waiting.get_mut(path) {
                    waiting.seconds = *duration;
                }
                if let Some(flight) = state.in_flight.get_mut(path) {
                    flight.total = *duration;
                    if let (Some(bar), Some(duration)) = (&flight.bar, duration) {
                        bar.set_length(duration.ceil() as u64);
                    }
                }
            }
            Event::Progress { seconds } => {
                if let Some(flight) = state.in_flight.get_mut(path) {
                    flight.seconds = *seconds;
                    if let Some(bar) = &flight.bar {
                        bar.set_position(*seconds as u64);
                    }
                }
                drop(state);
                self.show();
            }
            _ => {}
        }
    }

    /// All of it is recognised; its text is being written.
    pub fn heard(&self, path: &str) {
        let state = self.lock();
        if let Some(bar) = state.in_flight.get(path).and_then(|flight| flight.bar.as_ref()) {
            bar.set_style(text_style());
        }
    }

    /// It is over, for now.
    pub fn leave(&self, path: &str) {
        let flight = self.lock().in_flight.remove(path);
        if let Some(bar) = flight.and_then(|flight| flight.bar) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    /// What became of a file.
    pub fn done(&self, record: &FileRecord, notes: &[String]) {
        let path = record.path.as_str();
        self.leave(path);
        let mut state = self.lock();
        if let Some(waiting) = state.waiting.remove(path) {
            if record.seconds > 0.0 {
                let rate = state.rates.entry(waiting.extension).or_default();
                *rate = (rate.0 + waiting.bytes, rate.1 + record.seconds);
            }
            state.done += 1;
        }
        if record.status == Status::Done {
            state.finished += record.seconds;
        }
        state.failed += usize::from(record.status == Status::Failed);
        let count = format!("[{}/{}]", state.done, state.files);
        drop(state);
        self.json(|| json!({"event": "file", "file": record, "notes": notes}));
        let name = printable(path);
        match (&record.error, record.status) {
            (Some(error), Status::Failed) => self.error(&format!("bestbox: {name}: {}", error.message)),
            (_, Status::Done) if self.mode == Mode::Plain => {
                let speed = record.seconds / record.wall_s.max(0.001);
                self.line(&format!("{count} {name}: {} in {:.1} s, {speed:.1}x", clock(record.seconds), record.wall_s));
            }
            (_, Status::Reused) if self.mode == Mode::Plain => self.line(&format!("{count} {name}: known already")),
            _ => {}
        }
        for note in notes {
            self.line(&format!("{name}: {note}"));
        }
        self.show();
    }

    /// A file was taken away before it could be worked on.
    pub fn vanished(&self, path: &str) {
        self.leave(path);
        let mut state = self.lock();
        if state.waiting.remove(path).is_some() {
            state.files -= 1;
        }
        drop(state);
        self.line(&format!("{}: it is no longer there", printable(path)));
    }

    /// A line that stays, above the bars where there are such.
    pub fn line(&self, line: &str) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Json => self.json(|| json!({"event": "note", "message": line})),
            Mode::Plain => say(line),
            Mode::Bars => self.bars.suspend(|| say(line)),
        }
    }

    /// A failure: shown even when quiet.
    pub fn error(&self, line: &str) {
        match self.mode {
            Mode::Bars => self.bars.suspend(|| say(line)),
            _ => say(line),
        }
    }

    /// A line of a result, on standard output.
    pub fn result(&self, line: &str) {
        // Nobody reading any more is no reason to stop.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    pub fn is_json(&self) -> bool {
        self.mode == Mode::Json
    }

    /// A JSON event, in that mode.
    pub fn json(&self, event: impl FnOnce() -> serde_json::Value) {
        if self.mode == Mode::Json {
            self.result(&event().to_string());
        }
    }

    /// Seconds of audio a second of work, of this run so far.
    pub fn speed(&self) -> Option<f64> {
        let state = self.lock();
        let seconds = state.finished + state.heard();
        let elapsed = state.started.elapsed().as_secs_f64();
        (seconds > 0.0 && elapsed > 0.0).then(|| seconds / elapsed)
    }

    /// Takes the bars away.
    pub fn end(&self) {
        self.overall.finish_and_clear();
    }

    fn show(&self) {
        if matches!(self.mode, Mode::Quiet | Mode::Plain) {
            return;
        }
        let mut state = self.lock();
        let (heard, left) = (state.finished + state.heard(), state.remaining());
        let elapsed = state.started.elapsed().as_secs_f64();
        let speed = heard / elapsed.max(0.001);
        let eta = (speed > 0.0).then(|| left / speed);
        if self.mode == Mode::Bars {
            self.overall.set_length((heard + left).ceil() as u64);
            self.overall.set_position(heard as u64);
            let failed = if state.failed > 0 { format!(", {} failed", state.failed) } else { String::new() };
            self.overall.set_message(format!(
                "{} of {} of audio, {speed:.1}x, {} left, {}/{} files{failed}",
                clock(heard),
                clock(heard + left),
                eta.map_or_else(|| "?".to_owned(), clock),
                state.done,
                state.files
            ));
        } else if state.told.elapsed() >= JSON_INTERVAL {
            state.told = Instant::now();
            let in_flight: Vec<_> = state
                .in_flight
                .iter()
                .map(|(path, flight)| json!({"path": path, "seconds": flight.seconds, "duration": flight.total}))
                .collect();
            let event = json!({
                "event": "progress",
                "audio_seconds": heard,
                "remaining_seconds": left,
                "speed": speed,
                "eta_seconds": eta,
                "files_done": state.done,
                "files": state.files,
                "failed": state.failed,
                "in_flight": in_flight,
            });
            drop(state);
            self.json(|| event);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Seconds recognised of files in flight.
    fn heard(&self) -> f64 {
        self.in_flight.values().map(|flight| flight.seconds).sum()
    }

    /// Seconds of audio that are left, estimated from sizes where nothing better is known.
    fn remaining(&self) -> f64 {
        let all = self.rates.values().fold((0.0, 0.0), |sum, rate| (sum.0 + rate.0, sum.1 + rate.1));
        let rate = |extension: &str| match self.rates.get(extension) {
            Some((bytes, seconds)) if *seconds > 0.0 => bytes / seconds,
            _ if all.1 > 0.0 => all.0 / all.1,
            _ => BYTES_PER_SECOND,
        };
        let seconds = |waiting: &Waiting| waiting.seconds.unwrap_or_else(|| waiting.bytes / rate(&waiting.extension));
        (self.waiting.values().map(seconds).sum::<f64>() - self.heard()).max(0.0)
    }
}

/// A name that may hold anything, on one line of a terminal.
pub(super) fn printable(path: &str) -> String {
    path.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `1:02:03`.
pub(super) fn clock(seconds: f64) -> String {
    let s = if seconds.is_finite() { seconds.max(0.0).round() as u64 } else { 0 };
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}

// The templates are constants; a mistake in one falls back to the plain bar.
fn overall_style() -> ProgressStyle {
    let style = ProgressStyle::with_template("[{bar:30}] {msg}");
    style.map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("=> "))
}

fn text_style() -> ProgressStyle {
    let style = ProgressStyle::with_template("  text of {len} s  {wide_msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn file_style() -> ProgressStyle {
    let style = ProgressStyle::with_template("  {pos:>6}/{len} s  {wide_msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}
