//! Reads a streamed completion.

use super::think::ThinkFilter;
use super::tools::{Calls, ToolCall};
use super::transport::{MAX_BODY, Transport, content_type};
use super::wire::{self, Reply};
use super::{Completion, LlmError};
use crate::outcome::Finish;
use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::StreamExt;
use reqwest::Response;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Longest line of a stream; a real one holds one token. The parser reads an unfinished line again with every chunk.
const MAX_LINE: usize = 256 << 10;

/// How long to wait for the rest of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// End of the whole request.
    pub deadline: Instant,
    /// The limit that `deadline` came from, for the message.
    pub limit: Duration,
    /// Longest silence once tokens flow; before the first one the server may be reading a long prompt.
    pub stall: Duration,
}

/// One stream on its way to a `Completion`.
pub(super) struct Reader<'a> {
    transport: &'a Transport,
    started: Instant,
    filter: Option<ThinkFilter>,
    reply: Reply,
    first: Option<Duration>,
    /// Tokens have come, visible or not.
    flowing: bool,
    calls: Calls,
}

/// Why a stream ended before its end.
enum Cut {
    Time,
    Stalled,
    Error(LlmError),
}

impl<'a> Reader<'a> {
    /// For a request sent at `started`. With `keep_tags`, `<think>` is text like any other.
    pub fn new(transport: &'a Transport, keep_tags: bool, started: Instant) -> Self {
        let filter = (!keep_tags).then(ThinkFilter::default);
        Reader {
            transport,
            started,
            filter,
            reply: Reply::default(),
            first: None,
            flowing: false,
            calls: Calls::default(),
        }
    }

    /// Reads to the end, handing out visible text as it comes.
    pub async fn read(
        self,
        response: Response,
        patience: Patience,
        on_delta: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Completion, LlmError> {
        self.read_calls(response, patience, on_delta).await.map(|(completion, _)| completion)
    }

    /// The same, with the calls of tools. A stream that breaks off has none.
    pub async fn read_calls(
        mut self,
        response: Response,
        patience: Patience,
        on_delta: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(Completion, Vec<ToolCall>), LlmError> {
        let cut = match content_type(&response).as_str() {
            // The server knows no streaming.
            "application/json" => self.whole(response, patience, on_delta).await.err(),
            kind if kind.contains("html") => return Err(self.transport.garbage("an HTML page; is base_url right?")),
            _ => self.events(response, patience, on_delta).await.err(),
        };
        if let Some(filter) = self.filter.take() {
            let rest = filter.finish();
            self.show(&rest, on_delta);
        }
        match cut {
            None => {}
            Some(cut) if self.reply.text.is_empty() => {
                return Err(match cut {
                    Cut::Time => self.transport.timeout(patience.limit),
                    Cut::Stalled => self.transport.timeout(patience.stall),
                    Cut::Error(error) => error,
                });
            }
            Some(Cut::Time) => self.reply.finish = Some(Finish::Timeout),
            Some(Cut::Stalled) => {
                tracing::warn!(seconds = patience.stall.as_secs_f64(), "a stream stalled; its text so far is kept");
                self.reply.finish = Some(Finish::Broken);
            }
            Some(Cut::Error(error)) => {
                tracing::warn!(%error, "a stream broke; its text so far is kept");
                self.reply.finish = Some(Finish::Broken);
            }
        }
        self.transport.count(self.reply.counts);
        let first = self.first.unwrap_or_else(|| self.started.elapsed());
        let whole = !matches!(self.reply.finish, Some(Finish::Broken | Finish::Timeout | Finish::Length));
        let calls = if whole { self.calls.finish() } else { Vec::new() };
        Ok((self.reply.completion(first), calls))
    }

    async fn whole(
        &mut self,
        response: Response,
        patience: Patience,
        on_delta: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), Cut> {
        let answer = tokio::time::timeout_at(patience.deadline.into(), self.transport.json(response));
        let answer = answer.await.map_err(|_elapsed| Cut::Time)?.map_err(Cut::Error)?;
        if answer.get("error").is_some() {
            return Err(Cut::Error(self.transport.refused(200, &answer)));
        }
        let reply = wire::completion(&answer).map_err(|reason| Cut::Error(self.transport.garbage(reason)))?;
        if let Some(calls) = answer.pointer("/choices/0/message/tool_calls") {
            self.calls.push(calls).map_err(|reason| self.garbage(reason))?;
        }
        let text = reply.text.clone();
        self.reply = Reply { text: String::new(), ..reply };
        self.take(&text, on_delta);
        Ok(())
    }

    async fn events(
        &mut self,
        response: Response,
        patience: Patience,
        on_delta: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), Cut> {
        let (mut total, mut line) = (0, 0);
        let bytes = response.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(Broken::Connection)?;
            total += chunk.len();
            line = chunk.iter().rposition(|byte| *byte == b'\n').map_or(line + chunk.len(), |at| chunk.len() - at);
            if total > MAX_BODY || line > MAX_LINE { Err(Broken::TooBig) } else { Ok(chunk) }
        });
        let mut events = bytes.eventsource();
        loop {
            let stall = Instant::now() + patience.stall;
            let (until, cut) = if self.flowing && stall < patience.deadline {
                (stall, Cut::Stalled)
            } else {
                (patience.deadline, Cut::Time)
            };
            let event = match tokio::time::timeout_at(until.into(), events.next()).await {
                Err(_elapsed) => return Err(cut),
                // Some servers end without [DONE]; the finish reason says whether that was the end.
                Ok(None) if self.reply.finish.is_some() => return Ok(()),
                Ok(None) => return Err(self.garbage("the stream ended in the middle")),
                Ok(Some(Err(error))) => return Err(self.broken(error)),
                Ok(Some(Ok(event))) => event,
            };
            match event.data.trim() {
                "[DONE]" => return Ok(()),
                "" => {}
                data => self.chunk(data, on_delta)?,
            }
        }
    }

    fn chunk(&mut self, data: &str, on_delta: &mut (dyn FnMut(&str) + Send)) -> Result<(), Cut> {
        let chunk: Value = serde_json::from_str(data)
            .map_err(|error| self.garbage(&format!("a piece of the stream is not valid JSON ({error})")))?;
        if let Some(error) = chunk.get("error") {
            let status = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
            return Err(Cut::Error(self.transport.refused(status.unwrap_or(500), &chunk)));
        }
        self.reply.note(&chunk);
        let Some(choice) = chunk.pointer("/choices/0") else { return Ok(()) };
        if let Some(finish) = wire::finish(choice) {
            self.reply.finish = Some(finish);
        }
        let piece = |key: &str| choice.pointer(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        self.flowing |= piece("/delta/reasoning_content").is_some();
        if let Some(calls) = choice.pointer("/delta/tool_calls") {
            self.calls.push(calls).map_err(|reason| self.garbage(reason))?;
            self.flowing |= self.calls.begun();
        }
        if let Some(text) = piece("/delta/content") {
            self.flowing = true;
            self.take(text, on_delta);
        }
        Ok(())
    }

    fn take(&mut self, text: &str, on_delta: &mut (dyn FnMut(&str) + Send)) {
        let visible = match &mut self.filter {
            Some(filter) => filter.push(text),
            None => text.to_owned(),
        };
        self.show(&visible, on_delta);
    }

    fn show(&mut self, visible: &str, on_delta: &mut (dyn FnMut(&str) + Send)) {
        if !visible.is_empty() {
            self.first.get_or_insert_with(|| self.started.elapsed());
            self.reply.text.push_str(visible);
            on_delta(visible);
        }
    }

    fn garbage(&self, reason: &str) -> Cut {
        Cut::Error(self.transport.garbage(reason))
    }

    fn broken(&self, error: EventStreamError<Broken>) -> Cut {
        match error {
            EventStreamError::Transport(Broken::Connection(error)) => Cut::Error(self.transport.broken(error)),
            EventStreamError::Transport(Broken::TooBig) => self.garbage("a stream without end"),
            EventStreamError::Utf8(_) => self.garbage("a piece of the stream is not valid UTF-8"),
            EventStreamError::Parser(_) => self.garbage("a piece of the stream is not a server-sent event"),
        }
    }
}

/// Why the bytes of a stream stop coming.
#[derive(Debug)]
enum Broken {
    Connection(reqwest::Error),
    TooBig,
}
