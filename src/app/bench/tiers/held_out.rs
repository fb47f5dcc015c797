//! Labelled utterances that no prompt holds, and how often each router has them right.

use super::setups::{self, Engines};
use super::{Bench, original};
use crate::app::eval::wilson;
use crate::error::Error;
use crate::text::intent::RouteSet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Fewer say too little about a router: one of them would be more than half a percent.
pub(super) const ENOUGH: usize = 200;

/// Utterances that share more of their words than this are the same, said again.
const NEARLY: f64 = 0.8;

/// One labelled utterance, as speech recognition would give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Utterance {
    pub text: String,
    /// The right route.
    pub label: String,
}

/// How often one router was right.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Right {
    pub router: &'static str,
    pub right: usize,
    pub of: usize,
    /// Share, 0 to 1, and its 95 % interval (Wilson).
    pub accuracy: f64,
    pub interval: (f64, f64),
}

impl Right {
    pub fn new(router: &'static str, right: usize, of: usize) -> Self {
        Right { router, right, of, accuracy: right as f64 / of.max(1) as f64, interval: wilson(right, of) }
    }
}

/// The routers' figures, and the utterances that all of them have right.
pub(super) struct Accuracies {
    /// JSON on a part, the heavy model's one-token route, the light model's.
    pub routers: [Right; 3],
    /// Indexes of those that both one-token routers have right: (b), (c) and (d) do the same work on them, and (a) is made to.
    pub agreed: Vec<usize>,
}

#[derive(Deserialize)]
struct Line {
    text: String,
    #[serde(alias = "route", alias = "intent")]
    label: String,
}

/// Reads JSON lines with `text` and `label`.
///
/// # Errors
/// A file that cannot be read, or a line that is none, with its number.
pub(super) fn read(path: &Path) -> Result<Vec<Utterance>, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let items: Result<Vec<Utterance>, Error> = lines
        .map(|(number, line)| {
            let line: Line = serde_json::from_str(line)
                .map_err(|error| Error::Usage(format!("{} line {}: {error}", path.display(), number + 1)))?;
            Ok(Utterance { text: plain(&line.text), label: line.label })
        })
        .collect();
    items.and_then(|items| match items.is_empty() {
        true => Err(Error::Usage(format!("{} has no utterances", path.display()))),
        false => Ok(items),
    })
}

/// Lower case, no marks but apostrophes.
fn plain(text: &str) -> String {
    let lower = text.to_lowercase();
    let plain: String = lower.chars().map(|c| if c.is_alphanumeric() || c == '\'' { c } else { ' ' }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The largest share of words that an utterance has in common with an example of the prompt.
///
/// # Errors
/// An utterance that is in the prompt, or nearly: what it measures would be memory.
pub(super) fn apart(routes: &RouteSet, items: &[Utterance]) -> Result<f64, Error> {
    let words = |text: &str| plain(text).split(' ').map(str::to_owned).collect::<HashSet<_>>();
    let examples: Vec<(&String, HashSet<String>)> =
        routes.routes().iter().flat_map(|route| &route.examples).map(|example| (example, words(example))).collect();
    let mut nearest = 0.0f64;
    for item in items {
        let said = words(&item.text);
        for (example, known) in &examples {
            let overlap = said.intersection(known).count() as f64 / said.union(known).count().max(1) as f64;
            if overlap > NEARLY {
                return Err(Error::Usage(format!(
                    "the held-out utterance \"{}\" is in the router's prompt (\"{example}\"); take it out of the file",
                    item.text
                )));
            }
            nearest = nearest.max(overlap);
        }
    }
    Ok(nearest)
}

/// Asks every router.
pub(super) async fn accuracies(
    bench: &Bench<'_>,
    engines: &Engines,
    items: &[Utterance],
    cancel: &CancellationToken,
) -> Result<Accuracies, Error> {
    let mut one_token = [Vec::new(), Vec::new()];
    for (number, item) in items.iter().enumerate() {
        bench.progress.line(&format!("routing held-out utterances: {} of {}", number + 1, items.len()));
        for (engine, right) in [&engines.single, &engines.two].into_iter().zip(&mut one_token) {
            let taken = setups::route(engine, &engines.plan, &item.text, cancel).await?;
            right.push(taken.as_deref() == Some(&item.label));
        }
    }
    let asked = spread(items.len(), bench.args.json_sample as usize);
    let client = engines.clients().await?.single;
    let mut json = Vec::new();
    for (number, at) in asked.iter().enumerate() {
        bench.progress.line(&format!("routing with JSON: {} of {}", number + 1, asked.len()));
        let taken = original::route(&client, engines.single.routes(), &items[*at].text, cancel).await?;
        json.push(taken.as_deref() == Some(&items[*at].label));
    }
    let count = |right: &[bool]| right.iter().filter(|right| **right).count();
    let agreed = (0..items.len()).filter(|at| one_token.iter().all(|right| right[*at])).collect();
    let json_right = count(&json);
    Ok(Accuracies {
        routers: [
            Right::new("heavy, JSON", json_right, json.len()),
            Right::new("heavy, one token", count(&one_token[0]), items.len()),
            Right::new("light, one token", count(&one_token[1]), items.len()),
        ],
        agreed,
    })
}

/// `wanted` indexes below `count`, evenly spread.
fn spread(count: usize, wanted: usize) -> Vec<usize> {
    let wanted = wanted.min(count);
    (0..wanted).map(|n| n * count / wanted).collect()
}

/// Utterances to be timed: of those that are routed rightly, so that all do the same work, in turn from each label;
/// filled up with others where there are too few.
pub(super) fn choose<'a>(agreed: &[usize], items: &'a [Utterance], wanted: usize) -> Vec<&'a Utterance> {
    let mut by_label: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for at in agreed {
        by_label.entry(&items[*at].label).or_default().push(*at);
    }
    let rounds = by_label.values().map(Vec::len).max().unwrap_or(0);
    let mut chosen: Vec<usize> =
        (0..rounds).flat_map(|round| by_label.values().filter_map(move |all| all.get(round).copied())).collect();
    chosen.truncate(wanted);
    for at in 0..items.len() {
        if chosen.len() < wanted && !chosen.contains(&at) {
            chosen.push(at);
        }
    }
    chosen.into_iter().map(|at| &items[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str, label: &str) -> Utterance {
        Utterance { text: text.into(), label: label.into() }
    }

    #[test]
    fn an_utterance_of_the_prompt_is_refused_however_it_is_written() {
        let routes = RouteSet::built_in();
        let example = routes.routes()[0].examples[0].to_uppercase().replace(' ', "  ");
        let error = apart(&routes, &[item(&plain(&example), "note")]).unwrap_err().to_string();
        assert!(error.contains("is in the router's prompt"), "{error}");
        let nearest = apart(&routes, &[item("zyx wvu", "note")]).unwrap();
        assert_eq!(nearest, 0.0);
    }

    #[test]
    fn what_is_timed_is_what_all_have_right_in_turn_from_each_label() {
        let items: Vec<Utterance> = ["note", "note", "quick", "agent", "agent", "note"]
            .iter()
            .enumerate()
            .map(|(n, label)| item(&n.to_string(), label))
            .collect();
        let texts = |agreed: &[usize], wanted| {
            choose(agreed, &items, wanted).iter().map(|item| item.text.clone()).collect::<Vec<_>>()
        };
        assert_eq!(texts(&[0, 1, 2, 3, 4], 4), ["3", "0", "2", "4"]);
        assert_eq!(texts(&[5], 3), ["5", "0", "1"]);
        assert_eq!(texts(&[], 99).len(), 6);
    }

    #[test]
    fn a_sample_is_spread_over_the_file() {
        assert_eq!(spread(10, 5), [0, 2, 4, 6, 8]);
        assert_eq!(spread(3, 9), [0, 1, 2]);
        assert!(spread(3, 0).is_empty());
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"text\": \"Hello, Ann!\", \"label\": \"note\"}\n\n{\"text\": 3}\n").unwrap();
        assert!(read(file.path()).unwrap_err().to_string().contains("line 3"));
        std::fs::write(file.path(), "{\"text\": \"Hello, Ann's!\", \"label\": \"note\"}\n").unwrap();
        assert_eq!(read(file.path()).unwrap(), [item("hello ann's", "note")]);
        std::fs::write(file.path(), "\n").unwrap();
        assert!(read(file.path()).unwrap_err().to_string().contains("no utterances"));
    }
}
