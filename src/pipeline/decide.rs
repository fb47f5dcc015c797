//! What the words are for, and the answer if they ask for one.

use super::notes::{Notes, ms};
use super::{Event, Run};
use crate::engine::Ask;
use crate::outcome::{DecidedBy, Intent, Reply, Route};
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
    let begun = Instant::now();
    let ahead = run.engine.head_start(run.plan.route, &text).await;
    let ask =
        Ask { plan: run.plan, text: &text, caller: run.caller.0, conversation: run.conversation, cancel: run.cancel };
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
    let begun = Instant::now();
    let mut first = None;
    let mut on_delta = |delta: &str| {
        first.get_or_insert_with(|| ms(begun));
        (run.observer)(Event::ReplyDelta(delta));
    };
    let (reply, warning) = run.engine.answer(&intent, &text, run.cancel, &mut on_delta).await;
    if let Some(warning) = warning {
        notes.warn(run, warning);
    }
    if reply.is_some() {
        notes.time(|timings| {
            timings.reply_first_ms = first;
            timings.reply_ms = Some(ms(begun));
        });
    }
    (Some(intent), reply)
}
