//! One run of text through the language model: windows, grammar, check, and rules where any of it fails.

use super::chunks::{is_oversized, window_end};
use super::disfluency::{Deletion, Fillers};
use super::grammar::{self, Rules};
use super::rules::{self, Ending, Place, Start, begins_after};
use super::script::{Marks, is_mark, is_quote_or_bracket};
use super::units::{Gap, Unit, join, parse};
use super::{WrittenText, fidelity, prompt};
use crate::language::Lang;
use crate::outcome::{CleanEngine, Finish, Style};
use crate::text::llm::{Capabilities, ChatRequest, Client, LlmError};
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// From this many units on, the model may start paragraphs of its own.
const PARAGRAPH_UNITS: usize = 60;
/// In a window that is not the last, words after the last sentence end go into the next window; without any sentence
/// end so many units do, because their marks depend on what follows.
const CARRIED_UNITS: usize = 10;

/// What every run of one call shares.
pub struct Job<'a> {
    pub client: &'a Client,
    pub capabilities: &'a Capabilities,
    pub fillers: &'a Fillers,
    /// What `tidy` may still leave out, over all units.
    pub deletions: &'a [Deletion],
    pub lang: Lang,
    pub style: Style,
    pub written_text: WrittenText,
    pub slot: Option<u32>,
    pub timeout: Duration,
    pub concurrency: usize,
    pub cancel: &'a CancellationToken,
    pub problems: &'a Problems,
}

/// What went wrong so far, over all runs of a call.
#[derive(Default)]
pub struct Problems(Mutex<Counts>);

#[derive(Default, Clone)]
pub struct Counts {
    /// Windows whose model text was not the speaker's words.
    pub rejected: usize,
    /// Windows that got no answer, and the first reason.
    pub unanswered: usize,
    pub reason: Option<String>,
    /// The server is gone or too slow: no more is asked of it in this call.
    pub given_up: bool,
}

impl Problems {
    pub fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub fn note(&self, failure: &Failure) {
        let mut counts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match failure {
            Failure::Rejected => counts.rejected += 1,
            Failure::Unanswered(error) => {
                counts.unanswered += 1;
                counts.reason.get_or_insert_with(|| error.to_string());
                counts.given_up |= !matches!(error, LlmError::Garbage { .. } | LlmError::TooLong { .. });
            }
        }
    }
}

/// Why a window has no model text.
#[derive(Debug)]
pub enum Failure {
    /// The text failed the check.
    Rejected,
    /// No usable answer came.
    Unanswered(LlmError),
}

/// A cleaned stretch.
pub struct Piece {
    /// With the cue of the unit each was made from.
    pub units: Vec<Unit>,
    /// The weakest engine used in it.
    pub engine: CleanEngine,
}

impl Job<'_> {
    /// Cleans `units[run]`, window by window.
    pub async fn run(&self, units: &[Unit], run: Range<usize>, place: Place) -> Piece {
        let mut done = Piece { units: Vec::with_capacity(run.len()), engine: CleanEngine::Grammar };
        let mut at = run.start;
        let mut start = place.start;
        while at < run.end {
            if is_oversized(&units[at]) {
                start = if begins_after(&units[at]) { Start::Sentence } else { Start::Middle };
                done.units.push(units[at].clone());
                at += 1;
                continue;
            }
            let to_oversized = (at..run.end).find(|i| is_oversized(&units[*i])).unwrap_or(run.end);
            let end = window_end(units, at, to_oversized);
            let last = end == run.end;
            let ending = if last { place.ending } else { Ending::Open };
            let window = &units[at..end];
            let (cleaned, kept, engine) =
                self.window(window, &self.deletions_in(at..end), Place { start, ending }).await;
            done.engine = weaker(done.engine, engine);
            let whole = last || engine == CleanEngine::Rules || end == to_oversized;
            let taken = if whole { cleaned.len() } else { committed(&cleaned) };
            let consumed = if whole { window.len() } else { kept[taken - 1] + 1 };
            done.units.extend(cleaned.into_iter().take(taken));
            start = if done.units.last().is_some_and(begins_after) { Start::Sentence } else { Start::Middle };
            at += consumed;
        }
        done
    }

    /// The deletions that lie within `window`, counted from its start.
    fn deletions_in(&self, window: Range<usize>) -> Vec<Deletion> {
        let inside = self.deletions.iter().filter(|d| d.start >= window.start && d.end <= window.end);
        inside.map(|d| Deletion { start: d.start - window.start, end: d.end - window.start, sure: d.sure }).collect()
    }

    /// The style that keeps words: a rewrite starts from the tidy text, which it falls back to.
    fn word_style(&self) -> Style {
        if self.style == Style::Rewrite { Style::Tidy } else { self.style }
    }

    /// Cleans one window; gives the units, the index of each in the window, and what made them.
    async fn window(
        &self,
        window: &[Unit],
        deletions: &[Deletion],
        place: Place,
    ) -> (Vec<Unit>, Vec<usize>, CleanEngine) {
        let written = self.written_text == WrittenText::Rules && rules::is_written(window, self.lang);
        if !written && !self.problems.counts().given_up && !self.cancel.is_cancelled() {
            match self.ask(window, deletions, place).await {
                Ok(answer) => return answer,
                Err(failure) => self.problems.note(&failure),
            }
        }
        let (mut units, kept) = (window.to_vec(), (0..window.len()).collect());
        rules::apply(&mut units, self.lang, place);
        (units, kept, CleanEngine::Rules)
    }

    async fn ask(
        &self,
        window: &[Unit],
        deletions: &[Deletion],
        place: Place,
    ) -> Result<(Vec<Unit>, Vec<usize>, CleanEngine), Failure> {
        let marks = Marks::of(self.lang);
        let paragraphs = window.len() >= PARAGRAPH_UNITS;
        let text = join(window);
        let grammar =
            grammar::gbnf(window, &Rules { marks, place, deletions, paragraphs }).filter(|_| self.capabilities.grammar);
        let mut engine = if grammar.is_some() { CleanEngine::Grammar } else { CleanEngine::Checked };
        let mut request = ChatRequest {
            messages: prompt::messages(self.word_style(), self.lang, &text),
            max_tokens: token_limit(&text, window.len()),
            temperature: 0.0,
            grammar,
            slot: self.slot,
            timeout: Some(self.timeout),
        };
        let mut answer = self.client.chat(&request, self.cancel).await;
        if let Err(LlmError::Status { status: 400, .. }) = &answer
            && request.grammar.take().is_some()
        {
            // A server that says it knows grammars but refuses this one: the check alone holds it to the words.
            engine = CleanEngine::Checked;
            answer = self.client.chat(&request, self.cancel).await;
        }
        let completion = answer.map_err(Failure::Unanswered)?;
        if completion.finish != Finish::Stop {
            return Err(Failure::Rejected);
        }
        let output = completion.text.trim();
        let kept = fidelity::align(&text, output, deletions).ok_or(Failure::Rejected)?;
        let mut units = parse(output);
        if units.len() != kept.len() || !plausible_marks(window, &units) {
            return Err(Failure::Rejected);
        }
        take_over(window, &mut units, &kept, paragraphs);
        rules::apply(&mut units, self.lang, place);
        Ok((units, kept, engine))
    }
}

/// The weaker of two engines.
pub fn weaker(a: CleanEngine, b: CleanEngine) -> CleanEngine {
    let strength = |engine| match engine {
        CleanEngine::None => 3,
        CleanEngine::Grammar => 2,
        CleanEngine::Checked => 1,
        CleanEngine::Rules => 0,
    };
    if strength(a) <= strength(b) { a } else { b }
}

/// How many units of a window that is not the last are settled: up to the last sentence end, unless that is far back.
fn committed(cleaned: &[Unit]) -> usize {
    cleaned
        .iter()
        .rposition(begins_after)
        .map(|at| at + 1)
        .filter(|settled| *settled * 3 >= cleaned.len())
        .unwrap_or_else(|| cleaned.len().saturating_sub(CARRIED_UNITS).max(1))
}

/// Generous bound on the tokens that spell `text` with marks: byte-level vocabularies need at most one token a byte in
/// scripts they have not learnt, and the grammar ends the text by itself long before.
fn token_limit(text: &str, units: usize) -> u32 {
    let rare = text.chars().filter(|c| !c.is_ascii()).map(char::len_utf8).sum::<usize>();
    u32::try_from(text.len() / 2 + rare + 2 * units + 32).unwrap_or(u32::MAX)
}

/// Quotes and brackets are those of the speaker's text, and no word carries a pile of marks.
fn plausible_marks(window: &[Unit], output: &[Unit]) -> bool {
    let quotes = |units: &[Unit]| {
        let mut all: Vec<char> = units
            .iter()
            .flat_map(|unit| unit.lead.chars().chain(unit.trail.chars()))
            .filter(|c| is_quote_or_bracket(*c) && !is_mark(*c))
            .collect();
        all.sort_unstable();
        all
    };
    let longest = |units: &[Unit]| {
        units.iter().map(|unit| unit.trail.chars().chain(unit.lead.chars()).filter(|c| is_mark(*c)).count()).max()
    };
    quotes(window) == quotes(output) && longest(output) <= longest(window).max(Some(2))
}

/// Gives each unit the cue and the gap of the unit it was made from; the model may only add paragraphs after sentences,
/// and a full-width mark may replace a space.
fn take_over(window: &[Unit], units: &mut [Unit], kept: &[usize], paragraphs: bool) {
    let mut next = 0;
    let mut after_sentence = false;
    for (at, index) in kept.iter().enumerate() {
        let given = window[next..=*index].iter().map(|unit| unit.gap).max().unwrap_or_default();
        let mark_instead =
            at > 0 && given == Gap::Space && units[at].gap == Gap::None && !units[at - 1].trail.is_empty();
        let unit = &mut units[at];
        unit.cue = window[*index].cue;
        if !(mark_instead || (paragraphs && after_sentence && unit.gap == Gap::Paragraph)) {
            unit.gap = given;
        }
        after_sentence = begins_after(unit);
        next = index + 1;
    }
}
