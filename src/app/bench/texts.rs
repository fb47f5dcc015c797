//! Word errors of texts that are there already: the rules of `bestbox bench speech` for scripts that compare programs.

use crate::app::wer::{WordErrors, wer};
use crate::error::Error;
use crate::language::Lang;
use serde::Deserialize;
use serde_json::json;
use std::path::Path;

/// One line of the file.
#[derive(Deserialize)]
struct Pair {
    reference: String,
    hypothesis: String,
    language: String,
}

/// Prints a JSON line for each line of the file: `{"errors": N, "words": N}`, words of the reference (characters where a
/// language has no spaces). Add both up over a corpus; errors / words is its rate.
pub(super) fn run(file: &Path) -> Result<(), Error> {
    let text = std::fs::read_to_string(file).map_err(|source| Error::Read { path: file.to_owned(), source })?;
    for (number, line) in text.lines().enumerate() {
        let wrong = |why: String| Error::Usage(format!("{}, line {}: {why}", file.display(), number + 1));
        let errors = count(line).map_err(wrong)?;
        println!("{}", json!({"errors": errors.errors(), "words": errors.reference_len()}));
    }
    Ok(())
}

fn count(line: &str) -> Result<WordErrors, String> {
    let pair: Pair = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let language: Lang = pair.language.parse().map_err(|_| format!("'{}' is no language", pair.language))?;
    Ok(wer(&pair.reference, &pair.hypothesis, language))
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn a_line_is_counted_by_the_rules_of_the_benchmark() {
        let line = r#"{"reference": "Mister Carter has twenty-one vans.", "hypothesis": "mr carter has 21 fans", "language": "en"}"#;
        let errors = count(line).unwrap();
        assert_eq!((errors.errors(), errors.reference_len()), (1, 5));
        assert!(count("{}").unwrap_err().contains("reference"));
        assert!(
            count(r#"{"reference": "", "hypothesis": "", "language": "no such"}"#).unwrap_err().contains("no such")
        );
    }
}
