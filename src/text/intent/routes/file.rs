//! The text of a route file to a checked [`RouteSet`].

use super::{MIN_LABEL_MASS, RouteDef, RouteSet, RoutesError, THRESHOLD};
use crate::outcome::Action;
use crate::text::intent::calibrate::Calibration;
use crate::text::intent::rules::{Rule, RuleDef};
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::Arc;

/// More routes than this cannot be told apart by one letter each, nor shown enough examples of.
const MAX_ROUTES: usize = 26;

/// Levels of a set: a route, its departments, and theirs. Every level is another question to the model.
const MAX_LEVELS: usize = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    default: Option<String>,
    threshold: Option<f64>,
    min_label_mass: Option<f64>,
    examples_in_prompt: Option<usize>,
    #[serde(default, rename = "route")]
    routes: Vec<Entry>,
    #[serde(default, rename = "calibration")]
    calibrations: Vec<Calibration>,
    #[serde(default, rename = "rule")]
    rules: Vec<RuleDef>,
}

/// `[[route]]` and `[[route.child]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    description: String,
    action: Option<Action>,
    label: Option<String>,
    threshold: Option<f64>,
    prompt: Option<String>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default, rename = "child")]
    children: Vec<Entry>,
    #[serde(default, rename = "children")]
    question: Option<Question>,
}

/// `[route.children]`: the question for a department.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    default: Option<String>,
    threshold: Option<f64>,
    min_label_mass: Option<f64>,
    examples_in_prompt: Option<usize>,
    #[serde(default, rename = "calibration")]
    calibrations: Vec<Calibration>,
}

/// Parses and checks; `origin` names the file in errors.
pub(super) fn parse(text: &str, origin: &str) -> Result<RouteSet, RoutesError> {
    let document: Document = toml::from_str(text)
        .map_err(|e| RoutesError::Syntax { origin: origin.to_owned(), reason: e.to_string().trim().to_owned() })?;
    whole(document).map_err(|reason| RoutesError::Invalid { origin: origin.to_owned(), reason })
}

fn whole(document: Document) -> Result<RouteSet, String> {
    let question = Question {
        default: document.default,
        threshold: document.threshold,
        min_label_mass: document.min_label_mass,
        examples_in_prompt: document.examples_in_prompt,
        calibrations: document.calibrations,
    };
    let mut set = level(document.routes, question, &[], Action::Text)?;
    let rules = document.rules.into_iter().enumerate();
    set.rules = rules
        .map(|(number, def)| {
            let path = set.path(&def.route).map_err(|reason| format!("rule {}: {reason}", number + 1))?;
            Rule::new(def, path).map_err(|reason| format!("rule {}: {reason}", number + 1))
        })
        .collect::<Result<_, String>>()?;
    Ok(set)
}

/// One question: the routes `above` which it stands, and the action that those without one take.
fn level(entries: Vec<Entry>, question: Question, above: &[&str], inherited: Action) -> Result<RouteSet, String> {
    let at = |what: &str| if above.is_empty() { what.to_owned() } else { format!("{what} of '{}'", above.join("/")) };
    if !(2..=MAX_ROUTES).contains(&entries.len()) {
        let (table, count) = (if above.is_empty() { "[[route]]" } else { "[[route.child]]" }, entries.len());
        return Err(format!("{count} {} entries; between 2 and {MAX_ROUTES} are needed", at(table)));
    }
    let mut routes = Vec::with_capacity(entries.len());
    for entry in entries {
        routes.push(route(entry, above, inherited)?);
    }
    check_routes(&routes)?;
    let names: HashSet<&str> = routes.iter().map(|route| route.name.as_str()).collect();
    check_share(&at("threshold"), question.threshold)?;
    check_share(&at("min_label_mass"), question.min_label_mass)?;
    if question.examples_in_prompt == Some(0) {
        return Err(format!("{} is 0; the model needs at least one of each route", at("examples_in_prompt")));
    }
    for calibration in &question.calibrations {
        check_calibration(calibration, &names)?;
    }
    let mut set = RouteSet {
        routes,
        default: None,
        threshold: question.threshold.unwrap_or(THRESHOLD),
        min_label_mass: question.min_label_mass.unwrap_or(MIN_LABEL_MASS),
        examples_in_prompt: question.examples_in_prompt.unwrap_or(usize::MAX),
        calibrations: question.calibrations,
        rules: Vec::new(),
    };
    set.default = question.default.map(|name| set.position(&name)).transpose()?;
    Ok(set)
}

fn route(entry: Entry, above: &[&str], inherited: Action) -> Result<RouteDef, String> {
    let name = entry.name.clone();
    let action = match (entry.action, above.is_empty()) {
        (Some(action), _) => action,
        (None, false) => inherited,
        (None, true) => return Err(format!("route '{name}' has no action; it is text, light or heavy")),
    };
    if entry.children.is_empty() && entry.question.is_some() {
        return Err(format!("route '{name}' has a table children, but no [[route.child]]"));
    }
    let path: Vec<&str> = above.iter().copied().chain([name.as_str()]).collect();
    if !entry.children.is_empty() && path.len() >= MAX_LEVELS {
        return Err(format!("'{}' has children; {MAX_LEVELS} levels are the most", path.join("/")));
    }
    let children = if entry.children.is_empty() {
        None
    } else {
        Some(Arc::new(level(entry.children, entry.question.unwrap_or_default(), &path, action)?))
    };
    let mut examples = entry.examples;
    if let Some(children) = children.as_ref().filter(|_| examples.is_empty()) {
        // What is said to its departments is what is said to it.
        examples = in_turn(children.routes().iter().map(|route| route.examples.as_slice()).collect());
    }
    let (description, label, threshold, prompt) = (entry.description, entry.label, entry.threshold, entry.prompt);
    Ok(RouteDef { name, description, action, label, threshold, prompt, examples, children })
}

/// The first of each, the second of each, and so on.
fn in_turn(lists: Vec<&[String]>) -> Vec<String> {
    let longest = lists.iter().map(|list| list.len()).max().unwrap_or(0);
    (0..longest).flat_map(|at| lists.iter().filter_map(move |list| list.get(at)).cloned()).collect()
}

fn check_routes(routes: &[RouteDef]) -> Result<(), String> {
    let mut names = HashSet::new();
    let mut labels = HashSet::new();
    let mut examples = HashSet::new();
    for route in routes {
        let name = &route.name;
        if name.trim().is_empty() || name.trim() != name || name.contains('/') {
            return Err(format!(
                "a route's name is '{name}'; it must not be empty, nor begin or end with a space, nor hold a slash"
            ));
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
    Ok(())
}

fn check_calibration(calibration: &Calibration, names: &HashSet<&str>) -> Result<(), String> {
    let model = &calibration.model;
    if super::plain(model).is_empty() {
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
