//! A session and its socket: one task reads and drives the session, another writes, with a bounded queue between them.
//!
//! Ends when the client goes, does not read, or is silent even to pings; when the session has lasted its time; and when
//! the service ends, after the text of what was committed. Whatever ends it, its work at the recogniser ends with it.

use super::super::admission::Admitted;
use super::super::state::Service;
use super::events::{Event, Failure, Fault};
use super::recognize::{has_time, recognize};
use super::session::{Part, Session};
use crate::speech::Transcript;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

/// Messages that may wait for a client that reads slowly. Hours of an ordinary session.
const UNREAD: usize = 1_024;
/// How often a client is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// For the client's side of a close.
const FAREWELL: Duration = Duration::from_secs(3);
/// Messages above this many bytes are taken off the runtime's own threads: seconds of audio to listen through.
const LARGE: usize = 256 << 10;

/// Why a session ends.
enum End {
    /// The client closed it, or is gone.
    Gone,
    /// We close it.
    Close(u16, &'static str),
}

/// Runs one session to its end.
pub(super) async fn run(socket: WebSocket, service: Arc<Service>, place: Admitted, session: Session) {
    let patience = Duration::from_secs_f64(service.config.serve.idle_timeout_seconds);
    let (sink, mut messages) = socket.split();
    let (out, unread) = mpsc::channel(UNREAD);
    let mut writer = tokio::spawn(write(sink, unread, patience));
    let id = session.id().to_owned();
    tracing::info!(session = id, client = place.client.name, "realtime session begins");
    let end = Conversation { service: &service, place: &place, session, out: &out }.run(&mut messages).await;
    if let End::Close(code, reason) = end {
        let frame = CloseFrame { code, reason: reason.into() };
        // A queue that is full has nobody who reads.
        let _ = out.try_send(Message::Close(Some(frame)));
        drop(out);
        // Until the client has closed too: what it had sent already would otherwise reset the connection, and the
        // reason would be lost.
        let _ = timeout(FAREWELL, async {
            let _ = (&mut writer).await;
            while let Some(Ok(_)) = messages.next().await {}
        })
        .await;
    }
    writer.abort();
    tracing::info!(session = id, "realtime session ends");
}

/// Sends what is in the queue, until it is closed or the client does not read.
async fn write(mut sink: SplitSink<WebSocket, Message>, mut unread: mpsc::Receiver<Message>, patience: Duration) {
    while let Some(message) = unread.recv().await {
        let last = matches!(message, Message::Close(_));
        if !matches!(timeout(patience, sink.send(message)).await, Ok(Ok(()))) || last {
            return;
        }
    }
}

struct Conversation<'a> {
    service: &'a Arc<Service>,
    place: &'a Admitted,
    session: Session,
    out: &'a mpsc::Sender<Message>,
}

/// An utterance at the recogniser.
type AtWork<'a> = BoxFuture<'a, Result<Transcript, Failure>>;

impl Conversation<'_> {
    async fn run(mut self, messages: &mut SplitStream<WebSocket>) -> End {
        let limits = &self.service.config.serve;
        let silence = PING + Duration::from_secs_f64(limits.idle_timeout_seconds);
        let until = tokio::time::Instant::now() + Duration::from_secs_f64(limits.realtime.max_session_seconds);
        let grace = Duration::from_secs_f64(limits.grace_seconds);
        let (service, place) = (self.service, self.place);
        let mut pings = interval(PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = Instant::now();
        let mut at_work: Option<AtWork<'_>> = None;
        let mut draining: Option<tokio::time::Instant> = None;
        if !self.tell(&[self.session.created()]) {
            return SLOW;
        }
        loop {
            if at_work.is_some() && !self.session.wants_work() {
                // Dropped: the recogniser stops within one pass of its encoder.
                at_work = None;
                self.session.abandon();
            }
            if at_work.is_none() {
                at_work = self.begin(service, place, draining.is_some());
            }
            if draining.is_some() && self.session.is_settled() {
                return ENDING;
            }
            let heard = tokio::select! {
                message = messages.next(), if draining.is_none() => {
                    seen = Instant::now();
                    match message {
                        Some(Ok(message)) => self.take(message),
                        Some(Err(error)) => return broken(&error),
                        None => return End::Gone,
                    }
                }
                Some(text) = OptionFuture::from(at_work.as_mut()) => {
                    at_work = None;
                    self.session.heard(text)
                }
                _ = pings.tick() => {
                    if draining.is_none() && seen.elapsed() > silence {
                        return End::Gone;
                    }
                    if self.out.try_send(Message::Ping(Vec::new().into())).is_err() {
                        return SLOW;
                    }
                    continue;
                }
                () = service.draining.cancelled(), if draining.is_none() => {
                    draining = Some(tokio::time::Instant::now() + grace);
                    continue;
                }
                () = sleep_until(draining.unwrap_or(until).min(until)) => {
                    if draining.is_some() {
                        return ENDING;
                    }
                    let message = format!("the session has lasted {} s, its longest", limits.realtime.max_session_seconds);
                    let error = Fault::new("session_expired", message);
                    self.tell(&[Event::Error { error }]);
                    return End::Close(close_code::NORMAL, "the session has lasted its longest");
                }
            };
            if !self.tell(&heard) {
                return SLOW;
            }
        }
    }

    /// What a message brings.
    fn take(&mut self, message: Message) -> Vec<Event> {
        match message {
            Message::Text(text) if text.len() > LARGE => {
                tokio::task::block_in_place(|| self.session.take(text.as_str()))
            }
            Message::Text(text) => self.session.take(text.as_str()),
            Message::Binary(_) => {
                let message = "binary messages are not understood; send audio as base64 in input_audio_buffer.append";
                vec![Event::Error { error: Fault::new("invalid_message", message) }]
            }
            // Answered by the WebSocket itself, when it is read on; after a close it then ends.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Vec::new(),
        }
    }

    /// Gives the recogniser its next utterance.
    fn begin<'w>(&mut self, service: &'w Arc<Service>, place: &'w Admitted, draining: bool) -> Option<AtWork<'w>> {
        let work = self.session.next_work()?;
        if work.part == Part::SoFar && (draining || !has_time(service)) {
            self.session.abandon();
            return None;
        }
        Some(recognize(service, &place.client, work).boxed())
    }

    /// Whether there was room.
    fn tell(&self, events: &[Event]) -> bool {
        events.iter().all(|event| self.out.try_send(Message::Text(event.to_json().into())).is_ok())
    }
}

const ENDING: End = End::Close(close_code::AWAY, "the service is ending");
const SLOW: End = End::Close(close_code::POLICY, "the client does not read its events");

/// A message that breaks the protocol.
fn broken(error: &axum::Error) -> End {
    let text = error.to_string();
    tracing::debug!(error = text, "a realtime connection broke");
    if text.contains("too long") || text.contains("too big") {
        return End::Close(close_code::SIZE, "a message is larger than audio of 15 MiB can make it");
    }
    End::Gone
}
