//! One recognition at a time for one take, and the text that comes of it, phrase by phrase.

use crate::engine::{Engine, Lease};
use crate::language::{Lang, LanguageChoice};
use crate::outcome::Plan;
use crate::pipeline::Live;
use crate::speech::queue::Ticket;
use crate::speech::{SpeechError, SpeechOptions, Transcript, Utterance};
use crate::text::clean::MoreFollows;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Seconds of speech after which its language counts as known. One short "yes" can be heard as anything.
const LANGUAGE_SECONDS: f64 = 4.0;

/// Models, ready.
pub(super) struct Ready {
    pub engine: Engine,
    /// Keeps the speech model loaded.
    pub lease: Lease,
}

/// A recognition under way.
type Work = dyn Future<Output = Result<Transcript, SpeechError>> + Send;

/// The way of one take to the recogniser.
pub(super) struct Ear {
    ready: watch::Receiver<Option<Arc<Ready>>>,
    options: SpeechOptions,
    work: Option<Pin<Box<Work>>>,
}

impl Ear {
    /// With nothing to do.
    pub fn new(ready: watch::Receiver<Option<Arc<Ready>>>, plan: &Plan) -> Self {
        let options = SpeechOptions {
            language: plan.language,
            task: plan.task,
            prompt: plan.prompt.clone(),
            vocabulary: plan.vocabulary.clone(),
            temperature: plan.temperature,
            ..SpeechOptions::default()
        };
        Ear { ready, options, work: None }
    }

    /// Whether the models are loaded; before that sound waits.
    pub fn is_ready(&self) -> bool {
        self.ready.borrow().is_some()
    }

    /// Begins to recognise, and gives up what was being recognised. `language`: what the phrases before were spoken in.
    pub fn listen_to(&mut self, utterance: Utterance, language: Option<Lang>) {
        let Some(ready) = self.ready.borrow().clone() else { return };
        let mut options = self.options.clone();
        if let (LanguageChoice::Auto, Some(language)) = (options.language, language) {
            options.language = LanguageChoice::Fixed(language);
        }
        // Dropping the old one ends it within one pass of the encoder.
        self.work = Some(Box::pin(async move {
            ready.lease.recognize(utterance, options, Ticket::default(), CancellationToken::new()).await
        }));
    }

    /// What was recognised; waits while there is nothing to do, and until the models are loaded.
    ///
    /// # Errors
    /// See [`SpeechError`].
    pub async fn heard(&mut self) -> Option<Result<Transcript, SpeechError>> {
        let Some(work) = &mut self.work else {
            // There will be something to do once they are loaded; a change is all that is waited for here.
            if self.ready.changed().await.is_ok() {
                return None;
            }
            return std::future::pending().await;
        };
        let heard = work.await;
        self.work = None;
        Some(heard)
    }
}

/// What was said, phrase by phrase, and passed on to be cleaned.
pub(super) struct Text {
    live: mpsc::UnboundedSender<Live>,
    said: Vec<Transcript>,
    /// The last phrase, until it is known whether another follows: that decides how its sentence ends.
    held: Option<Transcript>,
    languages: Vec<(Lang, f64)>,
}

impl Text {
    /// Nothing so far.
    pub fn new(live: mpsc::UnboundedSender<Live>) -> Self {
        Text { live, said: Vec::new(), held: None, languages: Vec::new() }
    }

    /// A phrase is complete.
    pub fn settled(&mut self, phrase: Transcript) {
        if phrase.segments.is_empty() {
            return;
        }
        self.pass_on(MoreFollows::Perhaps);
        let seconds: f64 = phrase.segments.iter().map(|segment| segment.end - segment.start).sum();
        self.languages.extend(phrase.language.map(|language| (language, seconds)));
        self.held = Some(phrase);
    }

    /// Whether somebody speaks again.
    pub fn goes_on(&mut self, speaking: bool) {
        if speaking {
            self.pass_on(MoreFollows::Perhaps);
        }
    }

    /// The language spoken, once it is known.
    pub fn language(&self) -> Option<Lang> {
        let all: f64 = self.languages.iter().map(|(_, seconds)| seconds).sum();
        (all >= LANGUAGE_SECONDS).then(|| main_language(&self.languages)).flatten()
    }

    /// What was heard so far, with a look at the phrase being spoken.
    pub fn shown(&self, guess: Option<&Transcript>) -> String {
        joined(self.said.iter().chain(&self.held).chain(guess))
    }

    /// All of it: that was the end.
    pub fn said(mut self) -> Vec<Transcript> {
        self.pass_on(MoreFollows::No);
        self.said
    }

    fn pass_on(&mut self, more_follows: MoreFollows) {
        if let Some(part) = self.held.take() {
            self.said.push(part.clone());
            // Whoever cleans goes last; without it the words stay raw.
            let _ = self.live.send(Live { part, more_follows });
        }
    }
}

/// Everything that was said.
pub(super) struct Spoken {
    /// Phrases that are not empty.
    pub phrases: Vec<Transcript>,
    /// When the recording was complete.
    pub ended: Instant,
    /// What lost a phrase.
    pub failure: Option<SpeechError>,
}

impl Spoken {
    /// The words as recognised.
    pub fn text(&self) -> String {
        joined(&self.phrases)
    }

    /// The language that was spoken longest.
    pub fn language(&self) -> Option<Lang> {
        let seconds = |phrase: &Transcript| phrase.segments.iter().map(|s| s.end - s.start).sum::<f64>();
        let all: Vec<(Lang, f64)> =
            self.phrases.iter().filter_map(|phrase| Some((phrase.language?, seconds(phrase)))).collect();
        main_language(&all)
    }
}

/// The texts of phrases, with a space between them where their language has spaces.
fn joined<'a>(phrases: impl IntoIterator<Item = &'a Transcript>) -> String {
    let mut text = String::new();
    for phrase in phrases {
        let more = phrase.text();
        if !text.is_empty() && !more.is_empty() && !phrase.language.is_some_and(Lang::is_unspaced) {
            text.push(' ');
        }
        text.push_str(&more);
    }
    text
}

/// The language spoken longest; the earlier one of two equals.
fn main_language(languages: &[(Lang, f64)]) -> Option<Lang> {
    let spoken = |lang: Lang| languages.iter().filter(|(l, _)| *l == lang).map(|(_, s)| s).sum::<f64>();
    languages.iter().rev().map(|(lang, _)| *lang).max_by(|a, b| spoken(*a).total_cmp(&spoken(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::Segment;

    fn phrase(text: &str, seconds: f64, language: &str) -> Transcript {
        let segment = Segment { end: seconds, text: text.to_owned(), ..Segment::default() };
        Transcript { language: language.parse().ok(), segments: vec![segment] }
    }

    #[test]
    fn a_phrase_is_passed_on_once_it_is_known_whether_more_follows() {
        let (live, mut passed) = mpsc::unbounded_channel();
        let mut text = Text::new(live);
        text.settled(phrase("One.", 2.0, "en"));
        text.settled(Transcript::default());
        text.goes_on(false);
        assert!(passed.try_recv().is_err());
        assert_eq!(text.shown(Some(&phrase("two", 1.0, "en"))), "One. two");
        text.goes_on(true);
        assert_eq!(passed.try_recv().unwrap().more_follows, MoreFollows::Perhaps);
        text.settled(phrase("Two.", 2.0, "en"));
        assert_eq!(text.said().len(), 2);
        assert_eq!(passed.try_recv().unwrap().more_follows, MoreFollows::No);
    }

    #[test]
    fn the_language_is_known_after_some_seconds() {
        let mut text = Text::new(mpsc::unbounded_channel().0);
        text.settled(phrase("Ja.", 1.0, "nl"));
        assert_eq!(text.language(), None);
        text.settled(phrase("Guten Morgen zusammen.", 3.5, "de"));
        assert_eq!(text.language(), "de".parse().ok());
    }

    #[test]
    fn phrases_of_unspaced_languages_are_joined_without_spaces() {
        assert_eq!(joined(&[phrase("你好。", 1.0, "zh"), phrase("再见。", 1.0, "zh")]), "你好。再见。");
        assert_eq!(joined(&[phrase("Hi.", 1.0, "en"), phrase("Bye.", 1.0, "en")]), "Hi. Bye.");
    }
}
