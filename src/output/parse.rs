//! Reads subtitles, as tolerantly as players do: any line ends, a byte order mark, missing numbers or hours, a point for
//! a comma, settings behind the times, markup inside the text.

use super::Format;
use crate::outcome::Cue;

/// Why a text is not subtitles.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// There is text, but nowhere a line like `00:00:01,000 --> 00:00:02,000`.
    #[error("no {format} cue found; a cue starts with a line such as '00:00:01,000 --> 00:00:02,000'")]
    NoCues {
        /// What it was read as.
        format: Format,
    },
    /// The first line of a WebVTT file must say so.
    #[error("not a WebVTT file: the first line must start with 'WEBVTT'")]
    NoHeader,
}

/// Cues of a SubRip file in file order: times in seconds, lines of a cue joined by a line feed, markup (`<i>`,
/// `{\an8}`) removed. A cue that ends before it starts ends where it starts. An empty file has no cues.
pub fn parse_srt(text: &str) -> Result<Vec<Cue>, ParseError> {
    let lines: Vec<&str> = lines(text).collect();
    let starts: Vec<usize> = (0..lines.len()).filter(|i| timing(lines[*i]).is_some()).collect();
    let mut cues = Vec::with_capacity(starts.len());
    for (n, at) in starts.iter().enumerate() {
        let mut end = starts.get(n + 1).copied().unwrap_or(lines.len());
        // The number above the next cue's time is not text of this one.
        if end < lines.len() && end > at + 1 && is_number(lines[end - 1]) {
            end -= 1;
        }
        let spoken = lines[at + 1..end].iter().map(|line| without_markup(line).trim().to_owned());
        cues.extend(timing(lines[*at]).map(|(start, until)| cue(start, until, spoken)));
    }
    if cues.is_empty() && lines.iter().any(|line| !line.trim().is_empty()) {
        return Err(ParseError::NoCues { format: Format::Srt });
    }
    Ok(cues)
}

/// Cues of a WebVTT file, likewise; tags are removed, `&amp;` and the like decoded, NOTE, STYLE and REGION skipped.
pub fn parse_vtt(text: &str) -> Result<Vec<Cue>, ParseError> {
    let lines: Vec<&str> = lines(text).collect();
    let header = lines.first().copied().unwrap_or_default();
    if !header.strip_prefix("WEBVTT").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return Err(ParseError::NoHeader);
    }
    let mut cues = Vec::new();
    for block in lines[1..].split(|line| line.is_empty()) {
        // Above the time there may be an identifier; a block without a time is a note, a style or damage.
        if block.first().is_some_and(|line| is_comment(line)) {
            continue;
        }
        let Some((at, (start, until))) = block.iter().enumerate().find_map(|(i, line)| timing(line).map(|t| (i, t)))
        else {
            continue;
        };
        let speaker = voice(&block[at + 1..]);
        let lines = block[at + 1..].iter().map(|line| decoded(line).trim().to_owned());
        cues.push(Cue { speaker, ..cue(start, until, lines) });
    }
    if cues.is_empty() && lines.iter().any(|line| line.contains("-->")) {
        return Err(ParseError::NoCues { format: Format::Vtt });
    }
    Ok(cues)
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // A lone CR ends a line too; of CR LF, the empty piece between the two is dropped.
    text.split_inclusive(['\n', '\r'])
        .scan(false, |after_cr, piece| {
            let skip = *after_cr && piece == "\n";
            *after_cr = piece.ends_with('\r');
            Some((!skip).then(|| piece.trim_end_matches(['\n', '\r'])))
        })
        .flatten()
}

fn cue(start: f64, end: f64, lines: impl Iterator<Item = String>) -> Cue {
    let text = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    Cue { start, end: end.max(start), text, ..Cue::default() }
}

fn is_number(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && line.chars().all(|c| c.is_ascii_digit())
}

fn is_comment(line: &str) -> bool {
    ["NOTE", "STYLE", "REGION"]
        .iter()
        .any(|word| line.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t'])))
}

/// Start and end in seconds of a line `start --> end settings`.
fn timing(line: &str) -> Option<(f64, f64)> {
    let (start, rest) = line.split_once("-->")?;
    let end = rest.split_whitespace().next()?;
    Some((seconds(start.trim())?, seconds(end)?))
}

/// `[hours:]minutes:seconds[,.]fraction`, fraction optional, any number of digits that fits 32 bits.
fn seconds(stamp: &str) -> Option<f64> {
    let (whole, fraction) = stamp.split_once([',', '.']).unwrap_or((stamp, "0"));
    let parts: Vec<u32> = whole.split(':').map(number).collect::<Option<_>>()?;
    let whole = match parts[..] {
        [minutes, seconds] => u64::from(minutes) * 60 + u64::from(seconds),
        [hours, minutes, seconds] => u64::from(hours) * 3600 + u64::from(minutes) * 60 + u64::from(seconds),
        _ => return None,
    };
    let scale = 10f64.powi(i32::try_from(fraction.len().min(9)).ok()?);
    Some(whole as f64 + f64::from(number(fraction)?) / scale)
}

fn number(digits: &str) -> Option<u32> {
    digits.chars().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Takes `<i>`, `</font>` and `{\an8}` out; other brackets are text.
fn without_markup(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['<', '{']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let close = if rest.starts_with('<') { '>' } else { '}' };
        let inside = rest.find(close).map(|end| &rest[1..end]);
        let end = match inside {
            Some(inside) if is_markup(inside, close) => inside.len() + 2,
            _ => {
                out.push_str(&rest[..1]);
                1
            }
        };
        rest = &rest[end..];
    }
    out + rest
}

fn is_markup(inside: &str, close: char) -> bool {
    if close == '}' {
        return inside.starts_with('\\');
    }
    let name = inside.trim_start_matches('/').split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    ["b", "i", "u", "s", "font", "c", "v", "lang", "ruby", "rt"].contains(&name.to_ascii_lowercase().as_str())
}

/// Who speaks: `Ann` of `<v Ann>` or `<v.loud Ann>`, where the whole cue has one voice.
fn voice(lines: &[&str]) -> Option<String> {
    let (mut name, mut rest) = (None, lines.join(" "));
    while let Some(at) = rest.find("<v") {
        rest = rest.split_off(at + 2);
        let end = rest.find('>')?;
        if let Some((_, annotation)) =
            rest[..end].split_once([' ', '\t']).filter(|(c, _)| c.is_empty() || c.starts_with('.'))
        {
            let found = decoded(annotation).trim().to_owned();
            if name.replace(found.clone()).is_some_and(|before| before != found) {
                return None;
            }
        }
    }
    name.filter(|name| !name.is_empty())
}

/// Takes every tag out of a WebVTT line and decodes its character references.
fn decoded(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut inside = false;
    for c in line.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => inside = false,
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    let mut out = String::with_capacity(plain.len());
    let mut rest = plain.as_str();
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let reference = rest.find(';').map(|end| (&rest[1..end], end + 1));
        let (c, length) = reference.and_then(|(name, n)| character(name).map(|c| (c, n))).unwrap_or(('&', 1));
        out.push(c);
        rest = &rest[length..];
    }
    out + rest
}

fn character(reference: &str) -> Option<char> {
    match reference {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "nbsp" => Some('\u{a0}'),
        "lrm" => Some('\u{200e}'),
        "rlm" => Some('\u{200f}'),
        "quot" => Some('"'),
        _ => {
            let digits = reference.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number(digits)?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(cues: &[Cue]) -> Vec<(f64, f64, &str)> {
        cues.iter().map(|c| (c.start, c.end, c.text.as_str())).collect()
    }

    #[test]
    fn a_clean_srt_file() {
        let cues = parse_srt("1\n00:00:01,500 --> 00:00:02,000\nOne\ntwo\n\n2\n01:00:00,000 --> 01:00:01,000\nThree\n");
        assert_eq!(plain(&cues.unwrap()), [(1.5, 2.0, "One\ntwo"), (3600.0, 3601.0, "Three")]);
    }

    #[test]
    fn what_players_forgive() {
        let text = "\u{feff}1\r\n0:00:01.5 --> 0:00:02,000 X1:10 X2:20\r\n<i>One</i> {\\an8}a < b\r\n\r\ntwo\r\n2\r\n\
                    01:03 -->01:02\r\n2024\r\n\r\n00:09:00 --> 00:09:01\rlast";
        let cues = parse_srt(text).unwrap();
        assert_eq!(plain(&cues), [(1.5, 2.0, "One a < b\ntwo"), (63.0, 63.0, "2024"), (540.0, 541.0, "last")]);
    }

    #[test]
    fn vtt_with_everything() {
        let text = "WEBVTT - title\nKind: captions\n\nNOTE\n00:01.000 --> 00:02.000\n\nSTYLE\n::cue {}\n\nid 7\n\
                    00:01.000 --> 00:02.500 align:start\n<v Ann>A &lt;b&gt; &amp;amp; <00:01.500><c.x>c</c> &#x41; &bogus;\n\n\
                    100:00:00.000 --> 100:00:01.000\nlate\n\nbroken --> times\nlost\n";
        let cues = parse_vtt(text).unwrap();
        assert_eq!(plain(&cues), [(1.0, 2.5, "A <b> &amp; c A &bogus;"), (360_000.0, 360_001.0, "late")]);
    }

    #[test]
    fn what_is_not_subtitles_is_said_to_be_none() {
        assert_eq!(parse_srt("hello\n"), Err(ParseError::NoCues { format: Format::Srt }));
        assert_eq!(parse_srt("99999999999:00:00,0 --> x\nhi"), Err(ParseError::NoCues { format: Format::Srt }));
        assert_eq!(parse_vtt("1\n00:00:01,000 --> 00:00:02,000\nx"), Err(ParseError::NoHeader));
        assert_eq!(parse_vtt("WEBVTTX\n"), Err(ParseError::NoHeader));
        assert_eq!((parse_srt("\n"), parse_vtt("WEBVTT\n")), (Ok(vec![]), Ok(vec![])));
    }
}
