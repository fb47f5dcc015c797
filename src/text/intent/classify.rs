//! The call: one token of the light model, read as probabilities over the routes.

use super::calibrate::{Calibration, Sample};
use super::choose::{Costs, Hint, choose, with_hint};
use super::context::Turn;
use super::decision::{Level, intent_of};
use super::prompt;
use super::routes::RouteSet;
use super::undecided;
use crate::outcome::Intent;
use crate::text::llm::{Client, LlmError, Message, ScoreRequest, Scores};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// How to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct IntentSettings {
    /// Server slot that keeps the examples cached; `None`: the server chooses.
    pub slot: Option<u32>,
    /// For one decision; `None`: the endpoint's.
    pub timeout: Option<Duration>,
    /// Tokens of the utterance that the model sees; a longer one is cut in the middle.
    pub max_utterance_tokens: usize,
    /// Tokens kept free for what was said before.
    pub max_context_tokens: usize,
}

impl Default for IntentSettings {
    /// 160 tokens: the head and tail of a dictation, about a minute of speech, at the cost of a quarter second on a small
    /// CPU.
    fn default() -> Self {
        IntentSettings { slot: None, timeout: None, max_utterance_tokens: 160, max_context_tokens: 0 }
    }
}

/// What is to be decided.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// What was said.
    pub text: &'a str,
    /// What was said before it, oldest first.
    pub turns: &'a [Turn],
    /// The routes above these: a turn counts where it went the same way.
    pub under: &'a [String],
    /// What is likely.
    pub hint: Option<Hint<'a>>,
    /// What mistakes cost.
    pub costs: Costs,
}

/// Decides what utterances are for. Cheap to clone; clones share what was probed.
#[derive(Clone, Debug)]
pub struct Classifier {
    client: Client,
    routes: Arc<RouteSet>,
    settings: IntentSettings,
    fixed: Arc<OnceCell<Fixed>>,
}

/// What stays the same between utterances, settled with the server once.
#[derive(Debug)]
struct Fixed {
    labels: Vec<String>,
    prefix: Vec<Message>,
    calibration: Calibration,
    model: Option<String>,
}

/// Tokens that a chat template puts around one message, at most, for the families in use (ChatML 5, Llama 3 6).
const TURN_TOKENS: usize = 8;

impl Classifier {
    /// Does not connect.
    pub fn new(client: Client, routes: Arc<RouteSet>, settings: IntentSettings) -> Self {
        Classifier { client, routes, settings, fixed: Arc::new(OnceCell::new()) }
    }

    /// The routes it chooses from.
    pub fn routes(&self) -> &RouteSet {
        &self.routes
    }

    /// Whether it asks this very client: a server that came back has a new one.
    pub fn asks(&self, client: &Client) -> bool {
        std::ptr::eq(self.client.endpoint(), client.endpoint())
    }

    /// The part of the prompt that never changes, with a placeholder utterance.
    pub async fn static_prefix(&self) -> Result<Vec<Message>, LlmError> {
        Ok(self.conversation(self.fixed().await?, &Question::default(), "hello"))
    }

    /// Reads the examples into the server's cache, in the slot that `classify` uses. Takes seconds on a CPU; without
    /// it the first decision does.
    pub async fn warm_up(&self, cancel: &CancellationToken) -> Result<(), LlmError> {
        self.client.warm_up(&self.static_prefix().await?, self.settings.slot, cancel).await
    }

    /// The route of `text`. Errors are the server's; text that says nothing is undecided without asking. Departments are
    /// not asked for.
    pub async fn classify(&self, text: &str, cancel: &CancellationToken) -> Result<Intent, LlmError> {
        if !text.chars().any(char::is_alphanumeric) {
            return Ok(undecided(&self.routes, BTreeMap::new()));
        }
        Ok(intent_of(&self.routes, &self.ask(&Question { text, ..Question::default() }, cancel).await?))
    }

    /// One question to the model, with all that is known about its answer. Errors are the server's.
    pub async fn ask(&self, question: &Question<'_>, cancel: &CancellationToken) -> Result<Level, LlmError> {
        let begun = Instant::now();
        let scores = self.scores(question, cancel).await?;
        let fixed = self.fixed().await?;
        Ok(Level {
            tier: self.client.endpoint().tier,
            model: fixed.model.clone(),
            prompt_tokens: scores.prompt_tokens,
            cached_tokens: scores.cached_tokens,
            ms: begun.elapsed().as_secs_f64() * 1000.0,
            ..judged(&self.routes, &fixed.calibration, &scores.mass, question)
        })
    }

    /// `text` as the model scores it, uncalibrated: what [`super::fit`] takes. `route` is the index of the right one.
    pub async fn sample(&self, text: &str, route: usize, cancel: &CancellationToken) -> Result<Sample, LlmError> {
        let question = Question { text, ..Question::default() };
        Ok(Sample { route, mass: self.scores(&question, cancel).await?.mass })
    }

    async fn scores(&self, question: &Question<'_>, cancel: &CancellationToken) -> Result<Scores, LlmError> {
        let ready = async { Ok((self.bounded(question.text).await?, self.fixed().await?)) };
        let (utterance, fixed) = cancel.run_until_cancelled(ready).await.unwrap_or(Err(LlmError::Cancelled))?;
        let request = ScoreRequest {
            messages: self.conversation(fixed, question, &utterance),
            labels: fixed.labels.clone(),
            slot: self.settings.slot,
            timeout: self.settings.timeout,
        };
        self.client.score(&request, cancel).await
    }

    /// What never changes, what was said before, and what is asked: the server's cache holds as much as it can.
    fn conversation(&self, fixed: &Fixed, question: &Question<'_>, utterance: &str) -> Vec<Message> {
        let mut messages = fixed.prefix.clone();
        for turn in question.turns {
            let route = turn.path.strip_prefix(question.under).and_then(|rest| rest.first());
            let at = route.and_then(|name| self.routes.names().iter().position(|known| known == name));
            messages.extend(at.into_iter().flat_map(|at| prompt::turn(&turn.text, &fixed.labels[at])));
        }
        messages.push(prompt::question(utterance));
        messages
    }

    /// The utterance on one line, cut in the middle until the server counts no more than the limit.
    async fn bounded(&self, text: &str) -> Result<String, LlmError> {
        let limit = self.settings.max_utterance_tokens;
        let flat = prompt::flat(text);
        let mut aim = limit;
        loop {
            let utterance = prompt::clip(&flat, aim);
            // A token is at least one byte, so short text needs no asking.
            if utterance.len() <= limit || aim <= 8 {
                return Ok(utterance);
            }
            match self.client.count_tokens(&utterance).await? {
                Some(tokens) if tokens > limit => aim = (aim * limit / tokens).min(aim - aim / 8).max(8),
                _ => return Ok(utterance),
            }
        }
    }

    async fn fixed(&self) -> Result<&Fixed, LlmError> {
        self.fixed
            .get_or_try_init(|| async {
                let can = self.client.capabilities().await?;
                let labels = self.labels().await?;
                let per_route = self.fitting_examples(&labels, can.context).await?;
                let model = can.model.as_deref().or(self.client.endpoint().model.as_deref());
                let calibration = self.routes.calibration(model);
                let prefix = prompt::prefix(&self.routes, &labels, per_route);
                Ok(Fixed { labels, prefix, calibration, model: model.map(ToOwned::to_owned) })
            })
            .await
    }

    /// The routes' own labels where each is one token, else letters, which are one token in every vocabulary.
    async fn labels(&self) -> Result<Vec<String>, LlmError> {
        let own: Vec<String> = self.routes.routes().iter().map(|route| route.label().to_owned()).collect();
        match self.client.single_tokens(&own).await? {
            Some(single) if single.iter().all(|one| *one) => Ok(own),
            _ => Ok(('A'..='Z').take(own.len()).map(String::from).collect()),
        }
    }

    /// How many examples of each route fit in the model's context beside the longest utterance; as many as the
    /// set allows where it is unknown.
    async fn fitting_examples(&self, labels: &[String], context: Option<u32>) -> Result<usize, LlmError> {
        let most = self.routes.examples_in_prompt();
        let Some(context) = context else { return Ok(most) };
        let asked = self.settings.max_utterance_tokens + self.settings.max_context_tokens;
        let room = (context as usize).saturating_sub(asked + 4 * TURN_TOKENS);
        let mut per_route = most;
        while per_route > 1 {
            let messages = prompt::prefix(&self.routes, labels, per_route);
            let text: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
            let Some(words) = self.client.count_tokens(&text.join("\n")).await? else { break };
            let needed = words + messages.len() * TURN_TOKENS;
            if needed <= room {
                break;
            }
            per_route = (per_route * room / needed).min(per_route - 1).max(1);
        }
        Ok(per_route)
    }
}

/// Probabilities, then the choice: undecided when the labels together, or the best of them, have too little. What the
/// server says of itself is left to the caller.
fn judged(routes: &RouteSet, calibration: &Calibration, mass: &[f64], question: &Question<'_>) -> Level {
    let names = routes.names();
    let mut shares = calibration.probabilities(&names, mass);
    if let Some(hint) = question.hint {
        let name = hint.path.strip_prefix(question.under).and_then(|rest| rest.first());
        let at = name.and_then(|name| names.iter().position(|known| known == name));
        shares = at.map_or(shares.clone(), |at| with_hint(shares, at, hint.weight));
    }
    let label_mass = mass.iter().sum::<f64>();
    let choice = choose(routes, calibration, &shares, label_mass, question.costs);
    let best = names[choice.best].to_owned();
    Level {
        under: question.under.to_vec(),
        taken: choice.taken.then(|| best.clone()),
        best,
        threshold: choice.threshold,
        label_mass,
        min_label_mass: routes.min_label_mass(),
        probabilities: names.iter().map(|name| (*name).to_owned()).zip(shares).collect(),
        calibration: (!calibration.model.is_empty()).then(|| calibration.model.clone()),
        ..Level::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Action, DecidedBy};

    fn decide(calibration: &Calibration, mass: &[f64], question: &Question<'_>) -> Intent {
        let routes = RouteSet::built_in();
        intent_of(&routes, &judged(&routes, calibration, mass, question))
    }

    fn neutral(mass: &[f64]) -> Intent {
        decide(&Calibration::neutral(), mass, &Question::default())
    }

    #[test]
    fn the_best_label_is_taken_with_its_share_of_the_labels() {
        let intent = neutral(&[0.1, 0.1, 0.6]);
        assert_eq!((intent.label.as_str(), intent.action, intent.by), ("agent", Action::Heavy, DecidedBy::Model));
        assert!((intent.probability - 0.75).abs() < 1e-9);
        assert!((intent.probabilities.values().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn too_little_mass_on_the_labels_is_undecided_however_clear_their_ratio() {
        let intent = neutral(&[0.0, 0.0, 0.01]);
        assert_eq!((intent.label.as_str(), intent.undecided, intent.by), ("note", true, DecidedBy::Default));
        assert!(intent.probabilities["agent"] > 0.9);
    }

    #[test]
    fn a_probability_under_the_threshold_is_undecided() {
        let intent = neutral(&[0.30, 0.32, 0.33]);
        assert!(intent.undecided);
        assert!((intent.probability - 0.30 / 0.95).abs() < 1e-9, "the default route's own probability");
    }

    #[test]
    fn the_calibration_changes_the_choice() {
        let mut lean = Calibration::neutral();
        lean.bias.insert("quick".into(), 3.0);
        let intent = decide(&lean, &[0.5, 0.2, 0.1], &Question::default());
        assert_eq!(intent.label, "quick");
    }

    #[test]
    fn a_hint_counts_at_its_own_level_only() {
        let hint = |path| Question { hint: Some(Hint { path, weight: 3.0 }), ..Question::default() };
        let (agent, elsewhere) = (["agent".to_owned()], ["nowhere".to_owned()]);
        let mass = [0.35, 0.25, 0.3];
        assert!(neutral(&mass).undecided);
        let hinted = decide(&Calibration::neutral(), &mass, &hint(&agent));
        assert_eq!((hinted.label.as_str(), hinted.undecided), ("agent", false));
        assert_eq!(decide(&Calibration::neutral(), &mass, &hint(&elsewhere)), neutral(&mass));
        let clear = decide(&Calibration::neutral(), &[0.7, 0.2, 0.05], &hint(&agent));
        assert_eq!(clear.label, "note", "what is clear stays");
    }
}
