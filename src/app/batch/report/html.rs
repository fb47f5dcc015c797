//! report.html: one file with everything in it. All text comes from file names, recordings and models, so it is escaped
//! without exception, and the page's own policy allows no script but the one it was written with.

use super::charts::{Bar, bars};
use super::totals::{Share, is_fallback};
use super::{File, Report, State};
use crate::app::batch::progress::{clock, printable};
use crate::app::batch::record::{Kind, Passage};
use crate::language::Lang;
use crate::outcome::WarningCode;
use base64::Engine;
use sha2::{Digest, Sha256};
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("report.js");

/// Passages to listen to that stand in the page; all of them stand in report.json.
const MOST_PASSAGES: usize = 1000;

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut main = String::new();
    main.push_str(&header(report));
    main.push_str(&figures(report));
    main.push_str(&charts(report));
    main.push_str(&failures(report));
    main.push_str(&passages(report));
    main.push_str(&warnings(report));
    main.push_str(&files(report));
    document("Transcription report", SCRIPT, "", &main)
}

/// A whole document with its policy: styles and scripts of its own alone, sound from where it lies.
/// `sources`: further places for scripts.
pub(super) fn document(title: &str, script: &str, sources: &str, main: &str) -> String {
    let hash = base64::prelude::BASE64_STANDARD.encode(Sha256::digest(script));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-{hash}'{sources}; \
         style-src 'unsafe-inline'; media-src 'self' file:; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"bestbox {}\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{main}</main>\n{PLAYER}\
         <script>{script}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        esc(title)
    )
}

/// Where recordings play. Hidden until there is something to play.
const PLAYER: &str = "<aside id=\"player\" hidden aria-label=\"Player\"><p id=\"playing\"></p><audio id=\"audio\" controls \
     preload=\"metadata\"></audio><p id=\"trouble\" role=\"status\" hidden>This browser cannot play it here: <a id=\"open\">open \
     the recording</a>.</p></aside>\n";

/// Text inside elements and attributes. What cannot be seen is shown as such.
pub(super) fn esc(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A number with thin spaces between its thousands.
fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

fn hours(seconds: f64) -> String {
    match seconds {
        3600.0.. => format!("{:.1} h", seconds / 3600.0),
        60.0.. => format!("{} min", clock(seconds)),
        _ => format!("{seconds:.0} s"),
    }
}

fn header(report: &Report) -> String {
    format!(
        "<header><p class=\"eyebrow\">bestbox batch</p><h1><bdi>{}</bdi></h1><p class=\"quiet\">As of <time data-unix=\"{}\">{} \
         (seconds since 1970)</time>. <a href=\"search.html\">Search all transcripts</a> · <a href=\"report.json\">this report \
         as JSON</a></p></header>\n",
        esc(&report.input),
        report.made,
        report.made
    )
}

fn figures(report: &Report) -> String {
    let totals = &report.totals;
    let mut cards = vec![(hours(totals.seconds), "of audio", "")];
    cards.push((count(totals.done), "files done", ""));
    cards.push((count(totals.failed), "failed", if totals.failed > 0 { "#failures" } else { "" }));
    if let Some(speed) = report.speed {
        cards.push((format!("{speed:.1}×"), "real time, last run", ""));
    }
    cards.push((count(totals.words), "words", ""));
    cards.push((count(totals.doubtful), "passages to check", if totals.doubtful > 0 { "#passages" } else { "" }));
    cards.push((count(totals.fallbacks), "with fallbacks", if totals.fallbacks > 0 { "#warnings" } else { "" }));
    let mut out = "<ul class=\"figures\">".to_owned();
    for (value, name, link) in cards {
        let (open, close) =
            if link.is_empty() { ("<div>".to_owned(), "</div>") } else { (format!("<a href=\"{link}\">"), "</a>") };
        let _ = write!(out, "<li>{open}<b>{}</b><span>{name}</span>{close}</li>", esc(&value));
    }
    out + "</ul>\n"
}

fn charts(report: &Report) -> String {
    let totals = &report.totals;
    let language = |share: &Share| Bar {
        label: share.name.parse::<Lang>().map_or_else(|_| "no speech".to_owned(), Lang::title),
        value: if totals.seconds > 0.0 { share.seconds } else { share.files as f64 },
        shown: if totals.seconds > 0.0 { hours(share.seconds) } else { count(share.files) },
    };
    let route = |share: &Share| Bar { label: share.name.clone(), value: share.files as f64, shown: count(share.files) };
    let stage = |stage: &super::totals::Stage| Bar {
        label: match stage.name {
            "decode" => "decoding",
            "vad" => "finding speech",
            "recognize" => "recognition",
            "clean" => "cleanup",
            "translate" => "translation",
            other => other,
        }
        .to_owned(),
        value: stage.ms,
        shown: if stage.ms >= 60_000.0 { hours(stage.ms / 1e3) } else { format!("{:.1} s", stage.ms / 1e3) },
    };
    let out = [
        bars("Languages", &totals.languages.iter().map(language).collect::<Vec<_>>()),
        bars("Length of the files", &lengths(&report.files)),
        bars("Where the time went", &totals.stages.iter().map(stage).collect::<Vec<_>>()),
        bars("Routes", &totals.routes.iter().map(route).collect::<Vec<_>>()),
    ];
    format!("<section class=\"charts\" aria-label=\"Charts\">{}</section>\n", out.concat())
}

fn lengths(files: &[File]) -> Vec<Bar> {
    const EDGES: [(f64, &str); 6] = [
        (60.0, "under 1 min"),
        (300.0, "1–5 min"),
        (900.0, "5–15 min"),
        (3600.0, "15–60 min"),
        (3.0 * 3600.0, "1–3 h"),
        (f64::INFINITY, "over 3 h"),
    ];
    let mut counts = [0usize; EDGES.len()];
    for file in files.iter().filter(|file| file.status == State::Done && file.seconds > 0.0) {
        if let Some(at) = EDGES.iter().position(|(edge, _)| file.seconds < *edge) {
            counts[at] += 1;
        }
    }
    let bars = EDGES.iter().zip(counts).filter(|(_, files)| *files > 0);
    bars.map(|((_, label), files)| Bar { label: (*label).to_owned(), value: files as f64, shown: count(files) })
        .collect()
}

fn failures(report: &Report) -> String {
    let failed: Vec<&File> = report.files.iter().filter(|file| file.status == State::Failed).collect();
    if failed.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for file in failed {
        let Some(error) = &file.error else { continue };
        let code = name_of(error.code);
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            recording(file),
            esc(&code),
            esc(&error.message)
        );
    }
    let note = "<p class=\"quiet\"><code>bestbox batch … --retry-failed</code> tries them again.</p>";
    table("failures", "Failed", note, &["File", "Reason", "What happened"], &rows)
}

fn passages(report: &Report) -> String {
    let all = report.files.iter().flat_map(|file| file.summary.doubtful.iter().map(move |passage| (file, passage)));
    let mut rows = String::new();
    for (file, passage) in all.take(MOST_PASSAGES) {
        let _ = write!(
            rows,
            "<tr><td>{}</td><td data-v=\"{}\">{}</td><td dir=\"auto\">{}</td><td data-v=\"{:.4}\" class=\"number\">{:.0} %</td></tr>",
            recording(file),
            passage.start,
            play(file, passage),
            esc(&passage.text),
            passage.avg_logprob,
            passage.avg_logprob.exp() * 100.0
        );
    }
    if rows.is_empty() {
        return String::new();
    }
    let more = report.totals.doubtful.saturating_sub(MOST_PASSAGES);
    let more = if more > 0 { format!(" {} more stand in report.json.", count(more)) } else { String::new() };
    let note = format!("<p class=\"quiet\">Recognised with low confidence: worth listening to.{more}</p>");
    table("passages", "Passages to check", &note, &["File", "Time", "Recognised", "Confidence"], &rows)
}

/// Plays a passage here; without the script, wherever the browser plays it.
fn play(file: &File, passage: &Passage) -> String {
    let times = format!("{}–{}", clock(passage.start), clock(passage.end));
    if !file.present || file.kind == Kind::Transcript {
        return times;
    }
    format!(
        "<a class=\"play\" href=\"{}#t={:.2},{:.2}\" data-start=\"{:.2}\" data-end=\"{:.2}\" data-name=\"{}\">{times}</a>",
        esc(&file.link),
        passage.start,
        passage.end,
        passage.start,
        passage.end,
        esc(&file.path)
    )
}

fn warnings(report: &Report) -> String {
    if report.totals.warnings.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for (code, files) in &report.totals.warnings {
        let with = report.files.iter().filter(|file| file.summary.warnings.iter().any(|warning| warning.code == *code));
        let mut list = String::new();
        for file in with.clone().take(200) {
            let messages = file.summary.warnings.iter().filter(|warning| warning.code == *code);
            let messages: Vec<String> = messages.map(|warning| esc(&warning.message)).collect();
            let _ = write!(list, "<li>{}: {}</li>", recording(file), messages.join("; "));
        }
        if *files > 200 {
            let _ = write!(list, "<li>{} more in report.json</li>", files - 200);
        }
        let _ = write!(
            rows,
            "<tr><td data-v=\"{}\">{}</td><td class=\"number\" data-v=\"{files}\">{}</td><td><details><summary>{}</summary><ul>{list}</ul></details></td></tr>",
            esc(&name_of(code)),
            meaning(*code),
            count(*files),
            if is_fallback(*code) { "Files, and what took its place" } else { "Files" }
        );
    }
    table("warnings", "Fallbacks and warnings", "", &["What", "Files", "Which"], &rows)
}

fn files(report: &Report) -> String {
    let routes = !report.totals.routes.is_empty();
    let mut rows = String::new();
    for file in &report.files {
        let summary = &file.summary;
        let language = summary.language.map_or(String::new(), Lang::title);
        let speed = if file.wall_s > 0.0 { file.seconds / file.wall_s } else { 0.0 };
        let _ = write!(
            rows,
            "<tr><td data-v=\"{}\">{}</td><td class=\"number\" data-v=\"{:.2}\">{}</td><td>{}</td><td class=\"number\" data-v=\"{}\">{}</td>\
             <td class=\"number\" data-v=\"{speed:.2}\">{}</td>",
            esc(&file.path),
            recording(file),
            file.seconds,
            if file.seconds > 0.0 { clock(file.seconds) } else { "–".to_owned() },
            esc(&language),
            summary.words,
            count(summary.words),
            if speed > 0.0 { format!("{speed:.1}×") } else { "–".to_owned() },
        );
        if routes {
            let intent = summary.intent.as_ref();
            let percent = intent.map_or(String::new(), |intent| format!(" {:.0} %", intent.probability * 100.0));
            let undecided = if intent.is_some_and(|intent| intent.undecided) { " (undecided)" } else { "" };
            let label = intent.map_or("", |intent| intent.label.as_str());
            let _ = write!(rows, "<td>{}<span class=\"quiet\">{percent}{undecided}</span></td>", esc(label));
        }
        let _ = write!(rows, "<td>{}</td></tr>", outputs(file));
    }
    let mut heads = vec!["File", "Length", "Language", "Words", "Speed"];
    if routes {
        heads.push("Route");
    }
    heads.push("Transcripts");
    let note = "<p class=\"filter\"><label for=\"filter\">Show only</label> <input id=\"filter\" type=\"search\" \
                autocomplete=\"off\" placeholder=\"part of a name, a language, a route\"> <span id=\"shown\" \
                role=\"status\"></span></p>";
    table("files", "All files", note, &heads, &rows)
}

fn outputs(file: &File) -> String {
    if file.status == State::Failed {
        return "<a class=\"failed\" href=\"#failures\">failed</a>".to_owned();
    }
    let link = |output: &super::Output| {
        let text = output.text.map_or(String::new(), |text| format!(" {}", name_of(text)));
        let name = if output.format == "text" { "txt" } else { output.format };
        format!("<a href=\"{}\" title=\"{}\">{name}{text}</a>", esc(&output.link), esc(&output.path))
    };
    let mut links: Vec<String> = file.outputs.iter().map(link).collect();
    if let Some(problem) = file.then.as_ref().and_then(|hook| hook.problem.as_ref()) {
        links.push(format!("<span class=\"failed\" title=\"{}\">--then failed</span>", esc(problem)));
    }
    links.join(" ")
}

/// The name of a file, which opens it.
fn recording(file: &File) -> String {
    let name = esc(&file.path);
    if file.present {
        format!("<a class=\"file\" href=\"{}\"><bdi>{name}</bdi></a>", esc(&file.link))
    } else {
        format!("<bdi>{name}</bdi> <span class=\"quiet\">(no longer there)</span>")
    }
}

fn table(id: &str, title: &str, note: &str, heads: &[&str], rows: &str) -> String {
    let heads: String = heads.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
    format!(
        "<section id=\"{id}\"><h2>{title}</h2>{note}<div class=\"scroll\" tabindex=\"0\" role=\"region\" \
         aria-label=\"{title}\"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>\n"
    )
}

/// How a code is written in JSON.
fn name_of(code: impl serde::Serialize) -> String {
    serde_json::to_value(code).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn meaning(code: WarningCode) -> &'static str {
    match code {
        WarningCode::CleanupUnavailable => "No model for the cleanup; rules were used",
        WarningCode::CleanupRejected => "A cleanup that changed words was refused; rules were used",
        WarningCode::RewriteRejected => "A rewrite that changed facts was refused; a safer style was used",
        WarningCode::TranslationUnavailable => "No model for the translation",
        WarningCode::TranslationRejected => "A translation failed its checks and was left out",
        WarningCode::IntentUnavailable => "No model for the intent; the default route was taken",
        WarningCode::IntentUndecided => "The intent is undecided; the default route was taken",
        WarningCode::ReplyUnavailable => "No answer from the model",
        WarningCode::ReplyTruncated => "The answer was cut",
        WarningCode::ToolsUnavailable => "The answer had to do without a tool",
        WarningCode::ToolDenied => "A call of a tool was not confirmed",
        WarningCode::NoSpeech => "No speech",
        WarningCode::LowConfidence => "Recognised with low confidence",
        WarningCode::Interrupted => "Interrupted",
        WarningCode::AudioTruncated => "The recording is damaged or cut",
    }
}
