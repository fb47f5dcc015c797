//! The handle to dictation that every key, client and view has, and what it is told: the same types that the control
//! socket speaks (docs/dictate-control.md).

use super::machine::{Command, State, TakeId};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

/// Events that a slow follower may lag behind before it misses some.
const BACKLOG: usize = 1024;

/// Dictation at this moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// The take that is recorded, or was last; 0: none yet.
    pub take: TakeId,
    /// Binding of the take that is recorded.
    pub binding: Option<String>,
    /// When the state began, seconds since 1970.
    pub since: f64,
    /// Level of the last tenth of a second while recording, dB of full scale, -100 to 0.
    pub level_dbfs: Option<f32>,
    /// What was heard so far of the take that is recorded or was last.
    pub partial: String,
    /// The microphone in use, or that would be.
    pub microphone: Option<String>,
    /// Language spoken: a code, or `auto`.
    pub language: String,
    /// Speech model.
    pub model: String,
    /// Whether the models are loaded; before that takes are recorded and wait.
    pub ready: bool,
    /// Takes whose text is being made.
    pub processing: usize,
    /// Samples (16 kHz) that were lost since the start because nobody fetched them in time.
    pub dropped_samples: u64,
    /// Whether nothing is kept.
    pub private: bool,
    /// Process id of `bestbox dictate`.
    pub pid: u32,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The state, or what is recorded, is another.
    StateChanged {
        /// What dictation is doing.
        state: State,
        /// Binding of the take that is recorded.
        binding: Option<String>,
    },
    /// The first real sample of a take is there: whoever speaks now is heard.
    Listening {
        /// The take.
        take: TakeId,
        /// The microphone.
        microphone: String,
    },
    /// How loud it is, ten times a second while recording.
    Level {
        /// dB of full scale, -100 to 0.
        dbfs: f32,
    },
    /// What was heard so far of the take that is recorded.
    Partial {
        /// The take.
        take: TakeId,
        /// All of it; the end may still change.
        text: String,
    },
    /// The text of a take, as it is delivered.
    Final {
        /// The take.
        take: TakeId,
        /// Name in the history; none in private mode.
        id: Option<String>,
        /// The text.
        text: String,
        /// As it was recognised.
        raw: String,
        /// Seconds of audio.
        seconds: f64,
        /// Milliseconds from the end of the recording (the release and its tail) to this text.
        ms: f64,
    },
    /// A cleaned text that was not there in time: `bestbox ctl last --cleaned` has it.
    Cleaned {
        /// The take.
        take: TakeId,
        /// The text.
        text: String,
    },
    /// A piece of a model's answer.
    ReplyDelta {
        /// The take.
        take: TakeId,
        /// What is new.
        delta: String,
    },
    /// A model's answer is complete.
    Reply {
        /// The take.
        take: TakeId,
        /// The answer.
        text: String,
    },
    /// An answer waits for a person's word about a call of a tool: `confirm`, `deny`, or a plain yes or no as the next
    /// take.
    Confirm {
        /// The take.
        take: TakeId,
        /// Name of the tool.
        tool: String,
        /// Its arguments, whole.
        arguments: serde_json::Value,
        /// Until when, seconds since 1970.
        expires: f64,
    },
    /// A text has reached its destination.
    Delivered {
        /// The take.
        take: TakeId,
        /// How: `paste`, `type`, `clipboard`, `stdout`, `file`, `command`, `notification`.
        how: String,
    },
    /// A take was given up.
    Cancelled {
        /// The take.
        take: TakeId,
        /// Whether its audio is kept, so that `bestbox ctl recover` makes text of it.
        recoverable: bool,
    },
    /// A take without speech, or shorter than a word: there is no text.
    Nothing {
        /// The take.
        take: TakeId,
        /// Why: one sentence.
        why: String,
    },
    /// The microphone went, came back, or is another one.
    Microphone {
        /// The one in use; none while there is none.
        name: Option<String>,
        /// What happened: one sentence.
        message: String,
    },
    /// Something does not work as it should; dictation goes on.
    Warning {
        /// One sentence.
        message: String,
    },
    /// A take has no text although somebody spoke.
    Error {
        /// The take, where it is about one.
        take: Option<TakeId>,
        /// One sentence.
        message: String,
    },
}

/// A command with the time it was given, and who waits for the status after it.
#[derive(Debug)]
pub struct Order {
    /// What is wanted.
    pub command: Command,
    /// When.
    pub at: Instant,
    /// Told the status once the command has been handled.
    pub reply: Option<oneshot::Sender<Status>>,
}

/// A handle to dictation. Clones are the same.
#[derive(Clone, Debug)]
pub struct Controller {
    orders: mpsc::UnboundedSender<Order>,
    status: watch::Receiver<Status>,
    events: broadcast::Sender<Event>,
}

/// The owner's end.
#[derive(Debug)]
pub struct Control {
    /// What is wanted, in order.
    pub orders: mpsc::UnboundedReceiver<Order>,
    /// Where the status is kept up to date.
    pub status: watch::Sender<Status>,
    /// Where it is told what happens.
    pub events: broadcast::Sender<Event>,
}

impl Controller {
    /// A handle and the owner's end of it.
    pub fn new(status: Status) -> (Self, Control) {
        let (orders_in, orders) = mpsc::unbounded_channel();
        let (status_in, status) = watch::channel(status);
        let (events, _) = broadcast::channel(BACKLOG);
        let control = Control { orders, status: status_in, events: events.clone() };
        (Controller { orders: orders_in, status, events }, control)
    }

    /// Says what is wanted, now.
    pub fn send(&self, command: Command) {
        self.send_at(command, Instant::now());
    }

    /// Says what was wanted at `at`; for sources that know when a key went down better than we do.
    pub fn send_at(&self, command: Command, at: Instant) {
        // When the owner is gone the program ends: nobody is left to be told.
        let _ = self.orders.send(Order { command, at, reply: None });
    }

    /// Says what is wanted and waits until it has been handled; `None` when dictation has ended.
    pub async fn request(&self, command: Command) -> Option<Status> {
        let (reply, status) = oneshot::channel();
        self.orders.send(Order { command, at: Instant::now(), reply: Some(reply) }).ok()?;
        status.await.ok()
    }

    /// The status, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// What happens from now on. Whoever is too slow misses events and is told how many.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}
