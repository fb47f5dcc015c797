//! Intent: which route an utterance takes, decided by one token of the light model.
//!
//! The prompt is a fixed conversation of examples (utterance, label) with the utterance last, so that the server's
//! prefix cache holds everything but the utterance. The answer is not text: it is the probability of each label as the
//! next token, calibrated for the model and renormalised. Whatever the utterance says, the worst it can do is to pick
//! one of the labels. Too little probability on the labels, or on the best of them, is "undecided": the default route.
//!
//! `routes` holds the route sets (data), `rules` what decides before the model, `prompt` and `context` the conversation,
//! `calibrate` and `choose` the arithmetic, `classify` the call, `decision` what is known about it afterwards. Who is asked
//! when is the engine's to say.

mod calibrate;
mod choose;
mod classify;
mod context;
mod decision;
mod prompt;
mod routes;
mod rules;

pub use calibrate::{Calibration, Sample, fit};
pub use choose::{Costs, Hint};
pub use classify::{Classifier, IntentSettings, Question};
pub use context::{Conversations, Key, Limits, Turn};
pub use decision::{Decision, Level, Second, Trace, intent_of, taken_at};
pub use routes::{RouteDef, RouteSet, RoutesError};
pub use rules::{Hit, Rule, first_hit};

use crate::outcome::{Action, DecidedBy, Intent};
use std::collections::BTreeMap;

/// The intent when `--route text` or `--route agent` (or a key binding) decides: the first route with that action, or
/// the action's own name where the set has none.
pub fn forced(routes: &RouteSet, action: Action) -> Intent {
    let label = routes.routes().iter().find(|route| route.action == action).map_or_else(
        || match action {
            Action::Text => "text",
            Action::Light => "light",
            Action::Heavy => "heavy",
        },
        |route| route.name.as_str(),
    );
    Intent {
        label: label.to_owned(),
        path: vec![label.to_owned()],
        probability: 1.0,
        action,
        undecided: false,
        by: DecidedBy::Forced,
        probabilities: BTreeMap::new(),
        attention: false,
    }
}

/// The intent when there is no model to ask: the set's default route, undecided, with no probabilities.
pub fn fallback(routes: &RouteSet) -> Intent {
    undecided(routes, BTreeMap::new())
}

/// The default route; `probabilities` are the model's where it was asked.
fn undecided(routes: &RouteSet, probabilities: BTreeMap<String, f64>) -> Intent {
    let route = routes.default_route();
    Intent {
        label: route.name.clone(),
        path: vec![route.name.clone()],
        probability: probabilities.get(&route.name).copied().unwrap_or(0.0),
        action: route.action,
        undecided: true,
        by: DecidedBy::Default,
        probabilities,
        attention: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forcing_takes_the_first_route_with_the_action() {
        let intent = forced(&RouteSet::built_in(), Action::Heavy);
        assert_eq!((intent.label.as_str(), intent.probability, intent.by), ("agent", 1.0, DecidedBy::Forced));
        assert!(!intent.undecided);
    }

    #[test]
    fn forcing_an_action_no_route_has_still_obeys() {
        let text = "default='a'\n[[route]]\nname='a'\ndescription='x'\naction='text'\nexamples=['one']\n\
                    [[route]]\nname='b'\ndescription='y'\naction='text'\nexamples=['two']\n";
        let routes = RouteSet::parse(text, "test").unwrap();
        let intent = forced(&routes, Action::Heavy);
        assert_eq!((intent.label.as_str(), intent.action), ("heavy", Action::Heavy));
    }

    #[test]
    fn without_a_model_the_default_route_is_taken_and_said_to_be_undecided() {
        let intent = fallback(&RouteSet::built_in());
        assert_eq!((intent.label.as_str(), intent.action, intent.by), ("note", Action::Text, DecidedBy::Default));
        assert!(intent.undecided && intent.probabilities.is_empty());
    }
}
