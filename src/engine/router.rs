//! What an utterance is for: forced, else by a rule, else by the light model, level by level, else by the heavy model's
//! second opinion, else the default route. Never fails. What was decided is logged; what another setting would have
//! decided is asked when nobody waits for anything.

mod journal;
mod shadow;

pub use journal::{Entry, Shadow};

use super::settings;
use super::tiers::TierSet;
use crate::config::{Config, SecondOpinion};
use crate::error::Error;
use crate::outcome::{Action, DecidedBy, Intent, Plan, Route, Tier, Warning, WarningCode};
use crate::text::intent::{
    self, Classifier, Conversations, Costs, Decision, Hint, Key, Limits, Question, RouteSet, Second, Trace, Turn,
    intent_of, taken_at,
};
use crate::text::llm::{Client, LlmError};
use journal::Journal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What is to be decided for one run.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// What is wanted.
    pub plan: &'a Plan,
    /// What was said.
    pub text: &'a str,
    /// Who says it: conversations of two callers are never the same.
    pub caller: u64,
    /// The conversation that it belongs to.
    pub conversation: Option<&'a str>,
    /// The caller gives up.
    pub cancel: &'a CancellationToken,
}

/// A run under way; what nobody waits for rests until it is dropped.
pub(crate) struct Busy(watch::Sender<usize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|runs| *runs -= 1);
    }
}

/// Decides for one engine.
pub(super) struct Router {
    inner: Arc<Inner>,
    /// Entries that are being completed and written.
    recording: Mutex<JoinSet<()>>,
}

struct Inner {
    config: Config,
    tiers: Arc<TierSet>,
    main: Setting,
    shadow: Option<Setting>,
    conversations: Conversations,
    classifiers: Mutex<Vec<Known>>,
    journal: Option<Arc<Journal>>,
    runs: watch::Sender<usize>,
    /// Shadows that may wait at once.
    shadows: Arc<Semaphore>,
    ending: CancellationToken,
}

/// Routes, and who decides between them.
#[derive(Clone)]
struct Setting {
    name: String,
    routes: Arc<RouteSet>,
    tier: Tier,
}

/// A classifier that was used before: it has probed its server.
struct Known {
    tier: Tier,
    routes: Arc<RouteSet>,
    classifier: Classifier,
}

/// What a model gets to see.
#[derive(Clone, Debug)]
struct Words {
    text: String,
    turns: Vec<Turn>,
    hint: Option<Vec<String>>,
}

impl Router {
    /// Reads the shadow's routes, where it has some of its own.
    ///
    /// # Errors
    /// A route file that cannot be read, or is none.
    pub fn new(config: &Config, tiers: Arc<TierSet>, routes: Arc<RouteSet>) -> Result<Self, Error> {
        let intent = &config.intent;
        let shadow = match intent.shadow.as_str() {
            "" => None,
            "heavy" => Some(Setting { name: "heavy".into(), routes: routes.clone(), tier: Tier::Heavy }),
            "light" => Some(Setting { name: "light".into(), routes: routes.clone(), tier: Tier::Light }),
            file => {
                let routes = Arc::new(settings::route_file(file)?);
                Some(Setting { name: file.to_owned(), routes, tier: Tier::Light })
            }
        };
        let limits = Limits {
            turns: intent.context_turns as usize,
            tokens: intent.context_tokens as usize,
            age: Duration::from_secs_f64(intent.context_seconds),
            attention: Duration::from_secs_f64(intent.attention_seconds),
        };
        let inner = Inner {
            config: config.clone(),
            tiers,
            main: Setting { name: String::new(), routes, tier: Tier::Light },
            shadow,
            conversations: Conversations::new(limits),
            classifiers: Mutex::default(),
            journal: Journal::of(intent).map(Arc::new),
            runs: watch::Sender::new(0),
            shadows: Arc::new(Semaphore::new(shadow::WAITING)),
            ending: CancellationToken::new(),
        };
        Ok(Router { inner: Arc::new(inner), recording: Mutex::default() })
    }

    /// From now on until it is dropped somebody waits for something.
    pub fn busy(&self) -> Busy {
        self.inner.runs.send_modify(|runs| *runs += 1);
        Busy(self.inner.runs.clone())
    }

    /// Decides, remembers and logs.
    pub async fn decide(&self, ask: Ask<'_>) -> Decision {
        let begun = Instant::now();
        let (mut decision, words) = self.inner.decide(ask).await;
        decision.trace.ms = begun.elapsed().as_secs_f64() * 1000.0;
        self.record(ask, &decision, words);
        if decision.trace.second_opinion.as_ref().is_some_and(|second| second.late) {
            let inner = self.inner.clone();
            self.spawn(async move { inner.warm_heavy().await });
        }
        decision
    }

    /// Decides without leaving a trace in the log, and asks the shadow at once.
    pub async fn explain(&self, ask: Ask<'_>) -> (Decision, Option<Shadow>) {
        let begun = Instant::now();
        let (mut decision, words) = self.inner.decide(ask).await;
        decision.trace.ms = begun.elapsed().as_secs_f64() * 1000.0;
        let shadow = match &self.inner.shadow {
            Some(setting) => Some(self.inner.shadow_now(setting, &words, ask.cancel).await),
            None => None,
        };
        (decision, shadow)
    }

    /// Reads the first question's prompt into the heavy server's cache, as a service does by and by.
    pub async fn warm_heavy(&self) {
        self.inner.warm_heavy().await;
    }

    fn record(&self, ask: Ask<'_>, decision: &Decision, words: Words) {
        let Some(journal) = self.inner.journal.clone() else { return };
        let inner = self.inner.clone();
        let mut entry = journal.entry(ask.plan, ask.text, decision);
        self.spawn(async move {
            if let Some(setting) = &inner.shadow {
                entry.shadow = Some(inner.shadow_later(setting, &words).await);
            }
            // A failure was logged; nothing waits for it.
            let _ = tokio::task::spawn_blocking(move || journal.write(&entry)).await;
        });
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        while recording.try_join_next().is_some() {}
        recording.spawn(work);
    }

    /// What is not asked yet is not asked any more; what is to be written is written.
    pub async fn stop(&self) {
        self.inner.ending.cancel();
        let mut recording = std::mem::take(&mut *self.recording.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while recording.join_next().await.is_some() {} };
        // A disk that hangs must not keep the program.
        let _ = tokio::time::timeout(Duration::from_secs(5), all).await;
    }
}

impl Inner {
    /// The decision, and what a model saw or would have seen of it.
    async fn decide(&self, ask: Ask<'_>) -> (Decision, Words) {
        let key: Option<Key> = ask.conversation.map(|name| (ask.caller, name.to_owned()));
        let turns = key.as_ref().map(|key| self.conversations.turns(key)).unwrap_or_default();
        let hint = ask.plan.hint.as_deref().and_then(|name| self.main.routes.path(name).ok());
        let words = Words { text: ask.text.to_owned(), turns, hint };
        let decision = match self.without_model(ask, key.as_ref()) {
            Some(Sure { decision, department: false }) => decision,
            Some(Sure { mut decision, department: true }) => {
                // The words without the wake phrase, as the examples are.
                let words = Words { text: decision.text.clone(), ..words.clone() };
                self.department(&mut decision, &words, ask.cancel).await;
                decision
            }
            None => self.by_model(&words, ask.cancel).await,
        };
        if let Some(key) = &key {
            if decision.intent.attention {
                self.conversations.listen(key, &decision.intent.path);
            } else if !decision.intent.undecided {
                self.conversations.note(key, &decision.text, &decision.intent.path);
            }
        }
        (decision, words)
    }

    /// What needs no model: a route that was asked for, attention that was given, a rule, and silence.
    fn without_model(&self, ask: Ask<'_>, key: Option<&Key>) -> Option<Sure> {
        let routes = &self.main.routes;
        let plain = |intent: Intent, rule: Option<String>| Decision {
            intent,
            text: ask.text.to_owned(),
            warning: None,
            trace: Trace { rule, ..Trace::default() },
        };
        if ask.plan.route == Route::Agent {
            return Some(Sure::of(plain(intent::forced(routes, Action::Heavy), None)));
        }
        if let Some(name) = &ask.plan.force {
            return Some(Sure::of(match routes.path(name) {
                Ok(path) => plain(taken_at(routes, path, DecidedBy::Forced), None),
                Err(reason) => unavailable(routes, ask.text, reason),
            }));
        }
        if !ask.text.chars().any(char::is_alphanumeric) {
            return Some(Sure::of(undecided(plain(intent::fallback(routes), None))));
        }
        if let Some(hit) = intent::first_hit(routes.rules(), ask.text) {
            if let Some(key) = key.filter(|_| !hit.attention) {
                // What was listened for has come.
                self.conversations.attention(key);
            }
            let taken = taken_at(routes, hit.path, DecidedBy::Rule);
            let intent = Intent { attention: hit.attention, ..taken };
            let decision = Decision { text: hit.text, ..plain(intent, Some(hit.rule)) };
            return Some(Sure { decision, department: hit.asks_children && !hit.attention });
        }
        let path = self.conversations.attention(key?)?;
        let rule = Some("after the wake phrase".to_owned());
        Some(Sure::of(plain(taken_at(routes, path, DecidedBy::Rule), rule)))
    }

    async fn by_model(&self, words: &Words, cancel: &CancellationToken) -> Decision {
        let routes = &self.main.routes;
        let client = match self.tiers.client(Tier::Light).await {
            Ok(client) => client,
            Err(reason) => return unavailable(routes, &words.text, reason),
        };
        let mut trace = Trace { hint: words.hint.as_ref().map(|path| path.join("/")), ..Trace::default() };
        let mut path = Vec::new();
        let asked =
            self.descend(Descent { setting: &self.main, client: &client, words, cancel }, &mut path, &mut trace);
        let failure = asked.await.err();
        trace.context = words.turns.len();
        let Some(first) = trace.levels.first().cloned() else {
            let reason = failure.map_or_else(|| "no question was asked".to_owned(), |error| error.to_string());
            trace.reason = Some(reason.clone());
            return Decision { trace, ..unavailable(routes, &words.text, reason) };
        };
        let mut intent = intent_of(routes, &first);
        if intent.undecided {
            let second = self.second_opinion(words, &client, cancel).await;
            if let Some(level) = second.as_ref().and_then(|second| second.level.as_ref())
                && level.taken.is_some()
            {
                intent = Intent { by: DecidedBy::SecondOpinion, ..intent_of(routes, level) };
                path = intent.path.clone();
                let below = Descent { setting: &self.main, client: &client, words, cancel };
                trace.reason = self.descend(below, &mut path, &mut trace).await.err().map(|error| error.to_string());
            }
            trace.second_opinion = second;
        } else {
            // Its department stays open; the route is known.
            trace.reason = failure.map(|error| error.to_string());
        }
        let mut decision = Decision { intent, text: words.text.clone(), warning: None, trace };
        if decision.intent.undecided {
            return undecided(decision);
        }
        self.lead(&mut decision.intent, path);
        decision
    }

    /// The department of a decision that a rule has made.
    async fn department(&self, decision: &mut Decision, words: &Words, cancel: &CancellationToken) {
        let client = match self.tiers.client(Tier::Light).await {
            Ok(client) => client,
            Err(reason) => return decision.trace.reason = Some(reason),
        };
        let mut path = decision.intent.path.clone();
        let below = Descent { setting: &self.main, client: &client, words, cancel };
        let asked = self.descend(below, &mut path, &mut decision.trace).await;
        decision.trace.reason = asked.err().map(|error| error.to_string());
        decision.trace.context = words.turns.len();
        self.lead(&mut decision.intent, path);
    }

    /// Takes the route to where `path` leads.
    fn lead(&self, intent: &mut Intent, path: Vec<String>) {
        let action = self.main.routes.along(&path).last().map(|route| route.action);
        intent.action = action.unwrap_or(intent.action);
        intent.path = path;
    }

    /// Asks from where `path` is down to a route without departments, or until the model is undecided. What was asked is
    /// in `trace`, also where it fails half-way.
    async fn descend(&self, descent: Descent<'_>, path: &mut Vec<String>, trace: &mut Trace) -> Result<(), LlmError> {
        let Descent { setting, client, words, cancel } = descent;
        loop {
            let routes = match path.is_empty() {
                true => setting.routes.clone(),
                false => match setting.routes.along(path).last().and_then(|route| route.children.clone()) {
                    Some(children) => children,
                    None => return Ok(()),
                },
            };
            let weight = self.config.intent.hint_weight;
            let question = Question {
                text: &words.text,
                turns: &words.turns,
                under: path,
                hint: words.hint.as_deref().map(|path| Hint { path, weight }),
                costs: self.costs(),
            };
            let level = self.classifier(setting.tier, client, &routes).ask(&question, cancel).await?;
            // Without a default of its own an undecided question for a department stays with the route above.
            let default = if path.is_empty() { None } else { routes.named_default() };
            let next = level.taken.clone().or_else(|| default.map(|route| route.name.clone()));
            trace.levels.push(level);
            match next {
                Some(name) => path.push(name),
                None => return Ok(()),
            }
        }
    }

    /// The heavy model's answer to the first question, where it is wanted. Its failure changes nothing.
    async fn second_opinion(&self, words: &Words, first: &Client, cancel: &CancellationToken) -> Option<Second> {
        let limit = Duration::from_secs_f64(self.config.intent.second_opinion_seconds);
        let none = |reason: String| Some(Second { reason: Some(reason), ..Second::default() });
        let client = match self.config.intent.second_opinion {
            SecondOpinion::Off => return None,
            SecondOpinion::Heavy => {
                self.tiers.peek(Tier::Heavy).ok_or_else(|| "the heavy model server is not up".into())
            }
            SecondOpinion::HeavyStart => tokio::time::timeout(limit, self.tiers.client(Tier::Heavy))
                .await
                .unwrap_or_else(|_elapsed| Err("the heavy model server is not up yet".into())),
        };
        let client = match client {
            Ok(client) if std::ptr::eq(client.endpoint(), first.endpoint()) => {
                return none("the same model has answered already".into());
            }
            Ok(client) => client,
            Err(reason) => return none(reason),
        };
        let hint = words.hint.as_deref().map(|path| Hint { path, weight: self.config.intent.hint_weight });
        let question =
            Question { text: &words.text, turns: &words.turns, hint, costs: self.costs(), ..Question::default() };
        let classifier = self.classifier(Tier::Heavy, &client, &self.main.routes);
        match tokio::time::timeout(limit, classifier.ask(&question, cancel)).await {
            Ok(Ok(level)) => Some(Second { level: Some(level), ..Second::default() }),
            Ok(Err(error)) => none(error.to_string()),
            // What the server has read of the prompt until then it need not read again.
            Err(_elapsed) => {
                let reason = Some(format!("no answer within {:.1} s", limit.as_secs_f64()));
                Some(Second { level: None, reason, late: true })
            }
        }
    }

    fn costs(&self) -> Costs {
        let costs = self.config.intent.costs;
        Costs { wrong_heavy: costs.wrong_heavy, missed_heavy: costs.missed_heavy, other: costs.other }
    }

    /// The one that was used before, unless its server is another one by now.
    fn classifier(&self, tier: Tier, client: &Client, routes: &Arc<RouteSet>) -> Classifier {
        let mut known = self.classifiers.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.tier != tier || known.classifier.asks(client));
        let same = |known: &&Known| known.tier == tier && Arc::ptr_eq(&known.routes, routes);
        if let Some(known) = known.iter().find(same) {
            return known.classifier.clone();
        }
        let first = Arc::ptr_eq(routes, &self.main.routes);
        let settings =
            if first { settings::intent(&self.config, tier) } else { settings::other_intent(&self.config, tier) };
        let classifier = Classifier::new(client.clone(), routes.clone(), settings);
        known.push(Known { tier, routes: routes.clone(), classifier: classifier.clone() });
        classifier
    }
}

/// A decision that needed no model, and whether its department does.
struct Sure {
    decision: Decision,
    department: bool,
}

impl Sure {
    fn of(decision: Decision) -> Self {
        Sure { decision, department: false }
    }
}

/// Who is asked about what.
#[derive(Clone, Copy)]
struct Descent<'a> {
    setting: &'a Setting,
    client: &'a Client,
    words: &'a Words,
    cancel: &'a CancellationToken,
}

/// Nobody could be asked: the default route.
fn unavailable(routes: &RouteSet, text: &str, reason: String) -> Decision {
    let intent = intent::fallback(routes);
    let message = format!("route '{}' taken by default: {reason}", intent.label);
    let warning = Some(Warning::new(WarningCode::IntentUnavailable, message));
    Decision { intent, text: text.to_owned(), warning, trace: Trace { reason: Some(reason), ..Trace::default() } }
}

/// Somebody was asked and did not know.
fn undecided(decision: Decision) -> Decision {
    let message = format!("the intent is not clear; route '{}' taken by default", decision.intent.label);
    Decision { warning: Some(Warning::new(WarningCode::IntentUndecided, message)), ..decision }
}
