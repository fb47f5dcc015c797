//! What a file is, by its first bytes. Names and extensions are never looked at.

/// Bytes that [`sniff`] wants to see; fewer are fine where the file is shorter.
pub(super) const HEAD_BYTES: usize = 4096;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Empty,
    /// RIFF, RF64 or BW64 with a WAVE form: decodes from a pipe.
    Wav,
    /// A container that symphonia reads.
    Symphonia(Container),
    /// Audio that only ffmpeg reads.
    Foreign(Foreign),
    /// Not audio; says what it is.
    NotAudio(&'static str),
    /// No signature known. MPEG audio may start with rubbish, so the decoder looks further.
    Unknown,
}

/// Containers that symphonia reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Aiff,
    Caf,
    Flac,
    Matroska,
    /// MP1, MP2, MP3 and ADTS AAC, with or without ID3 tags.
    Mpeg,
    Mp4,
    Ogg,
}

impl Container {
    /// Whether it decodes from start to end without seeking, so that a pipe needs no temporary file.
    ///
    /// Matroska, MPEG and ADTS do too, but may turn out to hold a codec for ffmpeg, which then needs the bytes again.
    pub fn streams(self) -> bool {
        matches!(self, Container::Flac)
    }
}

/// A format for ffmpeg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    /// For people.
    pub name: &'static str,
    /// ffmpeg's name of the container.
    pub demuxer: Option<&'static str>,
}

const fn foreign(name: &'static str, demuxer: &'static str) -> Kind {
    Kind::Foreign(Foreign { name, demuxer: Some(demuxer) })
}

/// Signatures at the start of the file: bytes and meaning.
const SIGNATURES: &[(&[u8], Kind)] = &[
    (b"fLaC", Kind::Symphonia(Container::Flac)),
    (b"OggS", Kind::Symphonia(Container::Ogg)),
    (b"\x1A\x45\xDF\xA3", Kind::Symphonia(Container::Matroska)),
    (b"caff", Kind::Symphonia(Container::Caf)),
    (b"ID3", Kind::Symphonia(Container::Mpeg)),
    (b"\x30\x26\xB2\x75\x8E\x66\xCF\x11", foreign("asf (WMA)", "asf")),
    (b"#!AMR", foreign("amr", "amr")),
    (b"\x0B\x77", foreign("ac3", "ac3")),
    (b"\x7F\xFE\x80\x01", foreign("dts", "dts")),
    (b"FLV\x01", foreign("flv", "flv")),
    (b".snd", foreign("au", "au")),
    (b"riff\x2E\x91\xCF\x11", foreign("w64", "w64")),
    (b"wvpk", foreign("wavpack", "wv")),
    (b"MAC ", foreign("monkey's audio", "ape")),
    (b"TTA1", foreign("tta", "tta")),
    (b".RMF", foreign("realmedia", "rm")),
    (b"DSD ", foreign("dsf", "dsf")),
    (b"FRM8", foreign("dsdiff", "iff")),
    (b"MPCK", foreign("musepack", "mpc8")),
    (b"MP+", foreign("musepack", "mpc")),
    (b"NIST_1A", foreign("nist sphere", "nistsphere")),
    (b"\x00\x00\x01\xBA", foreign("mpeg program stream", "mpeg")),
    (b"\x02#!SILK", Kind::Foreign(Foreign { name: "silk", demuxer: None })),
    (b"#!SILK", Kind::Foreign(Foreign { name: "silk", demuxer: None })),
    (b"\x89PNG", Kind::NotAudio("it is a PNG image")),
    (b"\xFF\xD8\xFF", Kind::NotAudio("it is a JPEG image")),
    (b"GIF8", Kind::NotAudio("it is a GIF image")),
    (b"II*\0", Kind::NotAudio("it is a TIFF image")),
    (b"MM\0*", Kind::NotAudio("it is a TIFF image")),
    (b"%PDF", Kind::NotAudio("it is a PDF document")),
    (b"PK\x03\x04", Kind::NotAudio("it is a zip archive")),
    (b"\x1F\x8B", Kind::NotAudio("it is a gzip archive; unpack it first")),
    (b"7z\xBC\xAF", Kind::NotAudio("it is a 7z archive")),
    (b"Rar!", Kind::NotAudio("it is a RAR archive")),
    (b"\xFD7zXZ", Kind::NotAudio("it is an xz archive; unpack it first")),
    (b"\x7FELF", Kind::NotAudio("it is a program")),
    (b"MThd", Kind::NotAudio("it is a MIDI file, which holds notes and no sound")),
    (b"SQLite format 3", Kind::NotAudio("it is a database")),
    (b"\xFF\xFE", Kind::NotAudio("it is a text file (UTF-16)")),
    (b"\xFE\xFF", Kind::NotAudio("it is a text file (UTF-16)")),
];

/// Top-level boxes that MP4 and QuickTime files start with.
const MP4_BOXES: &[&[u8; 4]] = &[b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp"];

/// Looks at the first bytes (up to [`HEAD_BYTES`]) of a file.
pub(super) fn sniff(head: &[u8]) -> Kind {
    if head.is_empty() {
        return Kind::Empty;
    }
    let form = head.get(8..12).unwrap_or_default();
    match head.get(..4).unwrap_or_default() {
        b"RIFF" | b"RF64" | b"BW64" => {
            return match form {
                b"WAVE" => Kind::Wav,
                b"AVI " => foreign("avi", "avi"),
                b"WEBP" => Kind::NotAudio("it is a WebP image"),
                _ => Kind::NotAudio("it is a RIFF file without sound"),
            };
        }
        b"FORM" => {
            return match form {
                b"AIFF" | b"AIFC" => Kind::Symphonia(Container::Aiff),
                _ => foreign("iff", "iff"),
            };
        }
        _ => {}
    }
    if head.get(4..8).is_some_and(|name| MP4_BOXES.iter().any(|known| name == *known)) {
        return match form {
            b"heic" | b"heix" | b"mif1" | b"avif" => Kind::NotAudio("it is an image"),
            _ => Kind::Symphonia(Container::Mp4),
        };
    }
    // A frame header: 11 bits of sync word, then version, layer, bit rate and sample rate that are not reserved. The
    // byte order mark of UTF-16 looks the same; Latin text has every other byte zero.
    let utf16 = matches!(*head, [0xFF, 0xFE, _, 0] | [0xFF, 0xFE, _, 0, _, 0, ..]);
    if let [0xFF, second, third, ..] = *head {
        let mpeg = second & 0xE0 == 0xE0 && second & 0x18 != 0x08 && third & 0x0C != 0x0C;
        let adts = second & 0xF6 == 0xF0;
        let audio = adts || (mpeg && second & 0x06 != 0 && third & 0xF0 != 0xF0);
        if audio && !utf16 {
            return Kind::Symphonia(Container::Mpeg);
        }
    }
    if let Some((_, kind)) = SIGNATURES.iter().find(|(bytes, _)| head.starts_with(bytes)) {
        // AC-3 and Enhanced AC-3 share the sync word; bsid (5 bits at byte 5) above 10 is the latter (A/52 E.2.3.1.6).
        return match head {
            [0x0B, 0x77, _, _, _, bsid, ..] if bsid >> 3 > 10 => foreign("eac3", "eac3"),
            _ => *kind,
        };
    }
    // 188-byte packets that start with 0x47; with four bytes of time stamp before each in Blu-ray files.
    let packets = |first: usize, step: usize| (0..3).all(|n| head.get(first + n * step) == Some(&0x47));
    if packets(0, 188) || packets(4, 192) {
        return foreign("mpeg transport stream", "mpegts");
    }
    // LATM: 11 bits of sync word 0x2B7.
    if let [0x56, second, ..] = *head
        && second & 0xE0 == 0xE0
    {
        return foreign("aac/latm", "loas");
    }
    if is_text(head) { Kind::NotAudio("it is a text file") } else { Kind::Unknown }
}

/// Valid UTF-8 (a character cut at the end is fine) without control characters other than white space and escape.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && text.chars().all(|c| !c.is_control() || c.is_whitespace() || c == '\x1b')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_audio_is_named() {
        for (head, word) in [
            ("Grüße aus dem Süden,\n".as_bytes(), "text"),
            (b"\x89PNG\r\n\x1a\n", "PNG"),
            (b"\xFF\xD8\xFF\xE0\0\x10JFIF", "JPEG"),
            (b"%PDF-1.7\n%\xE2\xE3", "PDF"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
            (b"\xFF\xFEH\0i\0", "UTF-16"),
        ] {
            match sniff(head) {
                Kind::NotAudio(what) => assert!(what.contains(word), "{what}"),
                other => panic!("{head:?} is {other:?}"),
            }
        }
    }

    #[test]
    fn sync_words_are_told_apart() {
        assert_eq!(sniff(b"\xFF\xFB\x90\x64\0\0"), Kind::Symphonia(Container::Mpeg));
        assert_eq!(sniff(b"\xFF\xF3\x48\xC4\0\0"), Kind::Symphonia(Container::Mpeg));
        assert_eq!(sniff(b"\xFF\xF1\x50\x80\0\0"), Kind::Symphonia(Container::Mpeg));
        assert_eq!(sniff(b"\x0B\x77\0\0\0\x40"), foreign("ac3", "ac3"));
        assert_eq!(sniff(b"\x0B\x77\0\0\0\x80"), foreign("eac3", "eac3"));
        assert_eq!(sniff(b""), Kind::Empty);
        assert_eq!(sniff(&[0; 4096]), Kind::Unknown);
    }

    #[test]
    fn a_character_cut_by_the_window_is_still_text() {
        assert_eq!(sniff(&"ü".repeat(9).as_bytes()[..17]), Kind::NotAudio("it is a text file"));
    }

    proptest::proptest! {
        // The parent calls this too.
        #[test]
        fn arbitrary_bytes_never_panic(
            start in 0..SIGNATURES.len(), cut in 0_usize..16, rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)
        ) {
            let signature = SIGNATURES[start].0;
            let mut head = signature[..cut.min(signature.len())].to_vec();
            head.extend(&rest);
            sniff(&head);
        }
    }
}
