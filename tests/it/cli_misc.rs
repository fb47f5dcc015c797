//! models, doctor, completions.

use crate::support::cli::bestbox;

#[test]
fn the_catalogue_is_listed_and_paths_lead_to_files() {
    let ran = bestbox(["models", "list", "--json"]).run().ok();
    let listed: Vec<serde_json::Value> = serde_json::from_str(&ran.out).expect("JSON");
    let names: Vec<&str> = listed.iter().filter_map(|model| model["name"].as_str()).collect();
    assert!(["base-q8_0", "large-v3-turbo", "qwen2.5-7b-instruct-q5_k_m"].iter().all(|name| names.contains(name)));
    let table = bestbox(["models", "list"]).run().ok();
    assert!(table.out.lines().next().is_some_and(|line| line.starts_with("NAME")), "{}", table.out);
    let path = bestbox(["models", "path", "tiny.en-q8_0"]).run().ok();
    assert!(std::path::Path::new(path.out.trim()).is_file(), "{}", path.out);
    bestbox(["models", "path", "tny.en-q8_0"]).run().failed(4, &["tiny.en-q8_0"]);
    bestbox(["models", "rm", "large-v3"]).run().failed(4, &["large-v3"]);
    let verified = bestbox(["models", "verify", "tiny.en-q8_0"]).run().ok();
    assert!(verified.out.contains("checked"), "{}", verified.out);
}

#[test]
fn doctor_says_ok_or_what_to_do() {
    let ran = bestbox(["doctor"]).run().ok();
    for what in ["speech model", "light", "heavy", "llama-server", "cache"] {
        assert!(ran.out.lines().any(|line| line.starts_with("ok ") && line.contains(what)), "{what}: {}", ran.out);
    }
    let broken = bestbox(["doctor", "--set", "speech.model=large-v3", "--set", "servers.program=/none"]).run();
    assert_eq!(broken.code, Some(1));
    assert!(
        broken.out.contains("WRONG  speech model") && broken.out.contains("bestbox models pull large-v3"),
        "{}",
        broken.out
    );
    assert!(broken.out.contains("WRONG  llama-server"), "{}", broken.out);
}

#[test]
fn completions_and_help_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = bestbox(["completions", shell]).run().ok();
        assert!(ran.out.contains("transcribe"), "{shell}");
    }
    let help = bestbox(["--help"]).run().ok();
    assert!(help.out.contains("Exit codes"), "{}", help.out);
}
