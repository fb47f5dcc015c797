//! `bestbox ctl`: a client of the control socket. No configuration, no models, no threads: it is over in milliseconds.

use super::control::{Event, Status};
use super::machine::{Command, State, TakeId};
use super::socket::{self, Answer};
use super::take::Last;
use crate::cli::{CtlArgs, CtlCommand};
use crate::error::Error;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A dictation that does not answer for so long hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// What became of a take is told within this after the state changed.
const SOON: Duration = Duration::from_secs(2);
/// How long `stop --wait` waits for a text.
const TEXT_PATIENCE: Duration = Duration::from_secs(600);

/// Runs one command.
///
/// # Errors
/// [`Error::Dictation`] when none is running, or it refuses.
pub(super) fn run(args: CtlArgs) -> Result<(), Error> {
    let command = match args.command {
        CtlCommand::Status { json } => return show_status(&status()?, json),
        CtlCommand::Last { cleaned, raw, json } => return show_last(cleaned, raw, json),
        CtlCommand::Follow { json } => return follow(json),
        CtlCommand::Stop { wait: true } => return stop_and_wait(),
        CtlCommand::Stop { wait: false } => Command::Stop,
        CtlCommand::Start { binding } => Command::Start { binding },
        CtlCommand::Toggle { binding } => Command::Toggle { binding },
        CtlCommand::Press { binding } => Command::Press { binding },
        CtlCommand::Release { binding } => Command::Release { binding },
        CtlCommand::Cancel => Command::Cancel,
        CtlCommand::Recover => Command::Recover,
        CtlCommand::Again => Command::Again,
        CtlCommand::Confirm => Command::Confirm,
        CtlCommand::Deny => Command::Deny,
        CtlCommand::Private { switch } => Command::Private { on: switch == "on" },
        CtlCommand::Quit => Command::Quit,
    };
    Connection::open()?.send(&command)
}

/// What a running dictation is doing.
///
/// # Errors
/// [`Error::Dictation`] when none is running.
pub(super) fn status() -> Result<Status, Error> {
    let answer = Connection::open()?.ask(&json!({"command": "status"}))?;
    answer.status.ok_or_else(|| odd("it sent no status"))
}

/// Tells a running dictation to end.
///
/// # Errors
/// [`Error::Dictation`] when none is running.
pub(super) fn quit() -> Result<(), Error> {
    Connection::open()?.send(&Command::Quit)
}

struct Connection {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Connection {
    fn open() -> Result<Self, Error> {
        let path = socket::socket(&socket::folder()?);
        let stream = UnixStream::connect(&path).map_err(|error| {
            let shown = path.display();
            Error::Dictation(format!("dictation is not running; start it with `bestbox dictate` ({shown}: {error})"))
        })?;
        let prepare = || {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.try_clone()
        };
        let lines = BufReader::new(prepare().map_err(|error| odd(&error.to_string()))?);
        Ok(Connection { stream, lines })
    }

    fn send(&mut self, command: &Command) -> Result<(), Error> {
        let value = serde_json::to_value(command).map_err(|error| odd(&error.to_string()))?;
        self.ask(&value).map(drop)
    }

    fn ask(&mut self, request: &Value) -> Result<Answer, Error> {
        writeln!(self.stream, "{request}").map_err(|error| odd(&error.to_string()))?;
        let line = self.line()?.ok_or_else(|| odd("it ended"))?;
        let answer: Answer = serde_json::from_str(&line).map_err(|error| odd(&error.to_string()))?;
        match answer.ok {
            true => Ok(answer),
            false => Err(Error::Dictation(answer.error.unwrap_or_else(|| "dictation refused".into()))),
        }
    }

    /// The next line; none at the end.
    fn line(&mut self) -> Result<Option<String>, Error> {
        let mut line = String::new();
        let bytes = self.lines.read_line(&mut line).map_err(|error| odd(&error.to_string()))?;
        Ok((bytes > 0).then_some(line))
    }

    /// Asks for events; the answer comes before them.
    fn follow(&mut self, patience: Option<Duration>) -> Result<Answer, Error> {
        let answer = self.ask(&json!({"command": "follow"}))?;
        self.patience(patience)?;
        Ok(answer)
    }

    fn patience(&mut self, patience: Option<Duration>) -> Result<(), Error> {
        self.stream.set_read_timeout(patience).map_err(|error| odd(&error.to_string()))
    }
}

fn odd(why: &str) -> Error {
    Error::Dictation(format!("the running dictation does not answer as it should: {why}"))
}

fn show_status(status: &Status, json: bool) -> Result<(), Error> {
    if json {
        return print(&serde_json::to_string(status).map_err(|error| odd(&error.to_string()))?);
    }
    let state = match status.state {
        State::Idle if !status.ready => "loading the models",
        State::Idle => "idle",
        State::Recording => "recording",
        State::Processing => "processing",
    };
    let mut line = state.to_owned();
    let microphone = status.microphone.as_ref().map(|name| format!("microphone {name}"));
    let binding = status.binding.as_ref().map(|name| format!("binding {name}"));
    let language = Some(format!("language {}", status.language));
    let private = status.private.then(|| "private".to_owned());
    for part in [binding, microphone, language, private].into_iter().flatten() {
        line = format!("{line}, {part}");
    }
    print(&line)
}

fn show_last(cleaned: bool, raw: bool, json: bool) -> Result<(), Error> {
    let answer = Connection::open()?.ask(&json!({"command": "last"}))?;
    let last: Last = answer.last.ok_or_else(|| odd("it sent no text"))?;
    if json {
        return print(&serde_json::to_string(&last).map_err(|error| odd(&error.to_string()))?);
    }
    let text = match (cleaned, raw) {
        (true, _) if !last.cleaned.is_empty() => last.cleaned,
        (_, true) => last.raw,
        _ if !last.reply.is_empty() => last.reply,
        _ => last.text,
    };
    if text.is_empty() { Err(Error::Dictation("there is no text yet".into())) } else { print(&text) }
}

fn follow(json: bool) -> Result<(), Error> {
    let mut connection = Connection::open()?;
    let first = connection.follow(None)?;
    if json {
        print(&serde_json::to_string(&first).map_err(|error| odd(&error.to_string()))?)?;
    }
    while let Some(line) = connection.line()? {
        if json {
            print(line.trim_end())?;
            continue;
        }
        let event: Event = serde_json::from_str(&line).map_err(|error| odd(&error.to_string()))?;
        if let Some(text) = in_words(&event) {
            print(&text)?;
        }
    }
    Ok(())
}

/// An event for a person; none for what would only rush by.
fn in_words(event: &Event) -> Option<String> {
    Some(match event {
        Event::StateChanged { state, .. } => format!("{state:?}").to_lowercase(),
        Event::Listening { microphone, .. } => format!("listening to {microphone}"),
        Event::Partial { text, .. } => format!("... {text}"),
        Event::Final { text, seconds, ms, .. } => format!("text ({seconds:.1} s, {ms:.0} ms): {text}"),
        Event::Cleaned { text, .. } => format!("cleaned: {text}"),
        Event::Reply { text, .. } => format!("answer: {text}"),
        Event::Confirm { tool, arguments, .. } => format!("allow {tool} with {arguments}? bestbox ctl confirm | deny"),
        Event::Delivered { how, .. } => format!("delivered: {how}"),
        Event::Cancelled { recoverable: true, .. } => "cancelled; bestbox ctl recover makes text of it".into(),
        Event::Cancelled { recoverable: false, .. } => "cancelled".into(),
        Event::Nothing { why, .. } => format!("no text: {why}"),
        Event::Microphone { message, .. } | Event::Warning { message } => format!("note: {message}"),
        Event::Error { message, .. } => format!("error: {message}"),
        Event::Level { .. } | Event::ReplyDelta { .. } => return None,
    })
}

fn stop_and_wait() -> Result<(), Error> {
    let mut watching = Connection::open()?;
    watching.follow(Some(TEXT_PATIENCE))?;
    let status =
        Connection::open()?.ask(&json!({"command": "stop"}))?.status.ok_or_else(|| odd("it sent no status"))?;
    let nothing = || Error::Dictation("nothing is being recorded".into());
    if status.state == State::Idle {
        return Err(nothing());
    }
    let ours = |take: TakeId| take == status.take;
    let mut idle = false;
    loop {
        let line = match watching.line() {
            Ok(Some(line)) => line,
            // Its text was there before we asked.
            Err(_) if idle => return Err(nothing()),
            Ok(None) => return Err(odd("it ended")),
            Err(error) => return Err(error),
        };
        match serde_json::from_str(&line).map_err(|error| odd(&error.to_string()))? {
            Event::Final { take, text, .. } | Event::Reply { take, text } if ours(take) => return print(&text),
            Event::Error { take: Some(take), message } | Event::Nothing { take, why: message } if ours(take) => {
                return Err(Error::Dictation(message));
            }
            Event::Cancelled { take, .. } if ours(take) => {
                return Err(Error::Dictation("the take was cancelled".into()));
            }
            // What became of the take is told soon after.
            Event::StateChanged { state: State::Idle, .. } => {
                idle = true;
                watching.patience(Some(SOON))?;
            }
            _ => {}
        }
    }
}

fn print(line: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        // `| head` has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.map_err(|error| Error::Dictation(format!("standard output: {error}"))),
    }
}
