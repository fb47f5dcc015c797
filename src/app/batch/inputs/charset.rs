//! Bytes of a text file to characters: what transcripts and subtitles of the last thirty years are written in.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8};

/// The text of a file.
///
/// A byte order mark decides (UTF-8, UTF-16). Without one it is UTF-8 where that fits; a file with many good UTF-8
/// sequences and a few broken ones (a tool cut a character in two) is UTF-8 with those replaced; everything else is the
/// older encoding that its bytes look like (Windows-1252 for most of Europe, but also Shift_JIS, Windows-1251, …).
/// `None`: it holds zero bytes, so it is no text.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return Some(encoding.decode_without_bom_handling(&bytes[mark..]).0.into_owned());
    }
    if bytes.contains(&0) {
        return None;
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(text.to_owned());
    }
    let (mut good, mut broken) = (0usize, 0usize);
    for chunk in bytes.utf8_chunks() {
        good += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    let encoding = if good > broken { UTF_8 } else { older(bytes) };
    Some(encoding.decode_without_bom_handling(bytes).0.into_owned())
}

fn older(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    detector.guess(None, Utf8Detection::Deny)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(bytes).collect()
    }

    #[test]
    fn any_encoding_gives_the_same_text() {
        let said = "Früher hieß die Straße „Königsallee“.\r\n日本語 😀";
        assert_eq!(text(said.as_bytes()).as_deref(), Some(said));
        assert_eq!(text(format!("\u{feff}{said}").as_bytes()).as_deref(), Some(said));
        assert_eq!(text(&utf16(said, u16::to_le_bytes)).as_deref(), Some(said));
        assert_eq!(text(&utf16(said, u16::to_be_bytes)).as_deref(), Some(said));
    }

    #[test]
    fn older_encodings_are_told_by_their_bytes() {
        let latin = b"Fr\xfcher hie\xdf die Stra\xdfe anders, das wei\xdf jeder \x84hier\x93.";
        assert_eq!(text(latin).as_deref(), Some("Früher hieß die Straße anders, das weiß jeder „hier“."));
        let russian = "Сегодня мы поговорим о том, как устроена наша работа.";
        let (bytes, ..) = encoding_rs::WINDOWS_1251.encode(russian);
        assert_eq!(text(&bytes).as_deref(), Some(russian));
    }

    #[test]
    fn a_character_cut_in_two_does_not_turn_the_rest_into_another_encoding() {
        let mut bytes = "größer und schöner, Straße für Straße ".as_bytes().to_vec();
        bytes.extend_from_slice(b"\xc3 end");
        assert_eq!(text(&bytes).as_deref(), Some("größer und schöner, Straße für Straße \u{fffd} end"));
    }

    #[test]
    fn zero_bytes_are_no_text() {
        assert_eq!(text(b"\x7fELF\0\0"), None);
        assert_eq!(text(b"").as_deref(), Some(""));
    }
}
