//! `search_transcripts`: what the user said before. Where that is kept, the front ends know.

use super::{Arguments, Outcome, object, text};
use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;

/// Most passages of one search.
const MAX_FOUND: usize = 8;
/// Characters of a passage around the first word found.
const PASSAGE: usize = 400;

/// Something the user said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Where it stands: a time, or a file's name.
    pub place: String,
    /// What was said.
    pub text: String,
}

/// Where transcripts are kept. Read only.
pub trait Transcripts: Send + Sync {
    /// Texts that hold all of `words` (lower case), newest first, at most `limit`; or why they cannot be read.
    fn search<'a>(
        &'a self,
        words: &'a [String],
        limit: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Found>, String>> + Send + 'a>>;
}

pub(super) fn spec() -> (&'static str, &'static str, Value) {
    let query = json!({"type": "string", "description": "words that were said; all of them must occur"});
    let description = "Finds what the user dictated or recorded earlier, newest first.";
    ("search_transcripts", description, object(&[("query", query)], 1))
}

pub(super) async fn call(transcripts: Option<&dyn Transcripts>, arguments: &Arguments) -> Outcome {
    let query = text(arguments, "query").to_lowercase();
    let words: Vec<String> = query
        .split(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '-'))
        .filter(|word| !word.is_empty())
        .take(16)
        .map(str::to_owned)
        .collect();
    if words.is_empty() {
        return Err("the query has no words".into());
    }
    let Some(transcripts) = transcripts else { return Ok("There are no transcripts.".into()) };
    let found = transcripts.search(&words, MAX_FOUND).await?;
    if found.is_empty() {
        return Ok(format!("No transcript holds all of: {}.", words.join(", ")));
    }
    let line = |found: &Found| format!("{}: {}", found.place, passage(&found.text, &words[0]));
    Ok(found.iter().take(MAX_FOUND).map(line).collect::<Vec<_>>().join("\n"))
}

/// The stretch around the first occurrence of `word`, on one line.
fn passage(text: &str, word: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= PASSAGE {
        return text;
    }
    // Lower-casing may change lengths: near enough for where a passage begins.
    let before = text.to_lowercase().find(word).map_or(0, |at| text.to_lowercase()[..at].chars().count());
    let start = before.saturating_sub(PASSAGE / 3).min(characters.len() - PASSAGE);
    let piece: String = characters[start..start + PASSAGE].iter().collect();
    format!("…{piece}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<Found>);

    impl Transcripts for Fixed {
        fn search<'a>(
            &'a self,
            words: &'a [String],
            limit: usize,
        ) -> Pin<Box<dyn Future<Output = Result<Vec<Found>, String>> + Send + 'a>> {
            let hit = |found: &&Found| words.iter().all(|word| found.text.to_lowercase().contains(word));
            let found = self.0.iter().filter(hit).take(limit).cloned().collect();
            Box::pin(std::future::ready(Ok(found)))
        }
    }

    #[tokio::test]
    async fn results_are_few_and_short() {
        let long = format!("{} the Budget is fine {}", "before ".repeat(300), "after ".repeat(300));
        let source = Fixed(vec![Found { place: "monday".into(), text: long }; 20]);
        let ask = |query: &str| json!({"query": query}).as_object().cloned().unwrap();
        let found = call(Some(&source), &ask("budget, FINE!")).await.unwrap();
        assert_eq!(found.lines().count(), MAX_FOUND);
        assert!(found.lines().all(|line| line.starts_with("monday: …") && line.contains("Budget") && line.len() < 500));
        assert!(call(Some(&source), &ask("unicorn")).await.unwrap().contains("No transcript"));
        assert!(call(Some(&source), &ask(" ?! ")).await.is_err());
        assert!(call(None, &ask("x")).await.unwrap().contains("no transcripts"));
    }
}
