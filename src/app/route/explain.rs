//! One decision, for people and as JSON.

use crate::engine::Shadow;
use crate::outcome::{Action, DecidedBy, Intent, Warning};
use crate::text::intent::{Decision, Level, Trace};
use serde::Serialize;
use std::fmt;

/// A text, what it is for, and why.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    text: String,
    intent: Intent,
    /// What whoever answers gets.
    for_answer: String,
    #[serde(flatten)]
    trace: Trace,
    warning: Option<Warning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<Shadow>,
}

impl Explained {
    pub fn of(text: &str, decision: Decision, shadow: Option<Shadow>) -> Self {
        let Decision { intent, text: for_answer, warning, trace } = decision;
        Explained { text: text.to_owned(), intent, for_answer, trace, warning, shadow }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (intent, trace) = (&self.intent, &self.trace);
        writeln!(f, "{}", self.text)?;
        writeln!(f, "  route      {}: {}", intent.path.join("/"), then(intent))?;
        writeln!(f, "  decided    {} in {:.1} ms", by(intent, trace), trace.ms)?;
        for level in &trace.levels {
            show(f, "asked", level)?;
        }
        if let Some(second) = &trace.second_opinion {
            match (&second.level, &second.reason) {
                (Some(level), _) => show(f, "second", level)?,
                (None, reason) => writeln!(f, "  second     none: {}", reason.as_deref().unwrap_or("not asked"))?,
            }
        }
        if trace.context > 0 {
            writeln!(f, "  context    {} turns before it were shown", trace.context)?;
        }
        if let Some(hint) = &trace.hint {
            writeln!(f, "  hint       {hint}")?;
        }
        if self.for_answer != self.text {
            writeln!(f, "  text       {}", self.for_answer)?;
        }
        if let Some(reason) = &trace.reason {
            writeln!(f, "  problem    {reason}")?;
        }
        if let Some(shadow) = &self.shadow {
            match (&shadow.route, &shadow.dropped) {
                (Some(route), _) => {
                    let undecided = if shadow.undecided { ", undecided: the default" } else { "" };
                    writeln!(f, "  shadow     {}: {route}{undecided}, {:.1} ms", shadow.setting, shadow.ms)?;
                    for level in &shadow.levels {
                        show(f, "shadow", level)?;
                    }
                }
                (None, why) => {
                    writeln!(f, "  shadow     {}: {}", shadow.setting, why.as_deref().unwrap_or("not asked"))?
                }
            }
        }
        Ok(())
    }
}

fn then(intent: &Intent) -> &'static str {
    match (intent.attention, intent.action) {
        (true, _) => "nobody answers yet; what follows takes this route",
        (false, Action::Text) => "the text is the result",
        (false, Action::Light) => "the light model answers",
        (false, Action::Heavy) => "the heavy model answers",
    }
}

fn by(intent: &Intent, trace: &Trace) -> String {
    match intent.by {
        DecidedBy::Rule => format!("by the rule '{}'", trace.rule.as_deref().unwrap_or_default()),
        DecidedBy::Forced => "as asked".to_owned(),
        DecidedBy::Model => format!("by the {} model", trace.levels.first().map_or("light", |level| level.tier.name())),
        DecidedBy::SecondOpinion => "by the heavy model's second opinion".to_owned(),
        DecidedBy::Default if trace.levels.is_empty() => "by default: no model was asked".to_owned(),
        DecidedBy::Default => "by default: undecided".to_owned(),
    }
}

/// One question: probabilities with what they had to reach, and what it cost.
fn show(f: &mut fmt::Formatter<'_>, what: &str, level: &Level) -> fmt::Result {
    let mut shares: Vec<_> = level.probabilities.iter().collect();
    shares.sort_by(|a, b| b.1.total_cmp(a.1));
    let shares: Vec<String> = shares.iter().map(|(name, share)| format!("{name} {share:.3}")).collect();
    let under = if level.under.is_empty() { String::new() } else { format!(" under {}", level.under.join("/")) };
    let taken = match &level.taken {
        Some(taken) => format!("{taken} taken"),
        None => "undecided".to_owned(),
    };
    let bound = if level.threshold > 0.0 {
        format!("threshold of {} {:.2}", level.best, level.threshold)
    } else {
        format!("{} costs least or has no threshold", level.best)
    };
    let model = level.model.as_deref().unwrap_or("unnamed model");
    writeln!(f, "  {what:<10} {} model{under}, {model}: {}", level.tier.name(), shares.join(", "))?;
    let fitted = level.calibration.as_deref().unwrap_or("none for this model");
    writeln!(
        f,
        "             {taken}; {bound}; label mass {:.3} (least {:.2}); calibration {fitted}",
        level.label_mass, level.min_label_mass
    )?;
    let count = |tokens: Option<u32>| tokens.map_or_else(|| "unknown".to_owned(), |tokens| tokens.to_string());
    let (prompt, cached) = (count(level.prompt_tokens), count(level.cached_tokens));
    writeln!(f, "             prompt {prompt} tokens, {cached} of them cached; {:.1} ms", level.ms)
}
