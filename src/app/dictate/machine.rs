//! When a take begins and ends: the only place where presses, releases and their times are judged.
//!
//! Pure: no clock, no audio, no threads. Whoever owns it says what happened and when, and does what it answers.
//!
//! ```text
//!          press/start            release/stop            tail over
//!   Idle ---------------> Held|Latched ---------> Tail ---------------> (the take is processed) -> Idle
//!                           `--- cancel: the audio is kept, nothing is written ---^
//! ```
//!
//! Takes that have ended are processed behind the scenes: a new one may begin meanwhile.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::Instant;

/// What somebody wants: a key, a client of the control socket, a tray, a terminal view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Begins a take that lasts until it is stopped.
    Start {
        /// Name of a binding, whose plan is followed; `None`: the first.
        #[serde(default)]
        binding: Option<String>,
    },
    /// Ends the take, whoever began it.
    Stop,
    /// Starts or stops.
    Toggle {
        /// As in `Start`.
        #[serde(default)]
        binding: Option<String>,
    },
    /// Gives the take up while it is recorded; otherwise gives up what is being made of those before it.
    Cancel,
    /// The key of a binding went down. What that means, its mode says.
    Press {
        /// Name of the binding.
        #[serde(default)]
        binding: Option<String>,
    },
    /// The key of a binding went up.
    Release {
        /// Name of the binding.
        #[serde(default)]
        binding: Option<String>,
    },
    /// Delivers the last text once more.
    Again,
    /// Makes text of the take that was cancelled last.
    Recover,
    /// Nothing is kept from now on (`true`), or it is again.
    Private {
        /// Whether nothing is kept.
        on: bool,
    },
    /// The call of a tool that the last answer waits for is made.
    Confirm,
    /// It is not made.
    Deny,
    /// Ends the program.
    Quit,
}

/// How a key works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Talks while the key is down.
    Hold,
    /// One press starts, the next stops.
    Toggle,
    /// A tap toggles, a hold talks.
    #[default]
    Auto,
}

/// What dictation is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing.
    #[default]
    Idle,
    /// Listening.
    Recording,
    /// Making text of what was said.
    Processing,
}

/// A take, counted from 1 since the program began.
pub type TakeId = u64;

/// Times that decide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// A press this soon after a release of the same key is autorepeat or a bouncing contact.
    pub debounce: Duration,
    /// In mode auto, a press shorter than this is a tap.
    pub tap: Duration,
    /// What is still recorded after the release: the last word ends later than the finger does.
    pub tail: Duration,
    /// Takes shorter than this are slips of the finger.
    pub shortest: Duration,
    /// A take ends by itself after this.
    pub longest: Duration,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Record, from now (and what the microphone had just before).
    Begin {
        /// The take.
        take: TakeId,
        /// Index of the binding.
        binding: usize,
    },
    /// The key is up and the tail is being recorded: what was said so far is most likely all.
    Ending {
        /// The take.
        take: TakeId,
    },
    /// The recording is complete: make text of it.
    End {
        /// The take.
        take: TakeId,
        /// Whether it reached its longest.
        by_itself: bool,
    },
    /// The recording is of no use.
    Discard {
        /// The take.
        take: TakeId,
        /// Why.
        why: Discarded,
    },
    /// Give up what is being made of earlier takes.
    CancelProcessing,
    /// Nothing was done, for a reason that the user should hear.
    Refuse(Refusal),
}

/// Why a recording is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// Given up; it can be recovered.
    Cancelled,
    /// Shorter than a word.
    TooShort,
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no binding of that name.
    #[error("there is no binding named '{0}'")]
    NoBinding(String),
    /// Too many takes wait for their text.
    #[error("{0} takes are still being processed; wait for one of them")]
    Busy(usize),
}

/// Takes that may be processed at once before another is refused.
pub const MOST_PROCESSING: usize = 8;

/// The state machine.
#[derive(Debug)]
pub struct Machine {
    times: Times,
    bindings: Vec<(String, Mode)>,
    phase: Phase,
    last_take: TakeId,
    processing: usize,
    /// When which key went up last, and the take that ended.
    released: Option<(usize, Instant)>,
    /// When which key went down last, which toggled.
    pressed: Option<(usize, Instant)>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Idle,
    /// Recording since `since`. `key`: the key is down and its release counts.
    Recording {
        take: TakeId,
        binding: usize,
        since: Instant,
        key: bool,
    },
    /// Recording the tail until `until`.
    Tail {
        take: TakeId,
        binding: usize,
        since: Instant,
        until: Instant,
        by_key: bool,
    },
}

impl Machine {
    /// A machine at rest. `bindings` are names and modes; the first is the default.
    pub fn new(bindings: Vec<(String, Mode)>, times: Times) -> Self {
        Machine { times, bindings, phase: Phase::Idle, last_take: 0, processing: 0, released: None, pressed: None }
    }

    /// What dictation is doing.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Recording { .. } | Phase::Tail { .. } => State::Recording,
            Phase::Idle if self.processing > 0 => State::Processing,
            Phase::Idle => State::Idle,
        }
    }

    /// Takes whose text is being made.
    pub fn processing(&self) -> usize {
        self.processing
    }

    /// The binding of the take that is recorded.
    pub fn binding(&self) -> Option<&str> {
        match self.phase {
            Phase::Idle => None,
            Phase::Recording { binding, .. } | Phase::Tail { binding, .. } => Some(&self.bindings[binding].0),
        }
    }

    /// When [`Machine::tick`] is to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Idle => None,
            Phase::Recording { since, .. } => Some(since + self.times.longest),
            Phase::Tail { until, .. } => Some(until),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        match self.phase {
            Phase::Tail { until, .. } if now >= until => self.end_tail(),
            Phase::Recording { take, since, .. } if now >= since + self.times.longest => {
                self.phase = Phase::Idle;
                self.processing += 1;
                vec![Action::End { take, by_itself: true }]
            }
            _ => Vec::new(),
        }
    }

    /// A take has been processed, or was given up.
    pub fn processed(&mut self) {
        self.processing = self.processing.saturating_sub(1);
    }

    /// A take that was recorded earlier is being processed too.
    pub fn also_processing(&mut self) {
        self.processing += 1;
    }

    /// Does what is wanted.
    pub fn handle(&mut self, command: &Command, now: Instant) -> Vec<Action> {
        // What is due by the clock happens first, whoever comes first in the program.
        let mut actions = self.tick(now);
        let result = match command {
            Command::Start { binding } => self.index(binding.as_deref()).map(|binding| match self.phase {
                Phase::Recording { .. } => Vec::new(),
                _ => self.begin(binding, false, now),
            }),
            Command::Stop => Ok(self.stop(now, false)),
            Command::Toggle { binding } => self.index(binding.as_deref()).map(|binding| match self.phase {
                Phase::Recording { .. } => self.stop(now, false),
                _ => self.begin(binding, false, now),
            }),
            Command::Cancel => Ok(self.cancel()),
            Command::Press { binding } => self.index(binding.as_deref()).map(|binding| self.press(binding, now)),
            Command::Release { binding } => self.index(binding.as_deref()).map(|binding| self.release(binding, now)),
            Command::Again | Command::Recover | Command::Private { .. } => Ok(Vec::new()),
            Command::Confirm | Command::Deny | Command::Quit => Ok(Vec::new()),
        };
        actions.extend(result.unwrap_or_else(|refusal| vec![Action::Refuse(refusal)]));
        actions
    }

    fn index(&self, name: Option<&str>) -> Result<usize, Refusal> {
        let Some(name) = name else { return Ok(0) };
        let found = self.bindings.iter().position(|(known, _)| known == name);
        found.ok_or_else(|| Refusal::NoBinding(name.to_owned()))
    }

    fn press(&mut self, binding: usize, now: Instant) -> Vec<Action> {
        let mode = self.bindings[binding].1;
        let bounced = |at: Option<(usize, Instant)>| {
            at.is_some_and(|(of, at)| of == binding && now.saturating_duration_since(at) < self.times.debounce)
        };
        match self.phase {
            // The release was none: the key is still down.
            Phase::Tail { take, binding: of, since, by_key: true, .. } if of == binding && bounced(self.released) => {
                self.phase = Phase::Recording { take, binding, since, key: true };
                Vec::new()
            }
            Phase::Recording { take, binding: of, since, key: false } if of == binding => {
                if mode == Mode::Auto && bounced(self.released) {
                    // The tap was none: the key is still down.
                    self.phase = Phase::Recording { take, binding, since, key: true };
                    return Vec::new();
                }
                if mode == Mode::Hold || bounced(self.pressed) {
                    return Vec::new();
                }
                self.pressed = Some((binding, now));
                self.stop(now, false)
            }
            // Autorepeat, or another key while this one talks.
            Phase::Recording { .. } => Vec::new(),
            Phase::Idle | Phase::Tail { .. } => {
                if mode != Mode::Hold && bounced(self.pressed) {
                    return Vec::new();
                }
                self.pressed = Some((binding, now));
                self.begin(binding, mode != Mode::Toggle, now)
            }
        }
    }

    fn release(&mut self, binding: usize, now: Instant) -> Vec<Action> {
        let Phase::Recording { take, binding: of, since, key: true } = self.phase else { return Vec::new() };
        if of != binding {
            return Vec::new();
        }
        self.released = Some((binding, now));
        if self.bindings[binding].1 == Mode::Auto && now.saturating_duration_since(since) < self.times.tap {
            // A tap: goes on until the next.
            self.phase = Phase::Recording { take, binding, since, key: false };
            return Vec::new();
        }
        self.stop(now, true)
    }

    fn begin(&mut self, binding: usize, key: bool, now: Instant) -> Vec<Action> {
        // A new take in the tail of the last: that one is complete, its tail is short.
        let mut actions = match self.phase {
            Phase::Tail { .. } => self.end_tail(),
            _ => Vec::new(),
        };
        if self.processing >= MOST_PROCESSING {
            actions.push(Action::Refuse(Refusal::Busy(self.processing)));
            return actions;
        }
        self.last_take += 1;
        self.phase = Phase::Recording { take: self.last_take, binding, since: now, key };
        actions.push(Action::Begin { take: self.last_take, binding });
        actions
    }

    fn stop(&mut self, now: Instant, by_key: bool) -> Vec<Action> {
        let Phase::Recording { take, binding, since, .. } = self.phase else { return Vec::new() };
        // How long it was, the end of the tail judges: until then a bouncing contact may take the stop back.
        self.phase = Phase::Tail { take, binding, since, until: now + self.times.tail, by_key };
        if self.is_too_short(since, now) { Vec::new() } else { vec![Action::Ending { take }] }
    }

    fn end_tail(&mut self) -> Vec<Action> {
        let Phase::Tail { take, since, until, .. } = self.phase else { return Vec::new() };
        self.phase = Phase::Idle;
        if self.is_too_short(since, until - self.times.tail) {
            return vec![Action::Discard { take, why: Discarded::TooShort }];
        }
        self.processing += 1;
        vec![Action::End { take, by_itself: false }]
    }

    fn is_too_short(&self, since: Instant, stopped: Instant) -> bool {
        stopped.saturating_duration_since(since) < self.times.shortest
    }

    fn cancel(&mut self) -> Vec<Action> {
        match self.phase {
            Phase::Recording { take, .. } | Phase::Tail { take, .. } => {
                self.phase = Phase::Idle;
                vec![Action::Discard { take, why: Discarded::Cancelled }]
            }
            Phase::Idle if self.processing > 0 => vec![Action::CancelProcessing],
            Phase::Idle => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
