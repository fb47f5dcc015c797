//! Scores of intent decisions.
//!
//! Expected calibration error as in Guo et al. 2017 ("On Calibration of Modern Neural Networks"): ten bins of equal
//! width by the probability of the best label; out-of-scope recall as in Larson et al. 2019 (CLINC150); Wilson's
//! interval for the accuracy, which is honest for a few hundred utterances.

use crate::outcome::{Action, Intent};
use serde::Serialize;
use std::collections::BTreeMap;

/// Bins of the reliability plot.
const BINS: usize = 10;

/// What an undecided utterance counts as in the confusion matrix.
pub(super) const UNDECIDED: &str = "undecided";

/// 95 % of a normal distribution lie within so many standard deviations.
const Z: f64 = 1.959_964;

/// One decision beside the right one.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    /// What it was.
    pub name: String,
    /// The right route.
    pub right: String,
    pub intent: Intent,
}

impl Decision {
    /// Whether the utterance takes the right route in the end, by the default too.
    fn is_right(&self, in_scope: bool) -> bool {
        if in_scope { self.intent.label == self.right } else { self.intent.undecided }
    }

    /// The label with the highest probability, and that.
    fn best(&self) -> Option<(&str, f64)> {
        let best = self.intent.probabilities.iter().max_by(|a, b| a.1.total_cmp(b.1));
        best.map(|(label, probability)| (label.as_str(), *probability))
    }
}

/// One bin of the reliability plot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Bin {
    pub count: usize,
    /// Mean probability of the best label.
    pub confidence: f64,
    /// Share of them that were right.
    pub accuracy: f64,
}

/// All scores of a set of decisions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct IntentScores {
    pub count: usize,
    /// Share that takes the right route.
    pub accuracy: f64,
    /// 95 % interval of it.
    pub interval: (f64, f64),
    /// Mean F1 of the routes that occur.
    pub macro_f1: f64,
    /// Share of out-of-scope utterances that were left undecided; `None` without any.
    pub out_of_scope_recall: Option<f64>,
    /// Mean distance of probability and accuracy, weighted by the bins.
    pub calibration_error: f64,
    /// Share left undecided.
    pub undecided: f64,
    /// Share sent to the heavy model.
    pub heavy: f64,
    /// Right route → route taken → how often. Undecided ones stand under [`UNDECIDED`].
    pub confusion: BTreeMap<String, BTreeMap<String, usize>>,
    pub reliability: Vec<Bin>,
    /// What went wrong: utterance, right route, route taken, probability.
    pub mistakes: Vec<(String, String, String, f64)>,
}

/// Scores for the routes `names`. `None` without decisions.
pub(super) fn score(decisions: &[Decision], names: &[String]) -> Option<IntentScores> {
    if decisions.is_empty() {
        return None;
    }
    let count = decisions.len();
    let in_scope = |decision: &Decision| names.contains(&decision.right);
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
    let right = decisions.iter().filter(|d| d.is_right(in_scope(d))).count();
    let outside: Vec<&Decision> = decisions.iter().filter(|d| !in_scope(d)).collect();
    let mut confusion: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for decision in decisions {
        let taken = if decision.intent.undecided { UNDECIDED } else { &decision.intent.label };
        *confusion.entry(decision.right.clone()).or_default().entry(taken.to_owned()).or_default() += 1;
    }
    let (reliability, calibration_error) = reliability(decisions.iter().filter(|d| in_scope(d)));
    let wrong = decisions.iter().filter(|d| !d.is_right(in_scope(d)));
    Some(IntentScores {
        count,
        accuracy: share(right, count),
        interval: wilson(right, count),
        macro_f1: macro_f1(decisions, names),
        out_of_scope_recall: (!outside.is_empty())
            .then(|| share(outside.iter().filter(|d| d.intent.undecided).count(), outside.len())),
        calibration_error,
        undecided: share(decisions.iter().filter(|d| d.intent.undecided).count(), count),
        heavy: share(decisions.iter().filter(|d| d.intent.action == Action::Heavy).count(), count),
        confusion,
        reliability,
        mistakes: wrong
            .map(|d| {
                let taken = if d.intent.undecided {
                    format!("{} ({UNDECIDED})", d.intent.label)
                } else {
                    d.intent.label.clone()
                };
                (d.name.clone(), d.right.clone(), taken, d.best().map_or(0.0, |(_, probability)| probability))
            })
            .collect(),
    })
}

fn macro_f1(decisions: &[Decision], names: &[String]) -> f64 {
    let mut scores = Vec::new();
    for name in names {
        let (mut both, mut either) = (0usize, 0usize);
        for decision in decisions {
            let (right, taken) = (decision.right == *name, decision.intent.label == *name);
            both += usize::from(right && taken);
            either += usize::from(right) + usize::from(taken);
        }
        if decisions.iter().any(|decision| decision.right == *name) {
            scores.push(2.0 * both as f64 / either.max(1) as f64);
        }
    }
    scores.iter().sum::<f64>() / scores.len().max(1) as f64
}

fn reliability<'a>(decisions: impl Iterator<Item = &'a Decision>) -> (Vec<Bin>, f64) {
    let mut bins = vec![(0usize, 0.0, 0usize); BINS];
    for decision in decisions {
        let Some((label, probability)) = decision.best() else { continue };
        let bin = &mut bins[((probability * BINS as f64) as usize).min(BINS - 1)];
        *bin = (bin.0 + 1, bin.1 + probability, bin.2 + usize::from(label == decision.right));
    }
    let total: usize = bins.iter().map(|bin| bin.0).sum();
    let bins: Vec<Bin> = bins
        .into_iter()
        .map(|(count, confidence, right)| {
            let of = count.max(1) as f64;
            Bin { count, confidence: confidence / of, accuracy: right as f64 / of }
        })
        .collect();
    let error = bins.iter().map(|bin| bin.count as f64 * (bin.confidence - bin.accuracy).abs()).sum::<f64>();
    (bins, error / total.max(1) as f64)
}

/// Wilson's score interval for a share, 95 %.
pub(in crate::app) fn wilson(right: usize, count: usize) -> (f64, f64) {
    let (n, p) = (count.max(1) as f64, right as f64 / count.max(1) as f64);
    let centre = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::DecidedBy;

    fn decision(right: &str, label: &str, probability: f64, undecided: bool) -> Decision {
        let action = if label == "agent" { Action::Heavy } else { Action::Text };
        let other = if label == "note" { "agent" } else { "note" };
        let probabilities = BTreeMap::from([(label.to_owned(), probability), (other.to_owned(), 1.0 - probability)]);
        let by = if undecided { DecidedBy::Default } else { DecidedBy::Model };
        let (label, path) = (label.to_owned(), vec![label.to_owned()]);
        let intent = Intent { label, path, probability, action, undecided, by, probabilities, attention: false };
        Decision { name: format!("{right} as {}", intent.label), right: right.to_owned(), intent }
    }

    fn names() -> Vec<String> {
        ["note", "quick", "agent"].map(String::from).to_vec()
    }

    #[test]
    fn scores_by_hand() {
        let decisions = [
            decision("note", "note", 0.9, false),
            decision("note", "agent", 0.8, false),
            decision("agent", "agent", 0.7, false),
            // Undecided, and the default is right.
            decision("note", "note", 0.6, true),
            decision("out-of-scope", "note", 0.55, true),
            decision("out-of-scope", "agent", 0.9, false),
        ];
        let scores = score(&decisions, &names()).unwrap();
        assert!((scores.accuracy - 4.0 / 6.0).abs() < 1e-9);
        assert_eq!(scores.out_of_scope_recall, Some(0.5));
        assert!((scores.heavy - 0.5).abs() < 1e-9 && (scores.undecided - 2.0 / 6.0).abs() < 1e-9);
        // note: 2 of 3 found, 3 taken: 4/6. agent: 1 of 1 found, 3 taken: 2/4. quick does not occur.
        assert!((scores.macro_f1 - (4.0 / 6.0 + 0.5) / 2.0).abs() < 1e-9, "{}", scores.macro_f1);
        assert_eq!(scores.confusion["note"][UNDECIDED], 1);
        assert_eq!(scores.confusion["note"]["agent"], 1);
        assert_eq!(scores.mistakes.len(), 2);
        // 0.9 right, 0.8 wrong, 0.7 right, 0.6 right, one a bin.
        let error = (0.1 + 0.8 + 0.3 + 0.4) / 4.0;
        assert!((scores.calibration_error - error).abs() < 1e-9, "{}", scores.calibration_error);
    }

    #[test]
    fn the_interval_is_wilsons() {
        let (low, high) = wilson(192, 216);
        assert!((low - 0.840).abs() < 0.001 && (high - 0.924).abs() < 0.001, "{low} {high}");
        assert_eq!(wilson(0, 10).0, 0.0);
        assert!(wilson(10, 10).1 <= 1.0);
    }

    #[test]
    fn no_decisions_no_scores() {
        assert!(score(&[], &names()).is_none());
    }
}
