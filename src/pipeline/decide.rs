//! What the words are for, and the answer if they ask for one.

use super::notes::{Notes, ms};
use super::{Event, Run};
use crate::agent::{self, Suspended};
use crate::engine::Ask;
use crate::outcome::{DecidedBy, Intent, Plan, Reply, Route, Warning};
use crate::speech::Transcript;
use crate::text::intent::Decision;
use std::time::Instant;

/// Intent from the raw words, and the answer as soon as the intent asks for one.
pub(super) async fn decide_and_answer(
    run: Run<'_>,
    transcript: &Transcript,
    notes: &Notes,
) -> (Option<Intent>, Option<Reply>) {
    let text = transcript.text();
    if text.trim().is_empty() || run.plan.route == Route::Text {
        return (None, None);
    }
    let talk = run.talk();
    // A plain yes or no to what waits in this conversation is an answer to it, not a question of its own.
    if matches!(run.plan.route, Route::Auto | Route::Agent)
        && let Some(word) = run.engine.word(&talk, &text)
    {
        let plan = Plan { route: Route::Agent, force: None, private: true, ..run.plan.clone() };
        let ask = Ask { plan: &plan, text: &text, caller: run.caller.0, conversation: None, cancel: run.cancel };
        let Decision { intent, .. } = run.engine.decide(ask).await;
        (run.observer)(Event::Intent(&intent));
        return (Some(intent), resume(run, word, notes).await);
    }
    let begun = Instant::now();
    let ahead = run.engine.head_start(run.plan.route, &text, &talk).await;
    let ask =
        Ask { plan: run.plan, text: &text, caller: run.caller.0, conversation: run.conversation(), cancel: run.cancel };
    let Decision { intent, text, warning, .. } = run.engine.decide(ask).await;
    ahead.decided(intent.action);
    if let Some(warning) = warning {
        notes.warn(run, warning);
    }
    notes.time(|timings| timings.intent_ms = (intent.by != DecidedBy::Forced).then(|| ms(begun)));
    (run.observer)(Event::Intent(&intent));
    // After a wake phrase alone the request is still to come.
    if run.plan.route == Route::Intent || intent.attention {
        return (Some(intent), None);
    }
    let mut timed = Timed::new(run);
    let answered = run.engine.answer(&intent, &text, &talk, run.cancel, &mut |event| timed.event(event)).await;
    (Some(intent), timed.reply(answered, notes))
}

/// The rest of an answer that waited for a person.
pub(super) async fn resume(run: Run<'_>, word: (Suspended, bool), notes: &Notes) -> Option<Reply> {
    let mut timed = Timed::new(run);
    let answered = run.engine.resume(word, &run.talk(), run.cancel, &mut |event| timed.event(event)).await;
    timed.reply(answered, notes)
}

/// An answer with its times.
struct Timed<'a> {
    run: Run<'a>,
    begun: Instant,
    first: Option<f64>,
}

impl<'a> Timed<'a> {
    fn new(run: Run<'a>) -> Self {
        Timed { run, begun: Instant::now(), first: None }
    }

    fn event(&mut self, event: agent::Event<'_>) {
        let observer = self.run.observer;
        match event {
            agent::Event::Delta(delta) => {
                self.first.get_or_insert_with(|| ms(self.begun));
                observer(Event::ReplyDelta(delta));
            }
            agent::Event::ToolCall { tool, arguments } => observer(Event::ToolCall { tool, arguments }),
            agent::Event::ToolResult { tool, end, text } => observer(Event::ToolResult { tool, end, text }),
            agent::Event::Pending(call) => observer(Event::Pending(call)),
        }
    }

    fn reply(self, (reply, warnings): (Option<Reply>, Vec<Warning>), notes: &Notes) -> Option<Reply> {
        for warning in warnings {
            notes.warn(self.run, warning);
        }
        if reply.is_some() {
            notes.time(|timings| {
                timings.reply_first_ms = self.first;
                timings.reply_ms = Some(ms(self.begun));
            });
        }
        reply
    }
}
