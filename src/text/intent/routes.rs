//! Route sets: what utterances may be for, as data. A set is a TOML file; the built-in one is `default-routes.toml`.
//!
//! ```toml
//! default = "note"            # taken when the model is undecided
//! threshold = 0.4             # least probability of the best label (0: always decide)
//! min_label_mass = 0.05       # least raw probability on all labels together
//! examples_in_prompt = 24     # of each route, from the first on; all when absent
//!
//! [[rule]]                    # optional, before the model; the first that fits decides
//! wake = ["hey bestbox"]      # or regex = '^memo\b'
//! route = "agent"
//!
//! [[route]]
//! name = "note"
//! description = "text to write down as it was said"
//! action = "text"             # text | light | heavy
//! label = "note"              # optional: the token the model answers with; the name when absent
//! threshold = 0.5             # optional: overrides the set's
//! prompt = "…"                # optional: added to the instructions of whoever answers
//! examples = ["Dear Ms. Hansen, …", "…"]   # optional where there are children: theirs in turn
//!
//! [[route.child]]             # optional: departments of the route above, asked for in a second question
//! name = "calendar"           # the same keys; action: the route's, where absent
//! …
//! [route.children]            # optional: threshold, min_label_mass, examples_in_prompt, calibration, default of that
//! default = "calendar"        # question; without a default an undecided one stays with the route above
//!
//! [[calibration]]             # optional, one a model; written by fitting
//! model = "qwen2.5-coder-0.5b"
//! scale = 0.9
//! bias = { note = 0.1, … }
//! thresholds = { agent = 0.6 } # optional: for this model, before all others
//! ```

mod file;

use super::calibrate::Calibration;
use super::rules::Rule;
use crate::outcome::Action;
use std::sync::Arc;

const BUILT_IN: &str = include_str!("default-routes.toml");

/// Least probability of the best label when a set names none: just above what three equal labels have.
const THRESHOLD: f64 = 0.4;

/// Least raw probability on the labels when a set names none: below it the model is saying something else.
const MIN_LABEL_MASS: f64 = 0.05;

/// One thing an utterance may be for.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteDef {
    /// Unique among its siblings; what [`crate::outcome::Intent::path`] says.
    pub name: String,
    /// For the model: one phrase.
    pub description: String,
    /// What to do with the utterance.
    pub action: Action,
    /// The token the model answers with; `None`: the name.
    pub label: Option<String>,
    /// Least probability for this route to be taken.
    pub threshold: Option<f64>,
    /// Added to the instructions of whoever answers.
    pub prompt: Option<String>,
    /// What people say.
    pub examples: Vec<String>,
    /// Its departments, asked for in a question of their own.
    pub children: Option<Arc<RouteSet>>,
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
    default: Option<usize>,
    threshold: f64,
    min_label_mass: f64,
    examples_in_prompt: usize,
    calibrations: Vec<Calibration>,
    rules: Vec<Rule>,
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
        file::parse(text, origin)
    }

    /// The same set with another default route, such as the one from the configuration.
    pub fn with_default(mut self, name: &str) -> Result<Self, RoutesError> {
        let found = self.position(name);
        self.default =
            Some(found.map_err(|reason| RoutesError::Invalid { origin: "intent.default".to_owned(), reason })?);
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

    /// Taken when the model is undecided or absent: the one that the file names, else the first.
    pub fn default_route(&self) -> &RouteDef {
        &self.routes[self.default.unwrap_or(0)]
    }

    /// The default, where the file names one. Among departments none means: stay with the route above.
    pub fn named_default(&self) -> Option<&RouteDef> {
        self.default.map(|at| &self.routes[at])
    }

    /// What decides before the model does, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The routes that `name` means, from the first level down: a path such as `agent/calendar`, or a name that only one
    /// route of all levels has.
    ///
    /// # Errors
    /// A sentence with all names.
    pub fn path(&self, name: &str) -> Result<Vec<String>, String> {
        let name = name.trim().trim_matches('/');
        let all = self.paths();
        let exact = all.iter().find(|path| path.join("/") == name);
        let mut last = all.iter().filter(|path| path.last().is_some_and(|last| last == name));
        let found = exact.or_else(|| last.next().filter(|_| last.next().is_none()));
        found.cloned().ok_or_else(|| {
            let known: Vec<String> = all.iter().map(|path| path.join("/")).collect();
            format!("'{name}' is not a route; routes are {}", known.join(", "))
        })
    }

    /// Every route of every level as its path, in the order of the file.
    pub fn paths(&self) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        for route in &self.routes {
            all.push(vec![route.name.clone()]);
            let below = route.children.iter().flat_map(|children| children.paths());
            all.extend(below.map(|path| [vec![route.name.clone()], path].concat()));
        }
        all
    }

    /// The questions for departments, of all levels.
    pub fn questions_below(&self) -> Vec<Arc<RouteSet>> {
        let children = self.routes.iter().filter_map(|route| route.children.clone());
        children.flat_map(|set| [vec![set.clone()], set.questions_below()].concat()).collect()
    }

    /// The routes along `path`, as far as they exist.
    pub fn along(&self, path: &[String]) -> Vec<&RouteDef> {
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let Some(route) = self.routes.iter().find(|route| route.name == *first) else { return Vec::new() };
        let below = route.children.as_ref().map(|children| children.along(rest)).unwrap_or_default();
        std::iter::once(route).chain(below).collect()
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

    fn position(&self, name: &str) -> Result<usize, String> {
        self.routes
            .iter()
            .position(|route| route.name == name)
            .ok_or_else(|| format!("the default route '{name}' is not one of the routes ({})", self.names().join(", ")))
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

    const TREE: &str = "[[route]]\nname='a'\ndescription='first'\naction='text'\nexamples=['one']\n\
                        [[route]]\nname='b'\ndescription='second'\naction='heavy'\n\
                        [[route.child]]\nname='mail'\ndescription='m'\nexamples=['m1','m2']\n\
                        [[route.child]]\nname='files'\ndescription='f'\nexamples=['f1']\naction='light'\nprompt='p'\n";

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
            (&TWO.replace("'b'", "'b/c'"), "nor hold a slash"),
            (&TWO.replace("action='heavy'", ""), "'b' has no action"),
            (&format!("{TWO}[route.children]\n"), "no [[route.child]]"),
            (&format!("{TWO}[[route.child]]\nname='c'\ndescription='x'\nexamples=['y']\n"), "1 [[route.child]] of 'b'"),
            (&format!("{TREE}[route.children]\ndefault='a'\n"), "'a' is not one of the routes (mail, files)"),
            (&format!("[[rule]]\nregex='('\nroute='a'\n{TWO}"), "rule 1"),
            (&format!("[[rule]]\nroute='a'\n{TWO}"), "rule 1"),
            (&format!("[[rule]]\nwake=['!']\nroute='a'\n{TWO}"), "rule 1"),
            (&format!("[[rule]]\nregex='x'\nroute='z'\n{TWO}"), "rule 1: 'z' is not a route; routes are a, b"),
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
    fn departments_have_paths_and_take_after_their_route() {
        let set = RouteSet::parse(TREE, "t").unwrap();
        let paths: Vec<String> = set.paths().iter().map(|path| path.join("/")).collect();
        assert_eq!(paths, ["a", "b", "b/mail", "b/files"]);
        assert_eq!(set.path("b/mail").unwrap(), ["b", "mail"]);
        assert_eq!(set.path("files").unwrap(), ["b", "files"], "a name that only one has needs no path");
        assert_eq!(set.path("c").unwrap_err(), "'c' is not a route; routes are a, b, b/mail, b/files");
        let along = set.along(&set.path("b/files").unwrap());
        assert_eq!(along.iter().map(|route| route.action).collect::<Vec<_>>(), [Action::Heavy, Action::Light]);
        assert_eq!(set.along(&["b".into(), "mail".into()])[1].action, Action::Heavy, "as its route");
        assert_eq!(along[0].examples, ["m1", "f1", "m2"], "its departments' in turn");
        assert!(along[0].children.as_ref().is_some_and(|children| children.named_default().is_none()));
        let deep = TREE.replace(
            "prompt='p'\n",
            "[[route.child.child]]\nname='x'\ndescription='x'\nexamples=['x']\n\
            [[route.child.child]]\nname='y'\ndescription='y'\nexamples=['y']\n",
        );
        assert_eq!(RouteSet::parse(&deep, "t").unwrap().path("y").unwrap(), ["b", "files", "y"]);
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
