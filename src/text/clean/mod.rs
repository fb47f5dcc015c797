//! Cleanup that cannot change the speaker's words.
//!
//! `punctuate` and `tidy` let a language model set marks, capitals and paragraphs under a grammar that spells the words
//! in their order (`grammar`); what comes back is checked once more, independently (`fidelity`); rules without a model
//! are the last resort (`rules`). Only `rewrite` may change words, and only within guards (`rewrite`).
//! Spoken punctuation, replacements, vocabulary and number forms come before, on purpose outside that property:
//! [`Cleaner::prepare`].

mod chunks;
mod disfluency;
mod fidelity;
mod grammar;
mod guards;
mod model;
mod prepare;
mod prompt;
#[cfg(test)]
mod properties;
mod questions;
mod rewrite;
mod rules;
mod script;
mod settings;
mod units;

pub use fidelity::words;
pub use guards::{digit_groups, is_talk};
pub use prompt::{defused, static_prefix};
pub use settings::{CleanSettings, Numbers, SpokenPunctuation, WrittenText};

use crate::language::Lang;
use crate::outcome::{CleanEngine, Cleaned, Cue, Style, Track, Warning, WarningCode};
use crate::speech::Segment;
use crate::text::llm::{Capabilities, Client, Message};
use disfluency::Fillers;
use futures_util::{StreamExt, stream};
use model::{Counts, Job, Piece, Problems, weaker};
use rules::{Ending, Place, Reduced, Start};
use tokio_util::sync::CancellationToken;
use units::{Gap, Unit};

/// Cleans texts with one light model (or none) and one set of settings. Cheap to share by reference.
#[derive(Debug)]
pub struct Cleaner {
    client: Option<Client>,
    settings: CleanSettings,
}

/// What to clean.
#[derive(Clone, Copy, Debug)]
pub struct CleanRequest<'a> {
    /// Prepared cues, in order: the whole text, or the segments of one utterance.
    pub cues: &'a [Cue],
    /// Language of the text.
    pub lang: Lang,
    /// How far cleanup may go.
    pub style: Style,
    /// The cleaned text before, when this is a later utterance of the same text: decides whether a sentence begins here.
    pub before: Option<&'a str>,
    /// Whether more text may follow that goes on with the last sentence; otherwise the last sentence gets its mark.
    pub more_follows: MoreFollows,
}

/// Whether a text ends with its last cue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MoreFollows {
    /// It ends.
    #[default]
    No,
    /// The speaker may go on in the same sentence.
    Perhaps,
}

impl Cleaner {
    /// A cleaner; without a client every text gets rules (and a warning that says so).
    pub fn new(client: Option<Client>, settings: CleanSettings) -> Self {
        Cleaner { client, settings }
    }

    /// The settings in force.
    pub fn settings(&self) -> &CleanSettings {
        &self.settings
    }

    /// The steps before the model, which may change words because the user asked for it: the replacement table, spoken
    /// punctuation, numbers, corrections towards `vocabulary` (on top of the settings'). One cue a segment, times kept.
    pub fn prepare(&self, segments: &[Segment], lang: Lang, vocabulary: &[String]) -> Vec<Cue> {
        prepare::prepare(&self.settings, segments, lang, vocabulary)
    }

    /// System message and examples for a style and language, to be read into the server's cache before the first text.
    pub fn static_prefix(style: Style, lang: Lang) -> Vec<Message> {
        prompt::static_prefix(style, lang)
    }

    /// Cleans. Never fails: where the model cannot be used the text gets rules, and a warning says why.
    ///
    /// Except in style `rewrite` the words of the result are the words of the request (`tidy`: but for fillers,
    /// stutters and repetitions), as [`words`] defines them. Cancelling gives the rules' text at once.
    pub async fn clean(&self, request: &CleanRequest<'_>, cancel: &CancellationToken) -> (Cleaned, Vec<Warning>) {
        if request.style == Style::Verbatim {
            return (cleaned(request, CleanEngine::None, request.cues.to_vec()), Vec::new());
        }
        let fillers = Fillers::new(request.lang, &self.settings.fillers);
        let units = units::parse_cues(request.cues);
        let allowed = match request.style {
            Style::Tidy | Style::Rewrite => fillers.deletions(&units),
            Style::Punctuate | Style::Verbatim => Vec::new(),
        };
        let Reduced { units, deletions } = rules::delete_sure(&units, &allowed);
        if units.is_empty() {
            return (cleaned(request, CleanEngine::Rules, cues_of(request.cues, &units)), Vec::new());
        }
        let (client, capabilities) = match self.server(cancel).await {
            Ok(server) => server,
            Err(reason) => {
                let mut units = units;
                rules::apply(&mut units, request.lang, place(request));
                let warning = Warning::new(WarningCode::CleanupUnavailable, unavailable(&reason));
                return (cleaned(request, CleanEngine::Rules, cues_of(request.cues, &units)), vec![warning]);
            }
        };
        let problems = Problems::default();
        let job = Job {
            client,
            capabilities: &capabilities,
            fillers: &fillers,
            deletions: &deletions,
            lang: request.lang,
            style: request.style,
            written_text: self.settings.written_text,
            slot: self.settings.slot.filter(|_| self.settings.concurrency <= 1),
            timeout: self.settings.timeout,
            concurrency: self.settings.concurrency,
            cancel,
            problems: &problems,
        };
        if request.style == Style::Rewrite {
            let done = rewrite::rewrite(&job, &units, place(request), &self.settings.vocabulary).await;
            let mut all = warnings(&problems.counts());
            all.extend(refusal(&done.refused));
            return (cleaned(request, done.engine, cues_of(request.cues, &done.units)), all);
        }
        let (mut units, engine) = all_runs(&job, &units, place(request)).await;
        rules::pair_opening_marks(&mut units, request.lang);
        (cleaned(request, engine, cues_of(request.cues, &units)), warnings(&problems.counts()))
    }

    async fn server(&self, cancel: &CancellationToken) -> Result<(&Client, Capabilities), String> {
        let client = self.client.as_ref().ok_or("no language model is set up for it")?;
        let probed = cancel.run_until_cancelled(client.capabilities()).await;
        match probed {
            Some(Ok(capabilities)) => Ok((client, capabilities)),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("cancelled".to_owned()),
        }
    }
}

/// Whether `cleaned` has the words of `said`, in `tidy` but for what may be left out. What the cleanup promises for every
/// style but `rewrite`, for tests and evaluation over whole texts. Quadratic in the number of words.
pub fn is_faithful(said: &str, cleaned: &str, lang: Lang, style: Style) -> bool {
    let allowed = match style {
        Style::Tidy => Fillers::new(lang, &[]).deletions(&units::parse(said)),
        _ => Vec::new(),
    };
    style == Style::Rewrite || fidelity::align(said, cleaned, &allowed).is_some()
}

fn place(request: &CleanRequest) -> Place {
    let before = request.before.map(units::parse).unwrap_or_default();
    Place {
        start: if before.last().is_none_or(rules::begins_after) { Start::Sentence } else { Start::Middle },
        ending: match request.more_follows {
            MoreFollows::No => Ending::Closed,
            MoreFollows::Perhaps => Ending::Open,
        },
    }
}

/// Cleans all runs, as many at a time as the job says, in order.
async fn all_runs(job: &Job<'_>, units: &[Unit], place: Place) -> (Vec<Unit>, CleanEngine) {
    let runs = chunks::runs(units);
    let last = runs.len().saturating_sub(1);
    let work = runs.into_iter().enumerate().map(|(index, run)| {
        let start = if index == 0 { place.start } else { Start::Sentence };
        let ending = if index == last { place.ending } else { Ending::Closed };
        job.run(units, run, Place { start, ending })
    });
    // Collected, so that the whole is a future that may move between threads (a lazy closure over borrows may not).
    let work: Vec<_> = work.collect();
    let pieces: Vec<Piece> = stream::iter(work).buffered(job.concurrency.max(1)).collect().await;
    let mut all = Vec::with_capacity(units.len());
    let mut engine = CleanEngine::None;
    for piece in pieces {
        engine = weaker(engine, piece.engine);
        all.extend(piece.units);
    }
    (all, engine)
}

fn cleaned(request: &CleanRequest, engine: CleanEngine, cues: Vec<Cue>) -> Cleaned {
    Cleaned { style: request.style, engine, track: Track::new(request.lang, cues) }
}

/// The units back on the cues they came from, with the cues' times. A cue of nothing but marks keeps them; a cue whose
/// words were all left out is empty.
fn cues_of(given: &[Cue], units: &[Unit]) -> Vec<Cue> {
    let mut cues: Vec<Cue> = given
        .iter()
        .map(|cue| {
            let text =
                if units::parse(&cue.text).is_empty() { cue.text.trim_matches(' ').to_owned() } else { String::new() };
            Cue { text, ..cue.clone() }
        })
        .collect();
    let mut previous: Option<usize> = None;
    for stretch in units.chunk_by(|a, b| a.cue == b.cue) {
        let cue = stretch[0].cue;
        match (stretch[0].gap, previous) {
            (Gap::Paragraph, _) => cues[cue].paragraph = true,
            // Between cues `Track` sets a space; a line break has to stand in the text.
            (Gap::Line, Some(before)) => cues[before].text.push('\n'),
            _ => {}
        }
        cues[cue].text = units::join(stretch);
        previous = Some(cue);
    }
    // A break at the very end was spoken ("new line") and stands before whatever is said next.
    if let (Some(given), Some(cue)) = (given.last(), cues.last_mut()) {
        let kept = given.text.trim_end_matches('\n').len();
        if !cue.text.is_empty() && !cue.text.ends_with('\n') {
            cue.text.push_str(&given.text[kept..]);
        }
    }
    cues
}

fn unavailable(reason: &str) -> String {
    format!("The text was cleaned by rules only: {reason}.")
}

fn refusal(reasons: &[&'static str]) -> Option<Warning> {
    let first = reasons.first()?;
    let message = format!("The rewrite was refused in {} and the text tidied instead: {first}.", places(reasons.len()));
    Some(Warning::new(WarningCode::RewriteRejected, message))
}

fn places(count: usize) -> String {
    format!("{count} {}", if count == 1 { "place" } else { "places" })
}

fn warnings(counts: &Counts) -> Vec<Warning> {
    let mut all = Vec::new();
    if let Some(reason) = counts.reason.as_deref() {
        all.push(Warning::new(WarningCode::CleanupUnavailable, unavailable(reason)));
    }
    if counts.rejected > 0 {
        all.push(Warning::new(
            WarningCode::CleanupRejected,
            format!("The model's text was not what was said in {}; rules were used there.", places(counts.rejected)),
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ruled(texts: &[&str], before: Option<&str>, more_follows: MoreFollows) -> Cleaned {
        let cues: Vec<Cue> =
            texts.iter().map(|text| Cue { start: 0.0, end: 1.0, text: (*text).to_owned(), ..Cue::default() }).collect();
        let cleaner = Cleaner::new(None, CleanSettings::default());
        let request = CleanRequest { cues: &cues, lang: Lang::ENGLISH, style: Style::Tidy, before, more_follows };
        let (cleaned, warnings) = cleaner.clean(&request, &CancellationToken::new()).await;
        assert!(warnings.iter().all(|warning| warning.code == WarningCode::CleanupUnavailable));
        cleaned
    }

    #[tokio::test]
    async fn the_text_before_and_after_decides_about_case_and_the_last_mark() {
        let text = async |before, more| ruled(&["we went home"], before, more).await.track.text;
        assert_eq!(text(None, MoreFollows::No).await, "We went home.");
        assert_eq!(text(Some("It rained."), MoreFollows::No).await, "We went home.");
        assert_eq!(text(Some("It rained, so"), MoreFollows::Perhaps).await, "we went home");
    }

    #[tokio::test]
    async fn cues_keep_their_place_when_words_go() {
        let cleaned = ruled(&["um", "the the cat", "...", "sat down,\n"], None, MoreFollows::No).await;
        let texts: Vec<&str> = cleaned.track.cues.iter().map(|cue| cue.text.as_str()).collect();
        assert_eq!(texts, ["", "The cat", "...", "sat down,\n"]);
        assert_eq!(cleaned.engine, CleanEngine::Rules);
    }
}
