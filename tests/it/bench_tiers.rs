//! `bestbox bench tiers` with real models, as small as it gets.

use crate::support::cli::{bestbox, sample};
use serde_json::Value;

#[test]
fn all_set_ups_are_measured_on_utterances_that_no_prompt_holds() {
    let held: String = std::fs::read_to_string(sample("intent-heldout.jsonl"))
        .expect("the sample")
        .lines()
        .take(6)
        .fold(String::new(), |text, line| text + line + "\n");
    let small = ["--repeat", "1", "--utterances", "1", "--json-sample", "2", "--answer-tokens", "4"];
    let cli =
        bestbox(["--profile", "tiny", "bench", "tiers", "--json", "--held-out", "held.jsonl", "--html", "r.html"])
            .file("held.jsonl", &held);
    let cli = small.iter().fold(cli, |cli, arg| cli.arg(arg));
    let page = cli.path("r.html");
    let (ran, page) = cli.run_keeping(|ran| (ran, std::fs::read_to_string(page)));
    let ran = ran.ok();
    let all: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error} in {}", ran.out));
    let tiers = &all["tiers"];
    let rows = tiers["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 4 * 3, "set-ups and numbers of speakers: {tiers}");
    for row in rows {
        for figure in
            ["route_ms", "cleaned_ms", "end_ms", "prompt_tokens", "cached_tokens", "generated_tokens", "memory_mb"]
        {
            assert!(row[figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {row}");
        }
        assert!(row["end_ms"].as_f64() >= row["route_ms"].as_f64(), "{row}");
    }
    let accuracy = &tiers["accuracy"];
    assert_eq!((accuracy["held_out"].as_u64(), accuracy["routers"][0]["of"].as_u64()), (Some(6), Some(2)));
    assert_eq!(tiers["aims"].as_array().map(Vec::len), Some(4));
    assert_eq!(tiers["aims"][3]["met"], false, "six utterances are not enough: {tiers}");
    assert!(page.expect("the page").matches("<svg").count() >= 3);
}
