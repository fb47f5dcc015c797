use super::*;
use crate::app::batch::record::{Passage, RelativePath};
use crate::app::batch::walk::Stamp;
use crate::outcome::{Warning, WarningCode};

fn record(path: &str, status: Status) -> FileRecord {
    let failed = status == Status::Failed;
    FileRecord {
        path: RelativePath::of(Path::new(path)),
        status,
        kind: Kind::Audio,
        bytes: 1000,
        seconds: if failed { 0.0 } else { 120.0 },
        wall_s: 10.0,
        finished: 1_700_000_000,
        error: failed.then(|| Failure::new(Reason::Corrupt, "none of its 3 packets decodes")),
        attempts: 1,
        summary: (!failed).then(|| Summary {
            language: "de".parse().ok(),
            words: 300,
            warnings: vec![Warning::new(WarningCode::CleanupUnavailable, "no <model> answered")],
            doubtful: vec![Passage {
                start: 3.25,
                end: 4.5,
                text: "<script>alert(1)</script>".into(),
                avg_logprob: -1.2,
            }],
            ..Summary::default()
        }),
        outputs: Vec::new(),
        outcome: None,
        then: None,
    }
}

async fn written(paths: &[(&str, Status)]) -> (tempfile::TempDir, String, serde_json::Value) {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("in"), dir.path().join("out"));
    std::fs::create_dir(&root).unwrap();
    let manifest = Manifest::open(&out, &root).await.unwrap();
    for (path, status) in paths {
        let record = record(path, *status);
        std::fs::write(root.join(record.path.to_path()), "x").unwrap();
        let row = super::super::manifest::Row {
            stamp: Stamp::default(),
            content: None,
            settings: String::new(),
            shape: String::new(),
            base: String::new(),
            failed: *status == Status::Failed,
            transient: false,
            pending: false,
            record,
        };
        manifest.save(&row).await.unwrap();
    }
    write(&manifest, &root, Some(12.0)).await.unwrap();
    manifest.close().await;
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let json = serde_json::from_str(&read("report.json")).unwrap();
    (dir, read("report.html"), json)
}

#[tokio::test]
async fn names_and_texts_are_only_ever_text() {
    let evil = "<img src=x onerror=alert(1)>\n'\"&.wav";
    let (_dir, html, json) = written(&[(evil, Status::Done), ("b.wav", Status::Failed)]).await;
    assert!(!html.contains("<img") && !html.contains("<script>alert"), "{html}");
    assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;\u{fffd}&#39;&quot;&amp;.wav"), "{html}");
    assert!(html.contains("no &lt;model&gt; answered"));
    assert!(html.contains("../in/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%0A%27%22%26.wav#t=3.25,4.50"));
    assert_eq!(json["files"][0]["path"], evil);
    assert_eq!(json["files"][0]["link"], "../in/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%0A%27%22%26.wav");
}

#[tokio::test]
async fn the_sums_are_those_of_the_files() {
    let files = [("a.wav", Status::Done), ("b.wav", Status::Failed), ("c.wav", Status::Reused)];
    let (_dir, html, json) = written(&files).await;
    let totals = &json["totals"];
    let number = |name: &str| totals[name].as_f64().unwrap();
    let found = ["files", "done", "failed", "seconds", "words", "doubtful", "fallbacks"].map(number);
    assert_eq!(found, [3.0, 2.0, 1.0, 240.0, 600.0, 2.0, 2.0]);
    assert_eq!(totals["failures"]["corrupt"], 1);
    assert_eq!(totals["warnings"]["cleanup-unavailable"], 2);
    assert_eq!(totals["languages"][0], serde_json::json!({"name": "de", "files": 2, "seconds": 240.0}));
    assert_eq!((json["schema"].as_u64(), json["speed"].as_f64()), (Some(1), Some(12.0)));
    assert!(html.contains("12.0×") && html.contains("none of its 3 packets decodes"));
}

#[tokio::test]
async fn a_file_of_the_user_stays() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = Manifest::open(dir.path(), dir.path()).await.unwrap();
    std::fs::write(dir.path().join("report.html"), "mine").unwrap();
    for _ in 0..2 {
        let notes = write(&manifest, dir.path(), None).await.unwrap();
        assert!(notes.len() == 1 && notes[0].starts_with("report.html was not written"), "{notes:?}");
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("report.html")).unwrap(), "mine");
    assert!(dir.path().join("search-index.js").is_file());
}

/// docs/batch-report.md says what the JSON is; this says that it is so.
#[tokio::test]
async fn every_field_is_documented() {
    let page = include_str!("../../../../docs/batch-report.md");
    let (_dir, _, json) = written(&[("a.wav", Status::Done), ("b.wav", Status::Failed)]).await;
    let mut missing = Vec::new();
    fields("", &json, &mut |path| {
        if !page.contains(&format!("| `{path}`")) {
            missing.push(path.to_owned());
        }
    });
    missing.sort();
    missing.dedup();
    assert_eq!(missing, Vec::<String>::new());
}

fn fields(at: &str, value: &serde_json::Value, tell: &mut impl FnMut(&str)) {
    match value {
        // Keys of these are codes, and timings are those of the outcome.
        serde_json::Value::Object(_)
            if at == "totals.warnings" || at == "totals.failures" || at.ends_with(".timings") => {}
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                tell(&path);
                fields(&path, value, tell);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| fields(&format!("{at}[]"), item, tell)),
        _ => {}
    }
}
