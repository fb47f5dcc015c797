//! `bestbox text`: the plan of a recording on text that is there already.

use super::progress::Progress;
use super::session::{Session, sink};
use crate::audio::Channels;
use crate::cli::{Global, TextArgs};
use crate::config::Loaded;
use crate::error::Error;
use crate::language::{Lang, LanguageChoice};
use crate::outcome::Outcome;
use crate::output::{Delivered, Format, Inputs, Sink};
use crate::pipeline::{self, Run};
use crate::speech::{Segment, Transcript};
use std::path::Path;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

/// Longest line of `--lines`, and longest text, bytes. Far above any dictation; keeps a wrong file from filling memory.
const MAX_BYTES: u64 = 64 << 20;

/// Runs the plan over the whole text, or over each line.
pub(super) async fn run(loaded: Loaded, global: Global, args: TextArgs) -> Result<(), Error> {
    let name = args.file.display().to_string();
    let read = |source| Error::Read { path: args.file.clone(), source };
    let mut reader: Box<dyn AsyncBufRead + Unpin + Send> = if name == "-" {
        Box::new(BufReader::new(tokio::io::stdin()))
    } else {
        Box::new(BufReader::new(tokio::fs::File::open(&args.file).await.map_err(read)?))
    };
    let (inputs, default) = if args.lines { (Inputs::Several, Some(Format::Jsonl)) } else { (Inputs::One, None) };
    let mut sink = sink(&args.output, &loaded.config, inputs, default)?;
    sink.check(std::slice::from_ref(&args.file))?;
    // Read before any model is loaded: a wrong file is said at once.
    let whole = if args.lines { None } else { Some(read_all(&mut reader, &args.file).await?) };
    let session = Session::start(loaded.config, false, Channels::Average, Progress::new(&global)).await?;
    let result = match whole {
        Some(text) => one(&session, &text, &name).await.and_then(|outcome| Ok(sink.deliver(&outcome).map(drop)?)),
        None => lines(&session, &mut reader, &args.file, &mut sink).await,
    };
    session.progress.end();
    session.engine.stop().await;
    result
}

async fn read_all(reader: &mut (impl AsyncBufRead + Unpin), path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let read = |source| Error::Read { path: path.to_owned(), source };
    reader.take(MAX_BYTES + 1).read_to_end(&mut bytes).await.map_err(read)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::Usage(format!("{} is larger than {} MiB: split it", path.display(), MAX_BYTES >> 20)));
    }
    utf8(bytes, path)
}

fn utf8(bytes: Vec<u8>, path: &Path) -> Result<String, Error> {
    let invalid = |error: std::string::FromUtf8Error| {
        std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("it is not UTF-8 text (byte {}); convert it with iconv", error.utf8_error().valid_up_to()),
        )
    };
    String::from_utf8(bytes).map_err(|e| Error::Read { path: path.to_owned(), source: invalid(e) })
}

/// One outcome a line, each delivered as soon as it is there; an empty line gives an empty outcome, so that line
/// numbers keep matching.
async fn lines(
    session: &Session,
    reader: &mut (impl AsyncBufRead + Unpin),
    path: &Path,
    sink: &mut Sink,
) -> Result<(), Error> {
    for number in 1usize.. {
        let mut bytes = Vec::new();
        let read = |source| Error::Read { path: path.to_owned(), source };
        let count = tokio::select! {
            count = next_line(reader, &mut bytes) => count.map_err(read)?,
            () = session.cancel.cancelled() => return Err(Error::Interrupted),
        };
        if count == 0 {
            break;
        }
        let line = utf8(bytes, path)?;
        let name = format!("{}:{number}", path.display());
        if sink.deliver(&one(session, line.trim(), &name).await?)? == Delivered::ReaderGone {
            break;
        }
    }
    Ok(())
}

/// Up to `MAX_BYTES` of a line; a longer one goes on as the next.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> std::io::Result<usize> {
    reader.take(MAX_BYTES).read_until(b'\n', line).await
}

async fn one(session: &Session, text: &str, name: &str) -> Result<Outcome, Error> {
    session.progress.begin(name);
    let observer = |event: pipeline::Event<'_>| session.progress.event(&event);
    let run = Run {
        owner: "cli",
        confirm: Some(&session.confirm),
        ..Run::new(&session.engine, &session.plan, &observer, &session.cancel)
    };
    let outcome = pipeline::run_text(run, transcript(text, session.plan.language), name).await?;
    for warning in &outcome.warnings {
        session.progress.line(&format!("{name}: warning: {}", warning.message));
    }
    Ok(outcome)
}

/// Each line of the text is a segment without time.
pub(in crate::app) fn transcript(text: &str, language: LanguageChoice) -> Transcript {
    let segments: Vec<Segment> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| Segment { text: line.to_owned(), ..Segment::default() })
        .collect();
    let language = (!segments.is_empty()).then(|| match language {
        LanguageChoice::Fixed(lang) => lang,
        LanguageChoice::Auto => written_language(text).unwrap_or(Lang::ENGLISH),
    });
    Transcript { language, segments }
}

/// The language of a text; none where it is too short to tell.
pub(in crate::app) fn written_language(text: &str) -> Option<Lang> {
    let lang = whatlang::detect(text).filter(whatlang::Info::is_reliable)?.lang();
    lang.eng_name().parse().ok().or_else(|| iso_639_1(lang).parse().ok())
}

/// The few whose English names differ from Whisper's.
fn iso_639_1(lang: whatlang::Lang) -> &'static str {
    match lang {
        whatlang::Lang::Cmn => "zh",
        whatlang::Lang::Nob => "no",
        whatlang::Lang::Pes => "fa",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_of_a_text_is_found() {
        let german = "Ich habe heute leider keine Zeit, aber wir sehen uns am nächsten Dienstag in der Stadt.";
        assert_eq!(written_language(german).map(Lang::code), Some("de"));
        assert_eq!(written_language("我们今天下午三点钟在公司的大会议室里开会").map(Lang::code), Some("zh"));
        assert_eq!(transcript("ok", LanguageChoice::Auto).language, Some(Lang::ENGLISH));
    }

    #[test]
    fn lines_become_segments_and_blank_text_has_no_language() {
        let found = transcript("one\n\n two \n", LanguageChoice::Auto);
        assert_eq!(found.segments.iter().map(|s| s.text.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(transcript(" \n", LanguageChoice::Auto).language, None);
    }
}
