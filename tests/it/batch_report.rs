//! The report and the search page of a folder, in headless Chromium, opened as files: figures, a player that jumps to
//! the place, sorting, searching, small and dark screens, and what must not happen (foreign requests, violations of the
//! policy, errors, names that become markup).

use crate::batch_support::{Folder, tone};
use crate::support::cli::chromium;
use crate::support::llama::cache;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

/// A name that would be markup, an instruction to a shell, and two lines, if anybody took it for more than a name.
const EVIL: &str = "<img src=x onerror=alert(1)>\n$(touch me) & 'é%23.wav";

#[test]
fn the_report_and_the_search_page_work_as_files() {
    let folder = Folder::new();
    folder.sample("librivox/0880.wav", "a talk/été #1.wav");
    folder.sample("librivox/0930.wav", EVIL);
    folder.put("silent tone.wav", tone(3, 2.0));
    folder.put("broken.wav", "this is no recording");
    folder.put("notes.vtt", "WEBVTT\n\n00:01.000 --> 00:03.000\n<v Ann>Größe is a word with an umlaut,\n\n00:03.000 --> 00:05.000\nand it goes on here.\n");
    let first = folder.run("out", &["--words", "--formats", "txt,srt,json"]);
    assert_eq!(first.code, Some(6), "{}", first.err);
    let report: Value = read(&folder, "report.json");
    let totals = &report["totals"];
    assert_eq!((&totals["files"], &totals["done"], &totals["failed"]), (&json!(5), &json!(4), &json!(1)), "{totals}");
    let given = json!({
        "chromium": chromium(),
        "out": folder.path("out"),
        "evil": EVIL,
        "said": read(&folder, "a talk/été #1.json")["transcript"]["segments"],
        "screenshots": std::env::var("SCREENSHOTS").ok(),
    });
    let output = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/report.mjs"))
        .arg(given.to_string())
        .env("CLIENTS", cache().join("clients/node"))
        .env("HOME", folder.path(""))
        .output()
        .expect("node starts; run make setup");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");

    // A run with nothing to do has the same report, of every file that is known.
    folder.put("broken.wav", "");
    fs::remove_file(folder.input().join(EVIL)).expect("removed");
    let second = folder.run("out", &["--words", "--formats", "txt,srt,json"]);
    assert_eq!(second.code, Some(6), "{}", second.err);
    let report: Value = read(&folder, "report.json");
    assert_eq!(report["files"].as_array().map(Vec::len), Some(5));
    let gone = report["files"].as_array().unwrap().iter().find(|file| file["path"] == EVIL).expect("it is known");
    assert_eq!(gone["present"], false);
}

fn read(folder: &Folder, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.path("out").join(name)).expect(name)).expect("JSON")
}
