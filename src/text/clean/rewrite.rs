//! The one style that may change words, within guards; what they refuse is tidied instead.

use super::guards::{Facts, objection};
use super::model::{Failure, Job, Piece};
use super::rules::{self, Place};
use super::units::{Unit, join, parse};
use super::{fidelity, prompt};
use crate::outcome::{CleanEngine, Finish};
use crate::text::llm::ChatRequest;
use futures_util::{StreamExt, stream};
use std::ops::Range;

/// A group is closed at the first cue end after this many units.
const GROUP_UNITS: usize = 60;
/// Longer groups (one endless cue) are not rewritten: a small model loses the thread.
const MOST_UNITS: usize = 250;

/// What came of a rewrite.
pub struct Rewritten {
    /// The units, with the cue each belongs to.
    pub units: Vec<Unit>,
    /// The weakest engine used.
    pub engine: CleanEngine,
    /// Why groups were refused, one entry a group.
    pub refused: Vec<&'static str>,
}

/// Rewrites `units` (sure fillers gone) group by group.
pub async fn rewrite(job: &Job<'_>, units: &[Unit], place: Place, vocabulary: &[String]) -> Rewritten {
    let groups = groups(units);
    let last = groups.len().saturating_sub(1);
    let work = groups.into_iter().enumerate().map(|(index, group)| async move {
        let place = if index == last { place } else { Place { start: place.start, ..Place::default() } };
        match ask(job, &units[group.clone()], vocabulary).await {
            Ok(rewritten) => (Piece { units: rewritten, engine: CleanEngine::Checked }, None),
            Err(refusal) => (job.run(units, group, place).await, refusal),
        }
    });
    // Collected, so that the whole is a future that may move between threads (a lazy closure over borrows may not).
    let work: Vec<_> = work.collect();
    let done: Vec<_> = stream::iter(work).buffered(job.concurrency.max(1)).collect().await;
    let mut all = Rewritten { units: Vec::new(), engine: CleanEngine::None, refused: Vec::new() };
    for (piece, refusal) in done {
        all.units.extend(piece.units);
        all.engine = super::model::weaker(all.engine, piece.engine);
        all.refused.extend(refusal);
    }
    all
}

/// The rewritten group; or why it was refused, `None` when no answer came.
async fn ask(job: &Job<'_>, group: &[Unit], vocabulary: &[String]) -> Result<Vec<Unit>, Option<&'static str>> {
    if job.problems.counts().given_up || job.cancel.is_cancelled() {
        return Err(None);
    }
    if group.len() > MOST_UNITS {
        return Err(Some("it is too long in one piece"));
    }
    let mut said = group.to_vec();
    rules::apply(&mut said, job.lang, Place::default());
    let text = join(&said);
    let request = ChatRequest {
        messages: prompt::messages(job.style, job.lang, &text),
        max_tokens: u32::try_from(text.len() + 64).unwrap_or(u32::MAX),
        temperature: 0.0,
        grammar: None,
        slot: job.slot,
        timeout: Some(job.timeout),
    };
    let completion = job.client.chat(&request, job.cancel).await.map_err(|error| {
        job.problems.note(&Failure::Unanswered(error));
        None
    })?;
    if completion.finish != Finish::Stop {
        return Err(Some("it did not come to an end"));
    }
    let facts = Facts { said: group, text: &text, lang: job.lang, vocabulary, fillers: job.fillers };
    match objection(&facts, completion.text.trim()) {
        Some(reason) => Err(Some(reason)),
        None => Ok(onto_cues(group, completion.text.trim())),
    }
}

fn groups(units: &[Unit]) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = 0;
    for at in 0..units.len() {
        let cue_ends = units.get(at + 1).is_none_or(|next| next.cue != units[at].cue);
        if at + 1 == units.len() || (cue_ends && at + 1 - start >= GROUP_UNITS) {
            groups.push(start..at + 1);
            start = at + 1;
        }
    }
    groups
}

/// The rewritten words on the cues of the words they came from: both texts are aligned by their longest common
/// subsequence, and words without a partner go with the word before them.
fn onto_cues(group: &[Unit], text: &str) -> Vec<Unit> {
    let mut units = parse(text);
    let said: Vec<String> = group.iter().map(|unit| fidelity::words(&unit.core).concat()).collect();
    let written: Vec<String> = units.iter().map(|unit| fidelity::words(&unit.core).concat()).collect();
    // longest[i][j]: common words of said[i..] and written[j..].
    let mut longest = vec![vec![0_usize; written.len() + 1]; said.len() + 1];
    for i in (0..said.len()).rev() {
        for j in (0..written.len()).rev() {
            longest[i][j] = if said[i] == written[j] {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut cue = group[0].cue;
    while j < units.len() {
        if i < said.len() && said[i] == written[j] {
            cue = group[i].cue;
            units[j].cue = cue;
            (i, j) = (i + 1, j + 1);
        } else if i < said.len() && longest[i + 1][j] >= longest[i][j + 1] {
            i += 1;
        } else {
            units[j].cue = cue;
            j += 1;
        }
    }
    if let Some(first) = units.first_mut() {
        first.gap = group[0].gap;
    }
    units
}

#[cfg(test)]
mod tests {
    use super::super::units::parse_cues;
    use super::*;
    use crate::outcome::Cue;

    #[test]
    fn rewritten_words_go_back_to_their_cues() {
        let cue = |text: &str| Cue { start: 0.0, end: 1.0, text: text.into(), ..Cue::default() };
        let group = parse_cues(&[cue("so the meeting is not on monday"), cue("it's like on tuesday at three")]);
        let units = onto_cues(&group, "The meeting is not on Monday. It is on Tuesday at three.");
        let of = |cue| units.iter().filter(|u| u.cue == cue).map(|u| u.core.as_str()).collect::<Vec<_>>().join(" ");
        assert!(of(0).starts_with("The meeting is not on Monday"), "{}", of(0));
        assert!(of(1).ends_with("on Tuesday at three"), "{}", of(1));
    }
}
