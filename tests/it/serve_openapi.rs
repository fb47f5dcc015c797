//! The document at /openapi.json and the service agree: schemathesis asks for everything that the document allows and
//! much that it does not, and checks every answer against it.

use super::support::llama::cache;
use super::support::serve::serve;
use std::process::Command;

/// Not among the checks of every answer: rules between fields ("words only in verbose_json") and languages by name cannot be
/// said in a schema, and a form has no types, so what it allows and what is taken differ. The tests of each address say
/// what is refused.
const DATA_CHECKS: &str = "positive_data_acceptance,negative_data_rejection";

#[test]
fn every_answer_is_in_the_document() {
    let served = serve().start();
    let folder = tempfile::tempdir().expect("a folder");
    // A bounded run from a fixed seed; `make test-long` looks further.
    let (examples, phases) = if std::env::var_os("BESTBOX_LONG").is_some() {
        ("200", "examples,coverage,fuzzing,stateful")
    } else {
        ("8", "examples,coverage,fuzzing")
    };
    let output = Command::new(cache().join("clients/python/bin/schemathesis"))
        .args(["--no-color", "run", &format!("{}/openapi.json", served.url)])
        .args([
            "--checks",
            "all",
            "--exclude-checks",
            DATA_CHECKS,
            "--phases",
            phases,
            "--max-examples",
            examples,
            "--seed",
            "1",
        ])
        .args(["--request-timeout", "120", "--max-response-time", "120", "--continue-on-failure", "--no-shrink"])
        // Files that are recordings, where the document asks for one.
        .env("SCHEMATHESIS_HOOKS", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/schemathesis_hooks.py"))
        .current_dir(folder.path())
        .output()
        .expect("schemathesis starts; run make setup-dev");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", served.log.lock().expect("log"));
}
