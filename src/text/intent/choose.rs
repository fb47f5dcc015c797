//! From probabilities to a choice: a hint raises one of them, then either thresholds or expected costs decide.

use super::calibrate::Calibration;
use super::routes::RouteSet;
use crate::outcome::Action;

/// A route that is likely before anything is said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hint<'a> {
    /// Its path.
    pub path: &'a [String],
    /// Factor on its odds against the others; 1 changes nothing.
    pub weight: f64,
}

/// What mistakes cost, in seconds or any other unit. All 0: thresholds decide instead.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// The heavy model was asked for nothing.
    pub wrong_heavy: f64,
    /// The heavy model should have been asked.
    pub missed_heavy: f64,
    /// Any other mistake.
    pub other: f64,
}

impl Costs {
    /// Whether costs decide at all.
    pub fn are_set(self) -> bool {
        [self.wrong_heavy, self.missed_heavy, self.other].iter().any(|cost| *cost > 0.0)
    }

    /// The cost of taking a route with the first action where one with the second was right.
    fn of(self, taken: Action, right: Action) -> f64 {
        match (taken == Action::Heavy, right == Action::Heavy) {
            (true, false) => self.wrong_heavy,
            (false, true) => self.missed_heavy,
            _ => self.other,
        }
    }
}

/// Probabilities with the odds of the route at `hinted` multiplied by `weight`; they still sum to 1.
pub(super) fn with_hint(mut shares: Vec<f64>, hinted: usize, weight: f64) -> Vec<f64> {
    if let Some(share) = shares.get_mut(hinted) {
        *share *= weight;
    }
    let sum: f64 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= sum);
    shares
}

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    /// Index of the route that the model prefers: the likeliest, or the one of least expected cost.
    pub best: usize,
    /// What `best` had to reach; 0 where costs decide.
    pub threshold: f64,
    /// Whether it is taken; otherwise the model is undecided.
    pub taken: bool,
}

/// Chooses among at least one route. `mass` is the raw probability of all labels together.
pub(super) fn choose(routes: &RouteSet, calibration: &Calibration, shares: &[f64], mass: f64, costs: Costs) -> Choice {
    let on_labels = mass >= routes.min_label_mass();
    if costs.are_set() {
        let expected =
            |taken: Action| move |(at, share): (usize, &f64)| share * costs.of(taken, routes.routes()[at].action);
        let cost = |route: usize| {
            let others = shares.iter().enumerate().filter(|(at, _)| *at != route);
            others.map(expected(routes.routes()[route].action)).sum::<f64>()
        };
        // At equal costs the likelier.
        let order = |a: &usize, b: &usize| cost(*a).total_cmp(&cost(*b)).then(shares[*b].total_cmp(&shares[*a]));
        let best = (0..shares.len()).min_by(order).unwrap_or(0);
        return Choice { best, threshold: 0.0, taken: on_labels };
    }
    let best = shares.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at);
    let threshold = routes.threshold(&routes.routes()[best], calibration);
    Choice { best, threshold, taken: on_labels && shares[best] >= threshold }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(shares: &[f64], costs: Costs) -> Choice {
        choose(&RouteSet::built_in(), &Calibration::neutral(), shares, 1.0, costs)
    }

    #[test]
    fn a_hint_multiplies_odds_and_no_more() {
        let shares = with_hint(vec![0.6, 0.3, 0.1], 2, 3.0);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((shares[2] / (shares[0] + shares[1]) - 3.0 * (0.1 / 0.9)).abs() < 1e-9, "{shares:?}");
        assert!((shares[0] / shares[1] - 2.0).abs() < 1e-9, "the others keep their ratio");
        assert_eq!(with(&shares, Costs::default()).best, 0, "what is clear stays");
        assert_eq!(with(&with_hint(vec![0.5, 0.1, 0.4], 2, 3.0), Costs::default()).best, 2);
        assert_eq!(with_hint(vec![0.5, 0.5], 7, 3.0), [0.5, 0.5]);
    }

    #[test]
    fn costs_turn_probabilities_into_the_cheapest_choice() {
        // note, quick, agent: a missed agent costs five times a wrong one.
        let dear = Costs { wrong_heavy: 2.0, missed_heavy: 10.0, other: 1.0 };
        // Agent: 0.75 * 2 = 1.5. Note: 0.25 * 10 + 0.05 = 2.55.
        assert_eq!(with(&[0.7, 0.05, 0.25], dear), Choice { best: 2, threshold: 0.0, taken: true });
        // Agent: 0.9 * 2 = 1.8. Note: 0.1 * 10 + 0.05 = 1.05.
        assert_eq!(with(&[0.85, 0.05, 0.1], dear).best, 0);
        let cautious = Costs { wrong_heavy: 10.0, missed_heavy: 1.0, other: 1.0 };
        assert_eq!(with(&[0.2, 0.1, 0.7], cautious).best, 0);
        assert_eq!(with(&[0.02, 0.01, 0.97], cautious).best, 2);
        assert!(with(&[0.4, 0.35, 0.25], Costs { other: 1.0, ..Costs::default() }).taken, "costs always decide");
    }

    #[test]
    fn without_costs_thresholds_decide() {
        assert!(!with(&[0.4, 0.35, 0.25], Costs::default()).taken);
        assert!(with(&[0.6, 0.2, 0.2], Costs::default()).taken);
        let routes = RouteSet::built_in();
        let sure = [1.0, 0.0, 0.0];
        assert!(!choose(&routes, &Calibration::neutral(), &sure, 0.01, Costs::default()).taken, "not on the labels");
    }
}
