//! Text as what is inserted: runs of characters, and keys between and after them.

use super::config::{Manner, Newlines};

/// One step of an insertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Characters, pasted or typed. Not empty.
    Text(String),
    /// Shift+Enter: a line break where Enter would send.
    ShiftEnter,
    /// Enter.
    Enter,
}

/// The steps for `text`. Control characters other than tab and line feed are left out: an escape sequence in a
/// terminal is a command, and nobody can speak one.
pub fn pieces(text: &str, manner: &Manner) -> Vec<Piece> {
    let unified = text.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}'], "\n");
    let mut clean: String = unified.chars().filter(|c| !c.is_control() || matches!(c, '\t' | '\n')).collect();
    if manner.newlines == Newlines::Space {
        clean = clean.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    }
    if manner.trailing_space && !clean.is_empty() && !clean.ends_with(char::is_whitespace) {
        clean.push(' ');
    }
    let mut pieces = Vec::new();
    if manner.newlines == Newlines::ShiftEnter {
        for (index, line) in clean.split('\n').enumerate() {
            if index > 0 {
                pieces.push(Piece::ShiftEnter);
            }
            if !line.is_empty() {
                pieces.push(Piece::Text(line.to_owned()));
            }
        }
    } else if !clean.is_empty() {
        pieces.push(Piece::Text(clean));
    }
    if manner.submit && !pieces.is_empty() {
        pieces.push(Piece::Enter);
    }
    pieces
}

/// The text alone, as it is left in the clipboard.
pub fn whole(pieces: &[Piece]) -> String {
    let texts = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => text.as_str(),
        Piece::ShiftEnter => "\n",
        Piece::Enter => "",
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::super::config::{InsertConfig, Method, PasteKeys};
    use super::*;

    fn manner(newlines: Newlines) -> Manner {
        let method = Method::Auto;
        Manner { method, paste_keys: PasteKeys::CtrlV, trailing_space: false, submit: false, newlines }
    }

    #[test]
    fn line_breaks_by_setting() {
        let text = "one\r\ntwo\n\nthree";
        assert_eq!(pieces(text, &manner(Newlines::Keep)), [Piece::Text("one\ntwo\n\nthree".into())]);
        assert_eq!(pieces(text, &manner(Newlines::Space)), [Piece::Text("one two three".into())]);
        let pressed = pieces(text, &manner(Newlines::ShiftEnter));
        assert_eq!(pressed.iter().filter(|piece| **piece == Piece::ShiftEnter).count(), 3);
        assert_eq!(whole(&pressed), "one\ntwo\n\nthree");
    }

    #[test]
    fn no_escape_sequence_gets_through() {
        let text = "a\u{1b}[201~b\u{7}\u{9b}31m\tc";
        assert_eq!(pieces(text, &manner(Newlines::Keep)), [Piece::Text("a[201~b31m\tc".into())]);
    }

    #[test]
    fn space_and_enter_follow_text_only() {
        let manner = Manner { trailing_space: true, submit: true, ..InsertConfig::default().manner("") };
        assert_eq!(pieces("hi", &manner), [Piece::Text("hi ".into()), Piece::Enter]);
        assert_eq!(pieces("hi ", &manner), [Piece::Text("hi ".into()), Piece::Enter]);
        assert_eq!(pieces("", &manner), []);
    }
}
