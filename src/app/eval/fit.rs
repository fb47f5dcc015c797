//! Fitting the intent to a model: calibration and a threshold for each route, from labelled utterances that are neither
//! in the prompt nor reported.

use super::items::Item;
use crate::engine::Engine;
use crate::error::Error;
use crate::outcome::Tier;
use crate::text::intent::{Calibration, RouteSet, Sample, fit};
use std::collections::BTreeMap;
use std::path::Path;
use tokio_util::sync::CancellationToken;
use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item as Toml, Table, value};

/// Fewer utterances than this say nothing: two a route and a hundredth of an error is one of them.
const LEAST: usize = 20;

/// Thresholds that are tried. Above the last, a route would hardly ever be taken.
const GRID: std::ops::RangeInclusive<u32> = 20..=95;

/// A higher threshold has to save at least this many decisions: one may be chance.
const GAIN: usize = 2;

/// What was fitted, and on how many utterances.
pub(super) struct Fitted {
    pub calibration: Calibration,
    pub utterances: usize,
}

/// Scores `items` with the light model and fits to them.
///
/// # Errors
/// Too few utterances with a route, or no model to ask.
pub(super) async fn run(
    engine: &Engine,
    items: &[Item],
    cancel: &CancellationToken,
    said: &mut dyn FnMut(usize, usize),
) -> Result<Fitted, Error> {
    let routes = engine.routes();
    let labelled: Vec<(&Item, Option<usize>)> = items
        .iter()
        .filter_map(|item| Some((item, item.route.as_ref()?)))
        .map(|(item, route)| (item, routes.names().iter().position(|name| name == route)))
        .collect();
    let inside = labelled.iter().filter(|(_, route)| route.is_some()).count();
    if inside < LEAST {
        return Err(Error::Usage(format!(
            "{inside} utterances with a route are kept for fitting; at least {LEAST} are needed, better a hundred"
        )));
    }
    let (mut samples, mut outside) = (Vec::new(), Vec::new());
    for (number, (item, route)) in labelled.iter().enumerate() {
        said(number + 1, labelled.len());
        let Some(transcript) = item.spoken() else { continue };
        let text = item.reference.clone().unwrap_or_else(|| transcript.text());
        let scored = engine.intent_sample(&text, route.unwrap_or(0), cancel).await;
        let sample = scored.map_err(|reason| Error::Usage(format!("nothing to fit: {reason}")))?;
        match route {
            Some(_) => samples.push(sample),
            None => outside.push(sample),
        }
    }
    let model = engine.model_name(Tier::Light).await.map_err(Error::Usage)?;
    let model = model.ok_or_else(|| Error::Usage("the light server does not say which model it has".into()))?;
    let model = model.trim_end_matches(".gguf").rsplit(['/', '\\']).next().unwrap_or_default().to_lowercase();
    let mut calibration = fit(&model, &routes.names(), &samples);
    calibration.scale = rounded(calibration.scale);
    calibration.bias.values_mut().for_each(|bias| *bias = rounded(*bias));
    calibration.thresholds = thresholds(routes, &calibration, &samples, &outside);
    Ok(Fitted { calibration, utterances: samples.len() + outside.len() })
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// For each route the lowest threshold with the most decisions right, where an utterance under it takes the default
/// route; one outside all routes is right when it is undecided. Routes take turns until nothing changes.
fn thresholds(
    routes: &RouteSet,
    calibration: &Calibration,
    samples: &[Sample],
    outside: &[Sample],
) -> BTreeMap<String, f64> {
    let names = routes.names();
    let default = names.iter().position(|name| *name == routes.default_route().name).unwrap_or(0);
    let scored: Vec<(Option<usize>, usize, f64)> = samples
        .iter()
        .map(|sample| (Some(sample.route), sample))
        .chain(outside.iter().map(|sample| (None, sample)))
        .filter_map(|(right, sample)| {
            let shares = calibration.probabilities(&names, &sample.mass);
            let best = shares.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
            Some((right, best.0, best.1))
        })
        .collect();
    let lowest = f64::from(*GRID.start()) / 100.0;
    let mut chosen = vec![lowest; names.len()];
    let right = |chosen: &[f64]| {
        let good = scored.iter().filter(|(right, best, probability)| {
            let decided = *probability >= chosen[*best];
            match right {
                Some(right) => *right == if decided { *best } else { default },
                None => !decided,
            }
        });
        good.count()
    };
    for _ in 0..3 {
        for route in 0..names.len() {
            let with = |threshold: u32| {
                let mut trial = chosen.clone();
                trial[route] = f64::from(threshold) / 100.0;
                right(&trial)
            };
            let base = with(*GRID.start());
            let best = GRID.max_by_key(|threshold| (with(*threshold), std::cmp::Reverse(*threshold)));
            chosen[route] = match best {
                Some(best) if with(best) >= base + GAIN => f64::from(best) / 100.0,
                _ => lowest,
            };
        }
    }
    names.iter().map(|name| (*name).to_owned()).zip(chosen).collect()
}

/// Writes `calibration` into the route file `text`, in the place of an earlier one for the same model; the rest, its
/// comments too, stays as it is.
///
/// # Errors
/// Text that is no TOML.
pub(super) fn written(text: &str, origin: &Path, calibration: &Calibration) -> Result<String, Error> {
    let wrong = |reason: String| Error::Usage(format!("{}: {reason}", origin.display()));
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| wrong(error.to_string()))?;
    let list = document.entry("calibration").or_insert(Toml::ArrayOfTables(ArrayOfTables::new()));
    let list = list.as_array_of_tables_mut().ok_or_else(|| wrong("'calibration' is no [[calibration]]".into()))?;
    let same = |table: &Table| table.get("model").and_then(Toml::as_str) == Some(calibration.model.as_str());
    list.retain(|table| !same(table));
    let mut table = Table::new();
    table.insert("model", value(&calibration.model));
    table.insert("scale", value(calibration.scale));
    table.insert("bias", value(inline(&calibration.bias)));
    table.insert("thresholds", value(inline(&calibration.thresholds)));
    list.push(table);
    let text = document.to_string();
    RouteSet::parse(&text, &origin.display().to_string()).map_err(|error| Error::Usage(error.to_string()))?;
    Ok(text)
}

fn inline(values: &BTreeMap<String, f64>) -> InlineTable {
    values.iter().map(|(name, value)| (name.as_str(), *value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(route: usize, mass: [f64; 3]) -> Sample {
        Sample { route, mass: mass.to_vec() }
    }

    #[test]
    fn a_route_that_is_often_wrong_when_unsure_gets_a_threshold() {
        let routes = RouteSet::built_in();
        let mut samples = Vec::new();
        for _ in 0..10 {
            // Sure of the agent: right. Half sure of it: it was a note.
            samples.push(sample(2, [0.1, 0.0, 0.9]));
            samples.push(sample(0, [0.4, 0.0, 0.6]));
            samples.push(sample(1, [0.2, 0.5, 0.3]));
        }
        let found = thresholds(&routes, &Calibration::neutral(), &samples, &[]);
        assert!(found["agent"] >= 0.6 && found["agent"] <= 0.9, "{found:?}");
        assert_eq!((found["quick"], found["note"]), (0.2, 0.2));
    }

    #[test]
    fn what_is_outside_all_routes_is_left_undecided() {
        let outside: Vec<Sample> = (0..10).map(|_| sample(0, [0.2, 0.45, 0.35])).collect();
        let inside: Vec<Sample> = (0..10).map(|_| sample(1, [0.1, 0.8, 0.1])).collect();
        let found = thresholds(&RouteSet::built_in(), &Calibration::neutral(), &inside, &outside);
        assert!(found["quick"] >= 0.45 && found["quick"] <= 0.8, "{found:?}");
    }

    #[test]
    fn a_fitted_file_keeps_its_comments_and_replaces_its_model() {
        let bias = BTreeMap::from([("agent".to_owned(), 0.5)]);
        let thresholds = BTreeMap::from([("agent".to_owned(), 0.7)]);
        let fitted = Calibration { model: "qwen2.5-coder-0.5b".into(), bias, thresholds, ..Calibration::neutral() };
        let origin = Path::new("routes.toml");
        let once = written(RouteSet::built_in_text(), origin, &fitted).unwrap();
        assert!(once.lines().next().is_some_and(|line| line.starts_with('#')), "comments stay");
        let routes = RouteSet::parse(&once, "routes.toml").unwrap();
        let found = routes.calibration(Some("Qwen2.5-Coder-0.5B-Instruct.gguf"));
        assert_eq!(found, fitted);
        let agent = routes.routes().iter().find(|route| route.name == "agent").unwrap();
        assert_eq!(routes.threshold(agent, &found), 0.7);
        let twice = written(&once, origin, &Calibration { scale: 2.0, ..fitted }).unwrap();
        assert_eq!(twice.matches("\"qwen2.5-coder-0.5b\"").count(), 1, "{twice}");
        assert!(written("= nonsense", origin, &Calibration::neutral()).is_err());
    }
}
