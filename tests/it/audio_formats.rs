//! Every format, at several rates and channel counts: length, alignment and content against the signal that went in.

use crate::audio_support::*;

/// What an encoder makes of the sweep.
struct Format {
    name: &'static str,
    extension: &'static str,
    arguments: &'static [&'static str],
    /// Start of what `StreamInfo::format` must say.
    says: &'static str,
    /// Largest difference in length and alignment, samples at 16 kHz.
    slack: i64,
    correlation: f64,
    rates: &'static [u32],
}

const ANY: &[u32] = &[8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000];
const OPUS: &[u32] = &[8_000, 16_000, 48_000];
const MP3: &[u32] = &[8_000, 16_000, 22_050, 44_100, 48_000];
const AAC: &[u32] = &[16_000, 32_000, 44_100, 48_000, 96_000];

const FORMATS: &[Format] = &[
    exact("wav u8", "wav", &["-c:a", "pcm_u8"], "wav/pcm_u8", 0.995),
    exact("wav s16", "wav", &["-c:a", "pcm_s16le"], "wav/pcm_s16le", 0.9999),
    exact("wav s24", "wav", &["-c:a", "pcm_s24le"], "wav/pcm_s24le", 0.9999),
    exact("wav s32", "wav", &["-c:a", "pcm_s32le"], "wav/pcm_s32le", 0.9999),
    exact("wav f32", "wav", &["-c:a", "pcm_f32le"], "wav/pcm_f32le", 0.9999),
    exact("wav f64", "wav", &["-c:a", "pcm_f64le"], "wav/pcm_f64le", 0.9999),
    exact("wav a-law", "wav", &["-c:a", "pcm_alaw"], "wav/pcm_alaw", 0.995),
    exact("wav mu-law", "wav", &["-c:a", "pcm_mulaw"], "wav/pcm_mulaw", 0.995),
    exact("rf64", "wav", &["-c:a", "pcm_s16le", "-rf64", "always"], "wav/pcm_s16le", 0.9999),
    exact("aiff", "aiff", &["-c:a", "pcm_s16be"], "aiff/pcm_s16be", 0.9999),
    exact("aiff s24", "aiff", &["-c:a", "pcm_s24be"], "aiff/pcm_s24be", 0.9999),
    exact("caf", "caf", &["-c:a", "pcm_s16be"], "caf/pcm_s16be", 0.9999),
    exact("flac", "flac", &["-c:a", "flac"], "flac", 0.9999),
    exact("alac", "m4a", &["-c:a", "alac"], "mp4/alac", 0.9999),
    exact("mov pcm", "mov", &["-c:a", "pcm_s16le"], "mp4/pcm_s16le", 0.9999),
    exact("mkv pcm", "mkv", &["-c:a", "pcm_s16le"], "mkv/pcm_s16le", 0.9999),
    exact("mkv flac", "mkv", &["-c:a", "flac"], "mkv/flac", 0.9999),
    lossy("mp3", "mp3", &["-c:a", "libmp3lame", "-q:a", "2"], "mp3", MP3),
    lossy("vorbis", "ogg", &["-c:a", "libvorbis", "-q:a", "6"], "ogg/vorbis", &[8_000, 16_000, 44_100, 48_000, 96_000]),
    padded("webm vorbis", "webm", &["-c:a", "libvorbis", "-q:a", "6"], "mkv/vorbis", (&[16_000, 44_100], 240)),
    lossy("opus", "opus", &["-c:a", "libopus", "-b:a", "96k"], "ogg/opus", OPUS),
    lossy("webm opus", "webm", &["-c:a", "libopus", "-b:a", "96k"], "mkv/opus", OPUS),
    lossy("mp4 opus", "mp4", &["-c:a", "libopus", "-b:a", "96k"], "mp4/opus", OPUS),
    lossy("m4a", "m4a", &["-c:a", "aac", "-b:a", "128k"], "mp4/aac", AAC),
    lossy("m4a faststart", "mp4", &["-c:a", "aac", "-b:a", "128k", "-movflags", "faststart"], "mp4/aac", &[44_100]),
    padded(
        "fragmented mp4",
        "mp4",
        &["-c:a", "aac", "-b:a", "128k", "-movflags", "frag_keyframe+empty_moov"],
        "mp4/aac",
        (&[32_000], 1100),
    ),
    padded("mkv aac", "mkv", &["-c:a", "aac", "-b:a", "128k"], "mkv/aac", (&[32_000], 1100)),
    padded("adts", "aac", &["-c:a", "aac", "-b:a", "128k"], "adts/aac", (&[32_000], 1100)),
    padded("mp2", "mp2", &["-c:a", "mp2", "-b:a", "128k", "-ac", "2"], "mp2", (&[16_000], 1700)),
    // Through ffmpeg: at this rate the stream may be HE-AAC and need not say so.
    padded("slow adts", "aac", &["-c:a", "aac", "-b:a", "64k"], "adts/aac (ffmpeg)", (&[16_000], 2200)),
    // Through ffmpeg.
    padded("ac3", "ac3", &["-c:a", "ac3", "-b:a", "192k"], "ac3 (ffmpeg)", (&[32_000], 600)),
    padded("eac3 in mkv", "mkv", &["-c:a", "eac3", "-b:a", "192k"], "mkv/eac3 (ffmpeg)", (&[32_000], 600)),
    padded("wma", "wma", &["-c:a", "wmav2", "-b:a", "128k"], "asf (WMA) (ffmpeg)", (&[44_100], 800)),
];

/// Containers that do not say how long the encoder's delay and padding are; ffmpeg keeps them too. At 32 kHz the delay
/// is a whole number of samples at 16 kHz.
const fn padded(
    name: &'static str,
    extension: &'static str,
    arguments: &'static [&'static str],
    says: &'static str,
    (rate, slack): (&'static [u32], i64),
) -> Format {
    Format { name, extension, arguments, says, slack, correlation: 0.98, rates: rate }
}

const fn exact(
    name: &'static str,
    extension: &'static str,
    arguments: &'static [&'static str],
    says: &'static str,
    correlation: f64,
) -> Format {
    Format { name, extension, arguments, says, slack: 1, correlation, rates: ANY }
}

const fn lossy(
    name: &'static str,
    extension: &'static str,
    arguments: &'static [&'static str],
    says: &'static str,
    rates: &'static [u32],
) -> Format {
    Format { name, extension, arguments, says, slack: 1, correlation: 0.98, rates }
}

/// More than two channels: built in where the codec has no matrix, through ffmpeg for AAC and Opus.
#[test]
fn surround_sound_decodes() {
    let folder = tempfile::tempdir().unwrap();
    let chirp = Chirp { from: 150.0, to: 5_000.0, seconds: 1.2 };
    // Front left alone, so that the mean of six is a sixth of it.
    let source = wav_f32(&on_channels(&chirp.at(48_000), &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]), 48_000, 6);
    for (name, arguments, says) in [
        ("a.wav", &["-c:a", "pcm_s16le"] as &[&str], "wav/pcm_s16le"),
        ("a.flac", &["-c:a", "flac"], "flac"),
        ("a.ogg", &["-c:a", "libvorbis", "-q:a", "8"], "ogg/vorbis"),
        ("a.m4a", &["-c:a", "aac", "-b:a", "384k", "-ac", "6"], "mp4/aac"),
        ("a.opus", &["-c:a", "libopus", "-b:a", "384k", "-mapping_family", "1"], "ogg/opus"),
    ] {
        let path = folder.path().join(name);
        encode(&source, &[&["-channel_layout", "5.1"], arguments].concat(), &path);
        let decoded = decode_file(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(decoded.info.format.starts_with(says), "{name}: {:?}", decoded.info);
        assert_eq!(decoded.info.channels, 6, "{name}");
        let expected = chirp.at(16_000);
        let (lag, correlated) = best_lag(&expected, &decoded.samples, 400);
        let peak = decoded.samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        println!("{name}: {} lag {lag}, correlation {correlated:.4}, peak {peak:.4}", decoded.info.format);
        assert!(correlated > 0.95 && lag.abs() <= 1, "{name}: lag {lag}, correlation {correlated}");
        assert!((peak - 0.5 / 6.0).abs() < 0.02, "{name}: peak {peak}");
    }
}

#[test]
fn every_format_decodes_to_the_signal_that_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let long = std::env::var_os("BESTBOX_LONG").is_some();
    for format in FORMATS {
        // At the short size every rate once, in FLAC, and the ends and the middle for the other lossless formats.
        let few = !long && format.slack == 1 && format.rates.len() == ANY.len() && format.extension != "flac";
        let rates = format.rates.iter().filter(|rate| !few || [8_000, 44_100, 192_000].contains(*rate));
        for (index, &rate) in rates.enumerate() {
            // Mono at one rate is enough.
            let gains: &[&[f32]] = if index == 0 { &[&[1.0], &[1.0, 0.5]] } else { &[&[1.0, 0.5]] };
            for gains in gains {
                let chirp = Chirp { from: 150.0, to: (0.4 * f64::from(rate)).min(5_000.0), seconds: 2.3457 };
                let source = wav_f32(&on_channels(&chirp.at(rate), gains), rate, gains.len() as u16);
                let path = folder.path().join(format!("clip.{}", format.extension));
                encode(&source, format.arguments, &path);
                let what = format!("{} {rate} Hz x{}", format.name, gains.len());
                let decoded = match decode_file(&path) {
                    Ok(decoded) => decoded,
                    Err(error) => {
                        wrong.push(format!("{what}: {error}"));
                        continue;
                    }
                };
                let expected = chirp.at(16_000);
                let (lag, correlated) = best_lag(&expected, &decoded.samples, 1200);
                let longer = decoded.samples.len() as i64 - expected.len() as i64;
                // The last 50 ms, where they belong.
                let (early, late) = ((-lag).max(0) as usize, lag.max(0) as usize);
                let (wanted, got) = (&expected[early..], &decoded.samples[late..]);
                let end = wanted.len().min(got.len());
                let tail = correlation(&wanted[end - 800..end], &got[end - 800..end]);
                println!(
                    "{what}: {} lag {lag} correlation {correlated:.5} tail {tail:.4} length {longer:+} {:?}",
                    decoded.info.format, decoded.damage
                );
                let fine = decoded.info.format.starts_with(format.says)
                    && lag.abs() <= format.slack
                    && longer.abs() <= format.slack
                    && correlated >= format.correlation
                    && tail >= format.correlation - 0.08
                    && decoded.damage.is_none();
                if !fine {
                    wrong.push(format!(
                        "{what}: lag {lag}, correlation {correlated}, tail {tail}, length {longer:+}, {:?} {:?}",
                        decoded.info, decoded.damage
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
