//! Route sets: what utterances may be for, as data. A set is a TOML file; the built-in one is `default-routes.toml`.
//!
//! ```toml
//! default = "note"            # taken when the model is undecided
//! threshold = 0.4             # least probability of the best label (0: always decide)
//! min_label_mass = 0.05       # least raw probability on all labels together
//! examples_in_prompt = 24     # of each route, from the first on; all when absent
//!
//! [[route]]
//! name = "note"
//! description = "text to write down as it was said"
//! action = "text"             # text | light | heavy
//! label = "note"              # optional: the token the model answers with; the name when absent
//! threshold = 0.5             # optional: overrides the set's
//! examples = ["Dear Ms. Hansen, …", "…"]
//!
//! [[calibration]]             # optional, one a model; written by fitting
//! model = "qwen2.5-coder-0.5b"
//! scale = 0.9
//! bias = { note = 0.1, … }
//! thresholds = { agent = 0.6 } # optional: for this model, before all others
//! ```

use super::calibrate::Calibration;
use crate::outcome::Action;
use serde::Deserialize;
use std::collections::HashSet;

const BUILT_IN: &str = include_str!("default-routes.toml");

/// More routes than this cannot be told apart by one letter each, nor shown enough examples of.
const MAX_ROUTES: usize = 26;

/// Least probability of the best label when a set names none: just above what three equal labels have.
const THRESHOLD: f64 = 0.4;

/// Least raw probability on the labels when a set names none: below it the model is saying something else.
const MIN_LABEL_MASS: f64 = 0.05;

/// One thing an utterance may be for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteDef {
    /// Unique in its set; what [`crate::outcome::Intent::label`] says.
    pub name: String,
    /// For the model: one phrase.
    pub description: String,
    /// What to do with the utterance.
    pub action: Action,
    /// The token the model answers with; `None`: the name.
    pub label: Option<String>,
    /// Least probability for this route to be taken.
    pub threshold: Option<f64>,
    /// What people say.
    pub examples: Vec<String>,
}

impl RouteDef {
    /// The token the model is to answer with.
    pub fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.name)
    }
}

/// A validated set of routes: at least two, names unique, the default among them.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSet {
    routes: Vec<RouteDef>,
    default: usize,
    threshold: f64,
    min_label_mass: f64,
    examples_in_prompt: usize,
    calibrations: Vec<Calibration>,
}

/// A route set that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{origin} is not a route set: {reason}")]
    Syntax { origin: String, reason: String },
    /// Well-formed, but the routes make no sense together.
    #[error("{origin}: {reason}")]
    Invalid { origin: String, reason: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    default: Option<String>,
    threshold: Option<f64>,
    min_label_mass: Option<f64>,
    examples_in_prompt: Option<usize>,
    #[serde(default, rename = "route")]
    routes: Vec<RouteDef>,
    #[serde(default, rename = "calibration")]
    calibrations: Vec<Calibration>,
}

impl RouteSet {
    /// note, quick, agent.
    pub fn built_in() -> Self {
        // The file is part of the program and a test parses it: only a broken build can fail here.
        RouteSet::parse(BUILT_IN, "default-routes.toml").unwrap_or_else(|error| panic!("built-in route set: {error}"))
    }

    /// The text of the built-in set: what a fitted one starts from.
    pub fn built_in_text() -> &'static str {
        BUILT_IN
    }

    /// Parses and checks the text of a route file; `origin` names it in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self, RoutesError> {
        let document: Document = toml::from_str(text)
            .map_err(|e| RoutesError::Syntax { origin: origin.to_owned(), reason: e.to_string().trim().to_owned() })?;
        RouteSet::validate(document).map_err(|reason| RoutesError::Invalid { origin: origin.to_owned(), reason })
    }

    /// The same set with another default route, such as the one from the configuration.
    pub fn with_default(mut self, name: &str) -> Result<Self, RoutesError> {
        self.default = self
            .position(name)
            .map_err(|reason| RoutesError::Invalid { origin: "intent.default".to_owned(), reason })?;
        Ok(self)
    }

    /// In the order of the file.
    pub fn routes(&self) -> &[RouteDef] {
        &self.routes
    }

    /// Names, in the order of the file.
    pub fn names(&self) -> Vec<&str> {
        self.routes.iter().map(|route| route.name.as_str()).collect()
    }

    /// Taken when the model is undecided or absent.
    pub fn default_route(&self) -> &RouteDef {
        &self.routes[self.default]
    }

    /// Least raw probability on all labels together for a decision.
    pub fn min_label_mass(&self) -> f64 {
        self.min_label_mass
    }

    /// Most examples of one route that the prompt shows.
    pub fn examples_in_prompt(&self) -> usize {
        let most = self.routes.iter().map(|route| route.examples.len()).max().unwrap_or(0);
        most.min(self.examples_in_prompt)
    }

    /// Least probability for `route` to be taken: what was fitted for the model and this route, else the route's own,
    /// else the calibration's, else the set's.
    pub fn threshold(&self, route: &RouteDef, calibration: &Calibration) -> f64 {
        let fitted = calibration.thresholds.get(&route.name).copied();
        fitted.or(route.threshold).or(calibration.threshold).unwrap_or(self.threshold)
    }

    /// What was fitted for the model that the server calls `model` (a name or a file name); the longest match wins, and
    /// a model nobody fitted gets the neutral one.
    pub fn calibration(&self, model: Option<&str>) -> Calibration {
        let given = model.map(plain).unwrap_or_default();
        self.calibrations
            .iter()
            .filter(|calibration| given.contains(&plain(&calibration.model)))
            .max_by_key(|calibration| calibration.model.len())
            .cloned()
            .unwrap_or_else(Calibration::neutral)
    }

    fn validate(document: Document) -> Result<Self, String> {
        let routes = document.routes;
        if !(2..=MAX_ROUTES).contains(&routes.len()) {
            return Err(format!("{} [[route]] entries; between 2 and {MAX_ROUTES} are needed", routes.len()));
        }
        let mut names = HashSet::new();
        let mut labels = HashSet::new();
        let mut examples = HashSet::new();
        for route in &routes {
            let name = &route.name;
            if name.trim().is_empty() || name.trim() != name {
                return Err(format!("a route's name is '{name}'; it must not be empty nor begin or end with a space"));
            }
            if !names.insert(name.as_str()) {
                return Err(format!("two routes are named '{name}'; names must differ"));
            }
            if route.label().trim().is_empty() || !labels.insert(route.label().to_lowercase()) {
                return Err(format!("route '{name}' has the label '{}', empty or already taken", route.label()));
            }
            if route.description.trim().is_empty() {
                return Err(format!("route '{name}' has no description"));
            }
            if route.examples.is_empty() {
                return Err(format!("route '{name}' has no examples; give at least one, better forty"));
            }
            for example in &route.examples {
                if example.trim().is_empty() {
                    return Err(format!("route '{name}' has an empty example"));
                }
                if !examples.insert(example.trim().to_lowercase()) {
                    return Err(format!("the example \"{example}\" of route '{name}' is there twice"));
                }
            }
            check_share(&format!("threshold of route '{name}'"), route.threshold)?;
        }
        check_share("threshold", document.threshold)?;
        check_share("min_label_mass", document.min_label_mass)?;
        if document.examples_in_prompt == Some(0) {
            return Err("examples_in_prompt is 0; the model needs at least one of each route".to_owned());
        }
        for calibration in &document.calibrations {
            check_calibration(calibration, &names)?;
        }
        let mut set = RouteSet {
            routes,
            default: 0,
            threshold: document.threshold.unwrap_or(THRESHOLD),
            min_label_mass: document.min_label_mass.unwrap_or(MIN_LABEL_MASS),
            examples_in_prompt: document.examples_in_prompt.unwrap_or(usize::MAX),
            calibrations: document.calibrations,
        };
        if let Some(default) = document.default {
            set.default = set.position(&default)?;
        }
        Ok(set)
    }

    fn position(&self, name: &str) -> Result<usize, String> {
        self.routes
            .iter()
            .position(|route| route.name == name)
            .ok_or_else(|| format!("the default route '{name}' is not one of the routes ({})", self.names().join(", ")))
    }
}

fn check_calibration(calibration: &Calibration, names: &HashSet<&str>) -> Result<(), String> {
    let model = &calibration.model;
    if plain(model).is_empty() {
        return Err("a [[calibration]] has an empty model".to_owned());
    }
    if !(calibration.scale.is_finite() && calibration.scale > 0.0) {
        return Err(format!("calibration for '{model}': scale must be above 0, not {}", calibration.scale));
    }
    for (name, bias) in &calibration.bias {
        if !names.contains(name.as_str()) {
            return Err(format!("calibration for '{model}': '{name}' is not a route"));
        }
        if !bias.is_finite() {
            return Err(format!("calibration for '{model}': the bias of '{name}' is not a number"));
        }
    }
    for (name, threshold) in &calibration.thresholds {
        if !names.contains(name.as_str()) {
            return Err(format!("calibration for '{model}': '{name}' is not a route"));
        }
        check_share(&format!("threshold of '{name}' for '{model}'"), Some(*threshold))?;
    }
    check_share(&format!("threshold of the calibration for '{model}'"), calibration.threshold)
}

fn check_share(what: &str, value: Option<f64>) -> Result<(), String> {
    match value {
        Some(value) if !(0.0..=1.0).contains(&value) => Err(format!("{what} is {value}; it must be from 0 to 1")),
        _ => Ok(()),
    }
}

/// Letters and digits, lower case: `Qwen2.5-Coder-0.5B` and `qwen2_5 coder 0.5b` are the same model.
fn plain(model: &str) -> String {
    model.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "[[route]]\nname='a'\ndescription='first'\naction='text'\nexamples=['one']\n\
                       [[route]]\nname='b'\ndescription='second'\naction='heavy'\nexamples=['two']\n";

    fn refused(text: &str) -> String {
        RouteSet::parse(text, "my.toml").unwrap_err().to_string()
    }

    #[test]
    fn the_built_in_set_has_forty_examples_a_route_and_the_three_actions() {
        let set = RouteSet::built_in();
        assert_eq!(set.names(), ["note", "quick", "agent"]);
        let actions: Vec<Action> = set.routes().iter().map(|route| route.action).collect();
        assert_eq!(actions, [Action::Text, Action::Light, Action::Heavy]);
        assert!(set.routes().iter().all(|route| route.examples.len() >= 40));
        assert_eq!(set.default_route().name, "note");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, want) in [
            ("", "0 [[route]] entries"),
            (&TWO.replace("'b'", "'a'"), "two routes are named 'a'"),
            (&TWO.replace("['two']", "[]"), "'b' has no examples"),
            (&TWO.replace("'two'", "' '"), "'b' has an empty example"),
            (&TWO.replace("'two'", "'One'"), "is there twice"),
            (&TWO.replace("'second'", "''"), "'b' has no description"),
            (&TWO.replace("action='heavy'", "action='huge'"), "my.toml is not a route set"),
            (&TWO.replace("action='heavy'", "action='heavy'\nlabel='A'"), "label 'A'"),
            (&TWO.replace("action='heavy'", "action='heavy'\nthreshold=1.5"), "from 0 to 1"),
            (&TWO.replace("description", "descripton"), "descripton"),
            (&format!("default='c'\n{TWO}"), "the default route 'c' is not one of the routes (a, b)"),
            (&format!("min_label_mass=2\n{TWO}"), "min_label_mass is 2"),
            (&format!("examples_in_prompt=0\n{TWO}"), "examples_in_prompt is 0"),
            (&format!("{TWO}[[calibration]]\nmodel='m'\nscale=0\n"), "scale must be above 0"),
            (&format!("{TWO}[[calibration]]\nmodel='m'\nscale=1\nbias={{c=1.0}}\n"), "'c' is not a route"),
            (&format!("{TWO}[[calibration]]\nmodel='-'\nscale=1\n"), "empty model"),
        ] {
            let error = refused(text);
            assert!(error.contains(want), "{error} should say: {want}");
            assert!(error.contains("my.toml"), "{error}");
        }
    }

    #[test]
    fn without_a_default_the_first_route_is_it_and_the_configuration_may_name_another() {
        let set = RouteSet::parse(TWO, "t").unwrap();
        assert_eq!(set.default_route().name, "a");
        assert_eq!(set.clone().with_default("b").unwrap().default_route().name, "b");
        assert!(set.with_default("z").unwrap_err().to_string().contains("intent.default"));
    }

    #[test]
    fn a_calibration_is_found_by_name_or_file_name_and_the_longest_wins() {
        let text = format!(
            "{TWO}[[calibration]]\nmodel='qwen2.5'\nscale=2.0\n[[calibration]]\nmodel='Qwen2.5-Coder-0.5B'\nscale=3.0\n"
        );
        let set = RouteSet::parse(&text, "t").unwrap();
        let scale = |model| set.calibration(model).scale;
        assert_eq!(scale(Some("/models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")), 3.0);
        assert_eq!(scale(Some("Qwen2.5-7B-Instruct")), 2.0);
        assert_eq!((scale(Some("llama")), scale(None)), (1.0, 1.0));
    }
}
