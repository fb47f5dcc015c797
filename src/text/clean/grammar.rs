//! The grammar that holds a language model to the speaker's words (GBNF, llama.cpp's form).
//!
//! Two rules a unit: `s3` spells unit 3 at the start of a sentence (with a capital where it can have one), `m3` inside
//! one. After a unit come marks and the separator, then `m4` after none or a comma, `s4` after a full stop. What may be
//! left out is leapt over. The recursion is on the right only and every choice is between literals, so the grammar is
//! linear in the text and the model can spell nothing but the units in their order.

use super::disfluency::Deletion;
use super::rules::{Ending, Place, Start, begins_after, is_code, is_plain_word};
use super::script::{Marks, attaches, capitalised, is_mark, is_quote_or_bracket, is_terminal, uncapitalised};
use super::units::{Gap, Unit, lead_for};
use std::fmt::Write;

/// Leaps out of one unit that the grammar offers at most; more (a word said twenty times) is left in.
const MAX_LEAPS: usize = 8;

/// What the grammar needs besides the units.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The marks of the language.
    pub marks: Marks,
    /// What stands before and after.
    pub place: Place,
    /// What may be left out.
    pub deletions: &'a [Deletion],
    /// Whether the model may start paragraphs of its own after a sentence.
    pub paragraphs: bool,
}

/// The grammar for `units` as GBNF. `None` when there is nothing to spell.
pub fn gbnf(units: &[Unit], rules: &Rules) -> Option<String> {
    if units.is_empty() {
        return None;
    }
    let builder = Builder { units, rules, shouted: is_shouted(units) };
    let mut out = String::new();
    builder.root(&mut out);
    for at in 0..units.len() {
        for state in [State::Sentence, State::Middle] {
            let lead = choice(&builder.leads(at, state));
            let core = choice(&builder.cores(at, state));
            let _ = writeln!(out, "{}{at} ::= {lead} {core} t{at}", state.letter());
        }
        let _ = writeln!(out, "t{at} ::= {}", builder.tail(at).join(" | "));
    }
    Some(out)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Sentence,
    Middle,
}

impl State {
    fn letter(self) -> char {
        match self {
            State::Sentence => 's',
            State::Middle => 'm',
        }
    }
}

struct Builder<'a> {
    units: &'a [Unit],
    rules: &'a Rules<'a>,
    /// The whole text is in capitals, so capitals say nothing about names.
    shouted: bool,
}

impl Builder<'_> {
    fn root(&self, out: &mut String) {
        let state = match self.rules.place.start {
            Start::Sentence => State::Sentence,
            Start::Middle => State::Middle,
        };
        let firsts: Vec<String> = self
            .reachable(0)
            .into_iter()
            .filter(|at| *at < self.units.len())
            .map(|at| format!("{}{at}", state.letter()))
            .collect();
        let _ = writeln!(out, "root ::= {}", firsts.join(" | "));
    }

    /// The units that may come next when `from` is next in the text, `units.len()` being the end.
    fn reachable(&self, from: usize) -> Vec<usize> {
        let mut found = vec![from];
        let mut at = 0;
        while at < found.len() && found.len() < MAX_LEAPS {
            let here = found[at];
            for deletion in self.rules.deletions.iter().filter(|d| d.start == here) {
                if !found.contains(&deletion.end) && deletion.end <= self.units.len() {
                    found.push(deletion.end);
                }
            }
            at += 1;
        }
        found
    }

    /// Marks before the word: as given, only the quotes and brackets of it, or with an opening mark.
    fn leads(&self, at: usize, state: State) -> Vec<String> {
        let given = &self.units[at].lead;
        let fixed = lead_for(without_marks(given), &self.units[at].core);
        let mut leads = vec![given.clone(), fixed.clone()];
        let may_open = (at == 0 || self.units[at].gap != Gap::None) && !self.starts_attached(at);
        if may_open && (state == State::Sentence || at > 0) {
            leads.extend(self.rules.marks.opening.iter().map(|mark| format!("{fixed}{mark}")));
        }
        leads
    }

    /// The word in the forms it may take.
    fn cores(&self, at: usize, state: State) -> Vec<String> {
        let core = &self.units[at].core;
        if self.shouted {
            let lower = core.to_lowercase();
            let undone = lower.to_uppercase() == *core;
            let raised = capitalised(&lower);
            return match (undone && !is_code(core), state, raised) {
                (false, ..) => vec![core.clone()],
                (true, State::Sentence, Some(raised)) => vec![raised, core.clone()],
                (true, State::Middle, Some(raised)) => vec![lower, raised, core.clone()],
                (true, _, None) => vec![lower, core.clone()],
            };
        }
        if is_plain_word(core) {
            return match (state, capitalised(core)) {
                (State::Sentence, Some(raised)) => vec![raised],
                (State::Middle, Some(raised)) => vec![core.clone(), raised],
                (_, None) => vec![core.clone()],
            };
        }
        // A capital inside a sentence is a name; one at its start may be there only for the start.
        let started = at == 0 || begins_after(&self.units[at - 1]) || self.units[at].gap >= Gap::Line;
        match uncapitalised(core).filter(|lower| is_plain_word(lower)) {
            Some(lower) if state == State::Middle && started && core != "I" => vec![core.clone(), lower],
            _ => vec![core.clone()],
        }
    }

    /// What may follow unit `at`: marks, then the next unit or the end.
    fn tail(&self, at: usize) -> Vec<String> {
        let mut ways = Vec::new();
        for next in self.reachable(at + 1) {
            if next == self.units.len() {
                ways.push(choice(&self.final_marks(at)));
                continue;
            }
            let gap = self.units[at + 1..=next].iter().map(|unit| unit.gap).max().unwrap_or_default();
            let middle = self.marks_with_gap(at, next, gap, self.rules.marks.middle, |mark| !is_terminal(mark));
            ways.push(format!("{} m{next}", choice(&middle)));
            let mut end = self.marks_with_gap(at, next, gap, self.rules.marks.end, is_terminal);
            if self.rules.paragraphs
                && gap == Gap::Space
                && self.units[at].is_unspaced() == self.units[next].is_unspaced()
            {
                let broken: Vec<String> =
                    end.iter().filter_map(|way| way.strip_suffix(' ')).map(|way| format!("{way}\n\n")).collect();
                end.extend(broken);
            }
            if !end.is_empty() {
                ways.push(format!("{} s{next}", choice(&end)));
            }
            // As given, where a sentence goes on after a point: "approx. five", "... and".
            let trail = &self.units[at].trail;
            if trail.chars().any(is_terminal) {
                ways.push(format!("{} m{next}", choice(&[format!("{trail}{}", gap.text())])));
            }
        }
        ways
    }

    /// Ways to write the marks and the gap between `at` and `next`, with marks of one kind.
    fn marks_with_gap(
        &self,
        at: usize,
        next: usize,
        gap: Gap,
        marks: &[&str],
        kind: impl Fn(char) -> bool,
    ) -> Vec<String> {
        let unit = &self.units[at];
        let closers = without_marks(&unit.trail);
        let given_kind = unit.trail.chars().any(is_terminal);
        let wanted = marks.iter().any(|mark| mark.chars().any(&kind));
        let wants_terminal = kind('.');
        let mut ways = Vec::new();
        if given_kind == wants_terminal {
            ways.push(format!("{}{}", unit.trail, gap.text()));
        }
        if !wants_terminal {
            ways.push(format!("{closers}{}", gap.text()));
        }
        // Without a gap only full-width marks can follow: a Latin point would stick to what comes after it.
        let can_set = wanted && (gap != Gap::None || self.rules.marks.full_width);
        for mark in marks.iter().filter(|_| can_set) {
            let sets_no_space = self.rules.marks.full_width
                && gap == Gap::Space
                && (unit.is_unspaced() || self.units[next].is_unspaced())
                && !self.starts_attached(next)
                && !self.units[next].lead.contains('-');
            let gap_text = if sets_no_space { "" } else { gap.text() };
            ways.push(format!("{closers}{mark}{gap_text}"));
            if !closers.is_empty() {
                ways.push(format!("{mark}{closers}{gap_text}"));
            }
        }
        ways
    }

    /// A combining mark would join with whatever is set before it.
    fn starts_attached(&self, at: usize) -> bool {
        self.units[at].core.starts_with(attaches)
    }

    /// Ways to end the text after unit `at`.
    fn final_marks(&self, at: usize) -> Vec<String> {
        let unit = &self.units[at];
        let closers = without_marks(&unit.trail);
        let code = is_code(&unit.core);
        let mut ways = Vec::new();
        let bare = code || self.rules.place.ending == Ending::Open || self.rules.marks.end.is_empty();
        if unit.trail.chars().any(is_mark) || bare || unit.core.ends_with('.') {
            ways.push(unit.trail.clone());
        }
        if bare || unit.core.ends_with('.') {
            ways.push(closers.clone());
        }
        for mark in self.rules.marks.end.iter().filter(|_| !code) {
            ways.push(format!("{closers}{mark}"));
            if !closers.is_empty() {
                ways.push(format!("{mark}{closers}"));
            }
        }
        if self.rules.place.ending == Ending::Open && !code {
            ways.extend(self.rules.marks.middle.iter().map(|mark| format!("{closers}{mark}")));
        }
        ways
    }
}

/// Quotes and brackets of a run of marks, with the spaces that belong to them.
fn without_marks(marks: &str) -> String {
    if !marks.chars().any(is_quote_or_bracket) {
        return String::new();
    }
    if marks.chars().any(|c| is_mark(c) || c == '-') {
        marks.chars().filter(|c| is_quote_or_bracket(*c) && !is_mark(*c)).collect()
    } else {
        marks.to_owned()
    }
}

fn is_shouted(units: &[Unit]) -> bool {
    let mut letters = units.iter().flat_map(|unit| unit.core.chars()).filter(|c| c.is_alphabetic());
    units.len() >= 4 && letters.all(char::is_uppercase) && units.iter().any(|u| u.core.chars().any(char::is_uppercase))
}

/// A group of literals, without doubles.
fn choice(literals: &[String]) -> String {
    let mut seen: Vec<&String> = Vec::with_capacity(literals.len());
    for literal in literals {
        if !seen.contains(&literal) {
            seen.push(literal);
        }
    }
    let written: Vec<String> = seen.into_iter().map(|literal| quoted(literal)).collect();
    match written.as_slice() {
        [only] => only.clone(),
        _ => format!("({})", written.join(" | ")),
    }
}

/// A GBNF literal: everything but plain ASCII letters, digits and a few marks as a code point escape, so that no
/// character can end the literal or change how it is read.
fn quoted(literal: &str) -> String {
    let mut out = String::with_capacity(literal.len() + 2);
    out.push('"');
    for c in literal.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '.' | ',' | '\'' | '?' | '!' => out.push(c),
            '\n' => out.push_str("\\n"),
            _ => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}
