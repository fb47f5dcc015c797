//! A decision, and what is known about how it came to be.

use super::routes::RouteSet;
use super::undecided;
use crate::outcome::{DecidedBy, Intent, Tier, Warning};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One question to a model and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// The routes above; empty: the first question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub under: Vec<String>,
    /// Who was asked.
    pub tier: Tier,
    /// Its model, as the server names it.
    pub model: Option<String>,
    /// Probability of each route, calibrated, with the hint in it.
    pub probabilities: BTreeMap<String, f64>,
    /// The route that was preferred.
    pub best: String,
    /// What it had to reach; 0 where costs decide.
    pub threshold: f64,
    /// Raw probability on all labels together.
    pub label_mass: f64,
    /// What that had to reach.
    pub min_label_mass: f64,
    /// The route taken; none: undecided.
    pub taken: Option<String>,
    /// Model that the calibration in use was fitted for; none: not calibrated.
    pub calibration: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u32>,
    /// Of those, how many the server had in its cache.
    pub cached_tokens: Option<u32>,
    /// Milliseconds from the question to the answer.
    pub ms: f64,
}

impl Default for Level {
    fn default() -> Self {
        Level {
            under: Vec::new(),
            tier: Tier::Light,
            model: None,
            probabilities: BTreeMap::new(),
            best: String::new(),
            threshold: 0.0,
            label_mass: 0.0,
            min_label_mass: 0.0,
            taken: None,
            calibration: None,
            prompt_tokens: None,
            cached_tokens: None,
            ms: 0.0,
        }
    }
}

/// What became of a second opinion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// The heavy model's answer.
    pub level: Option<Level>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// It was asked and did not answer in time.
    #[serde(skip)]
    pub late: bool,
}

/// How a decision came to be. Holds none of the words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The route that was likely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Turns of the conversation that were shown.
    pub context: usize,
    /// The questions that were asked, first level first.
    pub levels: Vec<Level>,
    /// The heavy model's opinion, where it was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_opinion: Option<Second>,
    /// Why a model could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Milliseconds for all of it.
    pub ms: f64,
}

/// A decision and what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The route taken.
    pub intent: Intent,
    /// What whoever answers gets: the words, without a wake phrase.
    pub text: String,
    /// What a person should know.
    pub warning: Option<Warning>,
    /// How it came to be.
    pub trace: Trace,
}

/// The intent of a first question's answer.
pub fn intent_of(routes: &RouteSet, level: &Level) -> Intent {
    match &level.taken {
        Some(label) => {
            let probability = level.probabilities.get(label).copied().unwrap_or(0.0);
            let path = vec![label.clone()];
            Intent {
                probabilities: level.probabilities.clone(),
                probability,
                ..taken_at(routes, path, DecidedBy::Model)
            }
        }
        None => undecided(routes, level.probabilities.clone()),
    }
}

/// The intent of a route that is taken for sure, down to where `path` leads.
pub fn taken_at(routes: &RouteSet, path: Vec<String>, by: DecidedBy) -> Intent {
    let action = routes.along(&path).last().map_or(routes.default_route().action, |route| route.action);
    Intent {
        label: path.first().cloned().unwrap_or_default(),
        path,
        probability: 1.0,
        action,
        undecided: false,
        by,
        probabilities: BTreeMap::new(),
        attention: false,
    }
}
