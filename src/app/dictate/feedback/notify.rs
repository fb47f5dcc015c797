//! Desktop notifications: answers, problems, and text that waits in the clipboard. A new one takes the place of the last of
//! its kind, so that they do not pile up.

use super::next;
use crate::app::dictate::control::{Controller, Event};
use crate::app::dictate::desktop_session::Session;
use crate::app::dictate::machine::Command;
use futures_util::StreamExt;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zbus::zvariant::Value;

/// Between two updates of an answer that comes in.
const UPDATE: Duration = Duration::from_millis(500);
/// Characters of one notification; longer ones end in an ellipsis (the whole is in the history).
const LONGEST: usize = 2000;
/// A service that takes longer does not exist for us.
const ANSWER: Duration = Duration::from_secs(3);

#[zbus::proxy(
    interface = "org.freedesktop.Notifications",
    default_service = "org.freedesktop.Notifications",
    default_path = "/org/freedesktop/Notifications"
)]
trait Notifications {
    fn get_capabilities(&self) -> zbus::Result<Vec<String>>;
    #[allow(clippy::too_many_arguments, reason = "the specification's")]
    fn notify(
        &self,
        app_name: &str,
        replaces_id: u32,
        app_icon: &str,
        summary: &str,
        body: &str,
        actions: &[&str],
        hints: HashMap<&str, Value<'_>>,
        expire_timeout: i32,
    ) -> zbus::Result<u32>;
    #[zbus(signal)]
    fn action_invoked(&self, id: u32, action: String) -> zbus::Result<()>;
}

/// What a notification is about; one of each at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Answer,
    Question,
    Problem,
    State,
}

/// One notification.
#[derive(Debug, PartialEq, Eq)]
struct Note {
    kind: Kind,
    summary: &'static str,
    body: String,
    /// 0 low, 1 normal, 2 critical.
    urgency: u8,
    /// Whether it offers to make text of the cancelled take.
    recover: bool,
}

/// Shows notifications until `stop`.
pub async fn run(session: Session, controller: Controller, stop: CancellationToken) -> Result<(), String> {
    let mut events = controller.events();
    let bus = session.bus().await.map_err(|error| format!("there is no session bus ({error})"))?;
    let service = NotificationsProxy::new(&bus).await.map_err(|error| error.to_string())?;
    let mut shown = Shown { service, can: None, ids: BTreeMap::new() };
    let mut actions = shown.service.receive_action_invoked().await.map_err(|error| error.to_string())?;
    let mut answer = String::new();
    let mut updated: Option<Instant> = None;
    loop {
        let event = tokio::select! {
            event = next(&mut events, &stop) => event,
            action = actions.next() => {
                let action = action.ok_or("the session bus has ended")?;
                let Ok(args) = action.args() else { continue };
                let is = |kind| shown.ids.get(&kind) == Some(&args.id);
                match args.action.as_str() {
                    "recover" if is(Kind::State) => controller.send(Command::Recover),
                    "confirm" if is(Kind::Question) => controller.send(Command::Confirm),
                    "deny" if is(Kind::Question) => controller.send(Command::Deny),
                    _ => {}
                }
                continue;
            }
        };
        let Some(event) = event else { return Ok(()) };
        let note = match event {
            Event::ReplyDelta { delta, .. } => {
                answer.push_str(&delta);
                if updated.is_some_and(|at| at.elapsed() < UPDATE) {
                    continue;
                }
                updated = Some(Instant::now());
                Some(Note {
                    kind: Kind::Answer,
                    summary: "Answer",
                    body: format!("{answer} …"),
                    urgency: 1,
                    recover: false,
                })
            }
            event => {
                if matches!(
                    event,
                    Event::Reply { .. } | Event::Confirm { .. } | Event::Error { .. } | Event::Cancelled { .. }
                ) {
                    answer.clear();
                    updated = None;
                }
                note(&event)
            }
        };
        if let Some(note) = note {
            shown.show(&note).await;
        }
    }
}

/// What an event is worth.
fn note(event: &Event) -> Option<Note> {
    let note = |kind, summary, body: &str, urgency| {
        Some(Note { kind, summary, body: body.to_owned(), urgency, recover: false })
    };
    match event {
        Event::Reply { text, .. } => note(Kind::Answer, "Answer", text, 1),
        Event::Confirm { tool, arguments, .. } => {
            let body = format!("{tool}\n{arguments}\nSay yes or no, or: bestbox ctl confirm | deny");
            note(Kind::Question, "Allow this?", &body, 2)
        }
        Event::Error { message, .. } => note(Kind::Problem, "Dictation failed", message, 2),
        Event::Warning { message } => note(Kind::Problem, "Dictation", message, 1),
        Event::Microphone { message, .. } => note(Kind::Problem, "Microphone", message, 1),
        Event::Nothing { why, .. } => note(Kind::State, "No text", why, 0),
        Event::Delivered { how, .. } if how == "clipboard" => {
            note(Kind::State, "The text is in the clipboard", "Paste it where you want it.", 0)
        }
        Event::Cancelled { recoverable, .. } => {
            let body = if *recoverable { "`bestbox ctl recover` makes text of it after all." } else { "" };
            Some(Note {
                kind: Kind::State,
                summary: "Cancelled",
                body: body.to_owned(),
                urgency: 0,
                recover: *recoverable,
            })
        }
        _ => None,
    }
}

/// The service and what it shows of ours.
struct Shown {
    service: NotificationsProxy<'static>,
    /// What it can do; asked when the first is shown (it may start later than we do).
    can: Option<Vec<String>>,
    ids: BTreeMap<Kind, u32>,
}

impl Shown {
    async fn show(&mut self, note: &Note) {
        match tokio::time::timeout(ANSWER, self.try_show(note)).await {
            Ok(Ok(id)) => {
                self.ids.insert(note.kind, id);
            }
            Ok(Err(error)) => {
                // It may be another program the next time.
                self.can = None;
                tracing::warn!("no notification: {error}");
            }
            Err(_) => tracing::warn!("the notification service does not answer"),
        }
    }

    async fn try_show(&mut self, note: &Note) -> zbus::Result<u32> {
        if self.can.is_none() {
            self.can = Some(self.service.get_capabilities().await?);
        }
        let can = |what: &str| self.can.iter().flatten().any(|known| known == what);
        let mut body = shorten(&note.body);
        if can("body-markup") {
            body = body.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        }
        // What is not shown whole cannot be allowed here.
        let whole = note.body.chars().count() <= LONGEST;
        let actions: &[&str] = match note.kind {
            Kind::Question if whole && can("actions") => &["confirm", "Allow", "deny", "Refuse"],
            _ if note.recover && can("actions") => &["recover", "Make text of it"],
            _ => &[],
        };
        let mut hints = HashMap::from([
            ("urgency", Value::U8(note.urgency)),
            ("desktop-entry", Value::from("org.bestbox.BestBox")),
        ]);
        if note.urgency == 0 {
            hints.insert("transient", Value::Bool(true));
        }
        // An answer stays until it has been read; the rest leaves by itself.
        let expire = if matches!(note.kind, Kind::Answer | Kind::Question) { 0 } else { -1 };
        let replaces = self.ids.get(&note.kind).copied().unwrap_or(0);
        let icon = "audio-input-microphone";
        self.service.notify("bestbox", replaces, icon, note.summary, &body, actions, hints, expire).await
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_answers_are_cut_between_characters() {
        let text = "漢".repeat(LONGEST + 1);
        assert_eq!(shorten(&text).chars().count(), LONGEST + 1);
        assert_eq!(shorten("short"), "short");
    }

    #[test]
    fn what_is_ordinary_is_not_notified() {
        assert_eq!(note(&Event::Level { dbfs: -20.0 }), None);
        assert_eq!(note(&Event::Delivered { take: 1, how: "paste".into() }), None);
        assert!(note(&Event::Delivered { take: 1, how: "clipboard".into() }).is_some());
        assert!(note(&Event::Cancelled { take: 1, recoverable: true }).is_some_and(|note| note.recover));
    }
}
