//! From raw label mass to probabilities: a scale and an offset for each label, fitted for a model.
//!
//! Language models favour some labels whatever the utterance (Zhao et al. 2021, "Calibrate Before Use"); small ones so
//! much that the ranking is good and the choice is not. So p = softmax(scale * ln mass + bias), with scale and bias
//! fitted by regularised multinomial logistic regression on labelled utterances that are not in the prompt.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Mass below this is treated as this much, so that a label the server did not list has a finite logarithm.
const FLOOR: f64 = 1e-7;

/// Pull of the fitted constants towards "as the model says" (scale 1, bias 0): keeps few samples from running away.
const RIDGE: f64 = 0.01;

/// What was fitted for one model on one route set. The neutral one leaves the model's own ratios.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Which model: compared with the server's model name, letters and digits only, as a part of it.
    pub model: String,
    /// Factor on ln mass; above 1 sharpens, below 1 flattens.
    pub scale: f64,
    /// Offset of each route by name; absent is 0.
    #[serde(default)]
    pub bias: BTreeMap<String, f64>,
    /// Overrides the set's threshold for this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Fitted for this model and each route by name: before every other threshold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub thresholds: BTreeMap<String, f64>,
}

impl Calibration {
    /// Leaves the ratios between the labels as the model gives them.
    pub fn neutral() -> Self {
        Calibration {
            model: String::new(),
            scale: 1.0,
            bias: BTreeMap::new(),
            threshold: None,
            thresholds: BTreeMap::new(),
        }
    }

    /// Probabilities of the routes `names`, in their order, from the raw mass of their labels. They sum to 1.
    pub fn probabilities(&self, names: &[&str], mass: &[f64]) -> Vec<f64> {
        let bias: Vec<f64> = names.iter().map(|name| self.bias.get(*name).copied().unwrap_or(0.0)).collect();
        softmax(&logs(mass), self.scale, &bias)
    }
}

/// One labelled utterance as the model scored it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Index of the right route.
    pub route: usize,
    /// Raw mass of each label, in the order of the routes.
    pub mass: Vec<f64>,
}

/// Fits scale and biases to `samples` for the routes `names`. Deterministic. Convex, so plain gradient descent reaches
/// the optimum; no samples (or one route) give the neutral calibration.
pub fn fit(model: &str, names: &[&str], samples: &[Sample]) -> Calibration {
    const STEPS: usize = 4000;
    const RATE: f64 = 0.05;
    let scored: Vec<(usize, Vec<f64>)> = samples
        .iter()
        .filter(|sample| sample.route < names.len() && sample.mass.len() == names.len())
        .map(|sample| (sample.route, logs(&sample.mass)))
        .collect();
    let mut scale = 1.0;
    let mut bias = vec![0.0; names.len()];
    if !scored.is_empty() {
        let count = scored.len() as f64;
        for _ in 0..STEPS {
            let mut slope = RIDGE * (scale - 1.0);
            let mut slopes: Vec<f64> = bias.iter().map(|b| RIDGE * b).collect();
            for (right, logs) in &scored {
                for (label, p) in softmax(logs, scale, &bias).into_iter().enumerate() {
                    let error = (p - if label == *right { 1.0 } else { 0.0 }) / count;
                    slopes[label] += error;
                    slope += error * logs[label];
                }
            }
            // ln mass is several times larger than a bias's unit input: a smaller step keeps the descent stable.
            scale -= 0.2 * RATE * slope;
            bias.iter_mut().zip(slopes).for_each(|(b, slope)| *b -= RATE * slope);
        }
    }
    let bias = names.iter().zip(bias).map(|(name, b)| ((*name).to_owned(), b)).collect();
    Calibration { model: model.to_owned(), scale, bias, threshold: None, thresholds: BTreeMap::new() }
}

fn logs(mass: &[f64]) -> Vec<f64> {
    mass.iter().map(|m| if m.is_finite() { m.max(FLOOR).ln() } else { FLOOR.ln() }).collect()
}

fn softmax(logs: &[f64], scale: f64, bias: &[f64]) -> Vec<f64> {
    let scores: Vec<f64> = logs.iter().zip(bias).map(|(log, b)| scale * log + b).collect();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let parts: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
    let sum: f64 = parts.iter().sum();
    parts.iter().map(|part| part / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["note", "quick", "agent"];

    #[test]
    fn the_neutral_calibration_only_renormalises() {
        let p = Calibration::neutral().probabilities(&NAMES, &[0.1, 0.2, 0.1]);
        for (got, want) in p.iter().zip([0.25, 0.5, 0.25]) {
            assert!((got - want).abs() < 1e-9, "{p:?}");
        }
    }

    #[test]
    fn mass_that_is_zero_or_not_a_number_still_gives_probabilities() {
        for mass in [[0.0, 0.0, 0.0], [f64::NAN, 0.5, 0.0], [f64::INFINITY, -1.0, 1e-300]] {
            let p = Calibration::neutral().probabilities(&NAMES, &mass);
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9 && p.iter().all(|p| p.is_finite()), "{p:?}");
        }
    }

    #[test]
    fn fitting_undoes_a_model_that_favours_one_label() {
        // Ranked perfectly, but everything leans to "note": uncalibrated, "agent" never wins.
        let lean = [20.0, 1.0, 0.05];
        let samples: Vec<Sample> = (0..60)
            .map(|i| {
                let route = i % 3;
                let spread = 1.5 + f64::from(i as u32) / 60.0;
                let raw: Vec<f64> = (0..3).map(|l| lean[l] * if l == route { spread * 2.0 } else { 1.0 }).collect();
                let sum: f64 = raw.iter().sum();
                Sample { route, mass: raw.iter().map(|m| m / sum).collect() }
            })
            .collect();
        let right = |calibration: &Calibration| {
            let hits = samples.iter().filter(|sample| {
                let p = calibration.probabilities(&NAMES, &sample.mass);
                p[sample.route] == p.iter().copied().fold(0.0, f64::max)
            });
            hits.count()
        };
        assert!(right(&Calibration::neutral()) <= 25);
        assert_eq!(right(&fit("m", &NAMES, &samples)), 60);
    }

    #[test]
    fn fitting_nothing_is_neutral() {
        let fitted = fit("m", &NAMES, &[]);
        assert_eq!(fitted.scale, 1.0);
        assert!(fitted.bias.values().all(|bias| *bias == 0.0));
    }
}
