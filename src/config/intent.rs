//! `[intent]`: what is said, and where it goes.

use crate::outcome::Route;
use serde::{Deserialize, Serialize};

/// Who is asked again where the light model is undecided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecondOpinion {
    /// Nobody: the default route is taken.
    #[default]
    Off,
    /// The heavy model, if its server is up.
    Heavy,
    /// The heavy model; its server is started where it waits for a demand.
    HeavyStart,
}

/// `[intent]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntentConfig {
    /// Default of `--route`.
    pub route: Route,
    /// File with routes; empty: the built-in note, quick, agent.
    pub routes: String,
    /// Route taken when the model is undecided or absent; empty: the one the routes file names.
    pub default: String,
    /// Route that is taken whatever is said, by name or path such as `agent/calendar`; empty: none.
    pub force: String,
    /// Route that is likely, by name or path; empty: none. Weaker than `force`.
    pub hint: String,
    /// Factor on the odds of a hinted route, 1 to 10.
    pub hint_weight: f64,
    /// Turns of the same conversation that the model sees before an utterance; 0: none.
    pub context_turns: u32,
    /// Tokens that they may take together.
    pub context_tokens: u32,
    /// Seconds after which a turn says nothing about the next.
    pub context_seconds: f64,
    /// Seconds after a wake phrase alone in which what is said takes its route.
    pub attention_seconds: f64,
    /// `off`, `heavy` (where it is up) or `heavy-start`: the heavy model is asked where the light one is undecided.
    pub second_opinion: SecondOpinion,
    /// Seconds for the second opinion; then the default route is taken.
    pub second_opinion_seconds: f64,
    /// What mistakes cost; all 0: thresholds decide.
    pub costs: CostsConfig,
    /// What would have been decided by `heavy`, by `light` or by another route file: logged beside what was done; empty:
    /// nothing.
    pub shadow: String,
    /// Seconds for the shadow's decision.
    pub shadow_seconds: f64,
    /// File for decisions, as JSON lines; empty: none.
    pub log: String,
    /// Size at which the log is moved to `NAME.1` and begun anew, bytes.
    pub log_bytes: u64,
    /// Whether the words stand in the log; a hash of them otherwise.
    pub log_text: bool,
}

/// `[intent.costs]`: in seconds, or any other unit.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CostsConfig {
    /// The heavy model was asked for nothing.
    pub wrong_heavy: f64,
    /// The heavy model should have been asked and was not.
    pub missed_heavy: f64,
    /// Any other mistake.
    pub other: f64,
}

impl Default for IntentConfig {
    fn default() -> Self {
        IntentConfig {
            route: Route::default(),
            routes: String::new(),
            default: String::new(),
            force: String::new(),
            hint: String::new(),
            hint_weight: 3.0,
            context_turns: 2,
            context_tokens: 96,
            context_seconds: 120.0,
            attention_seconds: 10.0,
            second_opinion: SecondOpinion::Off,
            second_opinion_seconds: 3.0,
            costs: CostsConfig::default(),
            shadow: String::new(),
            shadow_seconds: 10.0,
            log: String::new(),
            log_bytes: 10 << 20,
            log_text: true,
        }
    }
}

impl IntentConfig {
    /// Numbers that must lie between the two that follow.
    pub(super) fn ranges(&self) -> [(&'static str, f64, f64, f64); 11] {
        [
            ("intent.hint_weight", self.hint_weight, 1.0, 10.0),
            ("intent.context_turns", f64::from(self.context_turns), 0.0, 16.0),
            ("intent.context_tokens", f64::from(self.context_tokens), 8.0, 1024.0),
            ("intent.context_seconds", self.context_seconds, 0.0, 86_400.0),
            ("intent.attention_seconds", self.attention_seconds, 0.0, 600.0),
            ("intent.second_opinion_seconds", self.second_opinion_seconds, 0.01, 600.0),
            ("intent.shadow_seconds", self.shadow_seconds, 0.1, 600.0),
            ("intent.log_bytes", self.log_bytes as f64, 10_000.0, 1e12),
            ("intent.costs.wrong_heavy", self.costs.wrong_heavy, 0.0, 1e9),
            ("intent.costs.missed_heavy", self.costs.missed_heavy, 0.0, 1e9),
            ("intent.costs.other", self.costs.other, 0.0, 1e9),
        ]
    }
}
