//! Takes `<think>…</think>` out of text that comes in pieces.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Feed it pieces, get visible text. Holds back at most a partial tag. White space before the first visible
/// character is dropped: it separates a thought from the answer.
#[derive(Debug, Default)]
pub(super) struct ThinkFilter {
    held: String,
    thinking: bool,
    started: bool,
}

impl ThinkFilter {
    /// The part of `piece` (and of what was held back) that is certainly visible.
    pub fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        let mut visible = String::new();
        loop {
            let tag = if self.thinking { CLOSE } else { OPEN };
            let found = self.held.find(tag);
            let end = found.unwrap_or_else(|| self.held.len() - partial_tag(&self.held, tag));
            let before: String = self.held.drain(..end).collect();
            if !self.thinking {
                self.show(&before, &mut visible);
            }
            if found.is_none() {
                return visible;
            }
            self.held.drain(..tag.len());
            self.thinking = !self.thinking;
        }
    }

    /// What was held back and turned out not to be a tag. A thought that never ended stays hidden.
    pub fn finish(mut self) -> String {
        let mut visible = String::new();
        if !self.thinking {
            let held = std::mem::take(&mut self.held);
            self.show(&held, &mut visible);
        }
        visible
    }

    fn show(&mut self, text: &str, visible: &mut String) {
        let text = if self.started { text } else { text.trim_start() };
        self.started |= !text.is_empty();
        visible.push_str(text);
    }
}

/// Length of the longest end of `text` that `tag` starts with.
fn partial_tag(text: &str, tag: &str) -> usize {
    (1..tag.len()).rev().find(|length| text.ends_with(&tag[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pieces(text: &str, size: usize) -> String {
        let characters: Vec<char> = text.chars().collect();
        let mut filter = ThinkFilter::default();
        let mut out: String =
            characters.chunks(size).map(|piece| filter.push(&piece.iter().collect::<String>())).collect();
        out.push_str(&filter.finish());
        out
    }

    #[test]
    fn thoughts_go_whatever_the_pieces() {
        let cases = [
            ("<think>hm, ünlü</think>\n\nYes.", "Yes."),
            ("\n<think></think>Yes <think>no</think>and no", "Yes and no"),
            ("a < b and <thing> and </think>", "a < b and <thing> and </think>"),
            ("done<thi", "done<thi"),
            ("<think>cut off by the token limit", ""),
            ("<<think>x</think>ok", "<ok"),
            ("日本<think>考</think>語", "日本語"),
        ];
        for (text, visible) in cases {
            for size in 1..=text.chars().count() {
                assert_eq!(in_pieces(text, size), visible, "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn text_is_not_held_back_longer_than_needed() {
        let mut filter = ThinkFilter::default();
        assert_eq!(filter.push("Hello <"), "Hello ");
        assert_eq!(filter.push("b"), "<b");
    }
}
