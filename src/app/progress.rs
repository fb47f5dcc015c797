//! What a person sees on standard error while they wait: a bar on a terminal, plain lines elsewhere, nothing with
//! `--quiet`. Standard output is never touched.

use super::say;
use crate::cli::Global;
use crate::engine::Notice;
use crate::models;
use crate::pipeline::Event;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Lines that would follow each other faster than this are skipped where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bar,
    Plain,
    Quiet,
}

/// One line of progress, shared by everything that a command waits for.
#[derive(Clone)]
pub(super) struct Progress {
    mode: Mode,
    bar: ProgressBar,
    state: Arc<Mutex<State>>,
}

struct State {
    name: String,
    duration: Option<f64>,
    started: Instant,
    printed: Instant,
}

impl Progress {
    pub fn new(global: &Global) -> Self {
        let mode = match (global.quiet, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Bar,
            (false, false) => Mode::Plain,
        };
        let bar = if mode == Mode::Bar { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        bar.set_style(spinner_style());
        let now = Instant::now();
        let state = State { name: String::new(), duration: None, started: now, printed: now };
        Progress { mode, bar, state: Arc::new(Mutex::new(state)) }
    }

    /// For what is loaded, fetched or started.
    pub fn notice(&self) -> Notice {
        let progress = self.clone();
        Arc::new(move |line: &str| match progress.mode {
            Mode::Quiet => {}
            Mode::Plain => say(line),
            // A recording that is under way keeps its bar.
            Mode::Bar if progress.lock().duration.is_some() && !progress.bar.is_finished() => {}
            Mode::Bar => progress.spin(line.to_owned()),
        })
    }

    /// A recording begins.
    pub fn begin(&self, name: &str) {
        let mut state = self.lock();
        let now = Instant::now();
        *state = State { name: name.to_owned(), duration: None, started: now, printed: now };
        drop(state);
        if self.mode == Mode::Bar {
            self.spin(name.to_owned());
        }
    }

    /// Something happened in the recording.
    pub fn event(&self, event: &Event<'_>) {
        match event {
            Event::Opened { duration, .. } => {
                self.lock().duration = *duration;
                if let (Mode::Bar, Some(seconds)) = (self.mode, duration) {
                    self.bar.set_style(bar_style());
                    self.bar.set_length(seconds.ceil() as u64);
                }
            }
            Event::Progress { seconds } => {
                self.bar.set_position(*seconds as u64);
                self.plain(*seconds);
            }
            Event::Intent(intent) if self.mode == Mode::Bar => {
                self.bar.set_message(format!("{}: {}", self.lock().name, intent.label));
            }
            _ => {}
        }
    }

    /// A model is being fetched, imported or checked.
    pub fn model(&self, event: models::Event<'_>) {
        use models::Event;
        match event {
            Event::Started { name, bytes } => self.begin_model(name, bytes),
            Event::Waiting { name } => self.line(&format!("{name}: another process is fetching it, waiting")),
            Event::From(source) => self.line(&format!("{}: from {source}", self.lock().name.clone())),
            Event::Package { name, number, of } => {
                self.line(&format!("{}: package {number} of {of}, {name}", self.lock().name.clone()));
            }
            Event::Bytes { done, total } => self.count(done, total, "MB", 1e6),
            Event::Importing { done, total } => self.count(done, total, "tensors", 1.0),
            Event::Checking => self.line(&format!("{}: checking", self.lock().name.clone())),
            Event::Note(note) => self.line(note),
        }
    }

    fn begin_model(&self, name: &str, bytes: u64) {
        self.begin(name);
        self.line(&format!("{name}: fetching {}", models::size(bytes)));
    }

    fn count(&self, done: u64, total: u64, unit: &str, scale: f64) {
        if self.mode == Mode::Bar {
            self.bar.set_style(count_style());
            self.bar.set_length(total);
            self.bar.set_position(done);
            return;
        }
        let mut state = self.lock();
        if self.mode == Mode::Plain && state.printed.elapsed() >= PLAIN_INTERVAL {
            state.printed = Instant::now();
            say(&format!("{}: {:.0} of {:.0} {unit}", state.name, done as f64 / scale, total as f64 / scale));
        }
    }

    /// A line that stays, above the bar where there is one.
    pub fn line(&self, line: &str) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Plain => say(line),
            Mode::Bar => self.bar.suspend(|| say(line)),
        }
    }

    /// A failure: shown even when quiet.
    pub fn error(&self, line: &str) {
        self.bar.suspend(|| say(line));
    }

    /// Clears the bar, so that a result can be printed; whatever comes next shows it again.
    pub fn end(&self) {
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
    }

    fn spin(&self, message: String) {
        if self.bar.is_finished() {
            self.bar.reset();
        }
        self.bar.set_style(spinner_style());
        self.bar.set_message(message);
        self.bar.enable_steady_tick(Duration::from_millis(120));
    }

    fn plain(&self, seconds: f64) {
        let mut state = self.lock();
        if self.mode != Mode::Plain || state.printed.elapsed() < PLAIN_INTERVAL {
            return;
        }
        state.printed = Instant::now();
        let speed = seconds / state.started.elapsed().as_secs_f64().max(0.001);
        let of = state.duration.map(|total| format!(" of {total:.0} s")).unwrap_or_default();
        say(&format!("{}: {seconds:.0} s{of} recognised, {speed:.1}x real time", state.name));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn spinner_style() -> ProgressStyle {
    ProgressStyle::default_spinner()
}

fn count_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {percent}%  {eta}")
        .map_or_else(|_| spinner_style(), |style| style.progress_chars("=> "))
}

fn bar_style() -> ProgressStyle {
    // The template is a constant; a mistake in it falls back to the plain spinner.
    ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {pos}/{len} s  {eta}")
        .map_or_else(|_| spinner_style(), |style| style.progress_chars("=> "))
}
