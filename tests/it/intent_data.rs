//! The labelled sets and the example route set in samples/: complete, and honest (nothing tested on is in the prompt).

use bestbox::text::intent::RouteSet;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// One labelled utterance of samples/intent-*.jsonl.
#[derive(Debug, Deserialize)]
pub struct Labelled {
    pub label: String,
    pub text: String,
}

/// `heldout` or `fit`.
pub fn labelled(set: &str) -> Vec<Labelled> {
    let text = sample(&format!("intent-{set}.jsonl"));
    text.lines().map(|line| serde_json::from_str(line).expect("a labelled utterance a line")).collect()
}

/// Text of a file in samples/.
pub fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn words(text: &str) -> HashSet<String> {
    text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// Words in common over words in either, 0 to 1.
fn overlap(a: &HashSet<String>, b: &HashSet<String>) -> f64 {
    a.intersection(b).count() as f64 / a.union(b).count() as f64
}

#[test]
fn the_sets_are_large_enough_and_balanced() {
    for (set, least) in [("heldout", 70), ("fit", 30)] {
        let mut counts = BTreeMap::new();
        for row in labelled(set) {
            *counts.entry(row.label).or_insert(0) += 1;
        }
        let names: Vec<&str> = counts.keys().map(String::as_str).collect();
        assert_eq!(names, ["agent", "note", "quick"]);
        assert!(counts.values().all(|count| *count >= least), "{set}: {counts:?}");
    }
}

#[test]
fn nothing_held_out_is_in_the_prompt_or_the_fit_set_nor_nearly() {
    let routes = RouteSet::built_in();
    let mut known: Vec<String> = routes.routes().iter().flat_map(|route| route.examples.clone()).collect();
    let held: Vec<String> = labelled("heldout").into_iter().map(|row| row.text).collect();
    let fit: Vec<String> = labelled("fit").into_iter().map(|row| row.text).collect();
    assert_apart(&fit, &known);
    known.extend(fit);
    assert_apart(&held, &known);
}

fn assert_apart(tested: &[String], known: &[String]) {
    let known: Vec<_> = known.iter().map(|text| (text, words(text))).collect();
    for text in tested {
        let own = words(text);
        for (other, theirs) in &known {
            assert!(overlap(&own, theirs) < 0.75, "'{text}' is nearly '{other}'");
        }
    }
}

#[test]
fn the_department_routes_are_a_valid_set() {
    let set = RouteSet::parse(&sample("routes-bestbox.toml"), "routes-bestbox.toml").expect("a route set");
    assert_eq!(set.names(), ["note", "quick", "agent"]);
    assert!(set.routes().iter().all(|route| route.examples.len() >= 15));
    assert_eq!(set.default_route().name, "quick");
    let departments = set.routes()[2].children.as_ref().expect("departments");
    assert_eq!(departments.names(), ["erp", "crm", "it_ops", "oa"]);
    assert!(departments.routes().iter().all(|route| route.examples.len() >= 15 && route.prompt.is_some()));
    assert_eq!(departments.routes()[0].action, bestbox::outcome::Action::Heavy, "as the agent");
}
