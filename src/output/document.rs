//! Plain text and Markdown.

use super::passages::{choose, track};
use super::{Answer, RenderSettings, TextChoice};
use crate::outcome::{Finish, Outcome};
use std::fmt::Write;

/// The chosen text with its paragraphs, then the answer as the settings have it.
pub(super) fn text(outcome: &Outcome, settings: &RenderSettings) -> String {
    let text = printable(&words(outcome, settings.text));
    let answer = outcome.reply.as_ref().map(|reply| printable(&reply.text)).filter(|answer| !answer.is_empty());
    let parts = match (settings.answer, answer) {
        (Answer::Append, Some(answer)) => vec![text, answer],
        (Answer::Only, Some(answer)) => vec![answer],
        _ => vec![text],
    };
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { String::new() } else { parts.join("\n\n") + "\n" }
}

/// The text of `choice`, with names where speakers are known.
pub(super) fn words(outcome: &Outcome, choice: TextChoice) -> String {
    choose(outcome, choice).dialogue().unwrap_or_else(|| match track(outcome, choice) {
        Some((track, _)) => track.text.clone(),
        None => outcome.transcript.text(),
    })
}

/// Without control characters (line feeds and tabs stay), trimmed.
pub(super) fn printable(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}'], "\n");
    lines.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect::<String>().trim().to_owned()
}

/// A page: title, facts, the timed text, its original where it is a translation, warnings, and the answer last and
/// as the model wrote it (models answer in Markdown).
pub(super) fn markdown(outcome: &Outcome, settings: &RenderSettings) -> String {
    let mut out = format!("# {}\n\n", escape(&title(outcome)));
    for (name, value) in facts(outcome) {
        let _ = writeln!(out, "- {name}: {}", escape(&value));
    }
    let chosen = choose(outcome, settings.text);
    let _ = write!(out, "\n## Text\n\n");
    let timed = outcome.source.duration.is_some() || chosen.passages.iter().any(|p| p.end > 0.0);
    for (passage, begins) in chosen.turns() {
        if timed {
            let _ = write!(out, "**{}** ", clock(passage.start));
        }
        if let Some(name) = begins {
            let _ = write!(out, "**{}:** ", escape(name));
        }
        let _ = write!(out, "{}\n\n", escape_line(&passage.text, !timed && begins.is_none()));
    }
    if chosen.passages.is_empty() {
        out.push_str("*(no speech)*\n\n");
    }
    let is_translation = track(outcome, settings.text)
        .is_some_and(|(t, _)| outcome.translated.as_ref().is_some_and(|o| std::ptr::eq(t, o)));
    let original = words(outcome, TextChoice::Cleaned);
    if is_translation && !original.is_empty() {
        let _ = write!(out, "## Original\n\n");
        for paragraph in printable(&original).split("\n\n") {
            let _ = write!(out, "{}\n\n", escape_line(&super::atoms::flat(paragraph), true));
        }
    }
    if !outcome.warnings.is_empty() {
        let _ = write!(out, "## Warnings\n\n");
        for warning in &outcome.warnings {
            let _ = writeln!(out, "- {}", escape(&warning.message));
        }
        out.push('\n');
    }
    if let Some(reply) = &outcome.reply {
        let _ = write!(out, "## Answer\n\n{}\n\n", printable(&reply.text));
        let cut = match reply.finish {
            Finish::Stop => "",
            Finish::Length => "; cut at the token limit",
            Finish::Timeout => "; cut at the time limit",
            Finish::Broken => "; the connection broke",
        };
        let _ = write!(out, "*{}, {} tier{cut}*\n\n", escape(&reply.model), reply.tier.name());
    }
    out.trim_end().to_owned() + "\n"
}

pub(super) fn title(outcome: &Outcome) -> String {
    match outcome.source.name.as_str() {
        "" | "-" => "Standard input".to_owned(),
        name => super::atoms::flat(name),
    }
}

fn facts(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(duration) = outcome.source.duration {
        facts.push(("Duration", clock(duration)));
    }
    if let Some(language) = outcome.transcript.language {
        facts.push(("Language", language.title()));
    }
    if let Some(translated) = &outcome.translated {
        facts.push(("Translated to", translated.language.title()));
    }
    if let Some(intent) = &outcome.intent {
        facts.push(("Intent", format!("{} ({})", intent.label, percent(intent.probability))));
    }
    facts
}

/// `93 %`; never 100 % of something that is not certain.
pub(super) fn percent(probability: f64) -> String {
    let percent = probability * 100.0;
    if probability < 1.0 && percent >= 99.5 { ">99 %".to_owned() } else { format!("{percent:.0} %") }
}

/// `1:02:03`, rounded down to the second.
pub(super) fn clock(seconds: f64) -> String {
    let s = if seconds.is_finite() { seconds.max(0.0) as u64 } else { 0 };
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}

/// Backslash escapes (CommonMark 2.4) for what would be markup inside a line.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in super::atoms::flat(text).chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '~' | '|' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Also escapes what would be markup at the start of a line: a heading, a list, a rule.
fn escape_line(text: &str, starts_line: bool) -> String {
    let escaped = escape(text);
    if !starts_line {
        return escaped;
    }
    let digits = escaped.chars().take_while(char::is_ascii_digit).count();
    match escaped[digits..].chars().next() {
        Some('#' | '+' | '-' | '=') if digits == 0 => format!("\\{escaped}"),
        Some('.' | ')') if digits > 0 => format!("{}\\{}", &escaped[..digits], &escaped[digits..]),
        _ => escaped,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Answer, Format, RenderSettings, TextChoice, render, samples};
    use super::*;

    fn as_text(settings: RenderSettings) -> String {
        render(&samples::full(), Format::Text, &settings).unwrap()
    }

    #[test]
    fn the_best_text_is_the_translation_and_the_answer_follows() {
        let settings = RenderSettings::default;
        assert_eq!(as_text(settings()), "Was ist die Hauptstadt von Frankreich? Danke.\n\nParis.\n");
        assert_eq!(as_text(RenderSettings { answer: Answer::Only, ..settings() }), "Paris.\n");
        let raw = RenderSettings { answer: Answer::Omit, text: TextChoice::Raw, ..settings() };
        assert_eq!(as_text(raw), "um what is the capital of france thank you\n");
        let cleaned = RenderSettings { answer: Answer::Omit, text: TextChoice::Cleaned, ..settings() };
        assert_eq!(as_text(cleaned), "What is the capital of France?\n\nThank you.\n");
    }

    #[test]
    fn what_is_missing_gives_way_to_the_next_best() {
        let mut outcome = samples::full();
        (outcome.translated, outcome.cleaned) = (None, None);
        let settings =
            RenderSettings { text: TextChoice::Translated, answer: Answer::Omit, ..RenderSettings::default() };
        assert_eq!(render(&outcome, Format::Text, &settings).unwrap(), "um what is the capital of france thank you\n");
    }

    #[test]
    fn markdown_has_its_sections_and_no_foreign_markup() {
        let mut outcome = samples::full();
        outcome.translated.as_mut().unwrap().cues[0].text = "# *not* <b>markup</b>".into();
        let page = render(&outcome, Format::Md, &RenderSettings::default()).unwrap();
        for part in
            ["# talk.wav\n", "## Text\n", "## Original\n", "## Warnings\n", "## Answer\n\nParis.\n", "**0:00** "]
        {
            assert!(page.contains(part), "{part} is missing from\n{page}");
        }
        assert!(page.contains("\\*not\\* \\<b\\>markup"), "{page}");
        assert_eq!(escape_line("1. one", true), "1\\. one");
        assert_eq!(escape_line("- one", true), "\\- one");
    }

    #[test]
    fn a_probability_is_never_rounded_up_to_certainty() {
        assert_eq!(
            (percent(0.9999).as_str(), percent(1.0).as_str(), percent(0.934).as_str()),
            (">99 %", "100 %", "93 %")
        );
    }
}
