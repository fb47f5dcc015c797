//! Files, pipes and bytes; what is not audio; limits; cancellation. One clear sentence each.

use crate::audio_support::*;
use bestbox::audio::{AudioError, Channels, DecodeSettings, Ffmpeg, Input, open, probe};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CHIRP: Chirp = Chirp { from: 200.0, to: 4_000.0, seconds: 1.6 };

fn clip(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = folder.join(name);
    encode(&wav_f32(&CHIRP.at(44_100), 44_100, 1), arguments, &path);
    path
}

fn assert_is_the_chirp(samples: &[f32], what: &str) {
    let expected = CHIRP.at(16_000);
    assert!((samples.len() as i64 - expected.len() as i64).abs() <= 1, "{what}: {} samples", samples.len());
    assert!(correlation(&expected, samples) > 0.98, "{what}: correlation {}", correlation(&expected, samples));
}

fn message(result: Result<Decoded, AudioError>) -> String {
    match result {
        Ok(decoded) => panic!("decoded {} samples of {:?}", decoded.samples.len(), decoded.info),
        Err(error) => error.to_string(),
    }
}

/// Feeds bytes through a named pipe, as standard input and process substitution do.
fn through_a_pipe(folder: &Path, bytes: Vec<u8>, settings: &DecodeSettings) -> Result<Decoded, AudioError> {
    let path = folder.join("pipe");
    let _ = std::fs::remove_file(&path);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let writer = path.clone();
    let feeder = std::thread::spawn(move || {
        // The reader may stop early: that is its right.
        let _ = File::options().write(true).open(writer).unwrap().write_all(&bytes);
    });
    let result = decode(Input::File(path), settings);
    feeder.join().unwrap();
    result
}

#[test]
fn pipes_and_bytes_decode_like_files() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("a.wav", &["-c:a", "pcm_s16le"] as &[&str]),
        ("a.flac", &["-c:a", "flac"]),
        ("a.mp3", &["-c:a", "libmp3lame"]),
        ("a.opus", &["-c:a", "libopus"]),
        ("a.webm", &["-c:a", "libopus"]),
        // The index is at the end: a pipe has to be stored first.
        ("a.m4a", &["-c:a", "aac"]),
    ] {
        let bytes = std::fs::read(clip(folder.path(), name, arguments)).unwrap();
        let piped = through_a_pipe(folder.path(), bytes.clone(), &settings()).unwrap();
        assert_is_the_chirp(&piped.samples, name);
        assert_eq!(piped.damage, None, "{name}");
        let uploaded = decode(Input::Bytes(bytes.into()), &settings()).unwrap();
        assert_eq!(uploaded.samples, piped.samples, "{name}");
    }
}

#[test]
fn a_wrong_name_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let path = clip(folder.path(), "a.opus", &["-c:a", "libopus"]);
    for name in ["b.wav", "b.mp3", "b.txt", "b", "-i.mp4", "concat:x|y.m3u8"] {
        let renamed = folder.path().join(name);
        std::fs::copy(&path, &renamed).unwrap();
        assert_is_the_chirp(&decode_file(&renamed).unwrap().samples, name);
    }
}

#[test]
fn wav_headers_as_the_world_writes_them() {
    let good = wav_f32(&CHIRP.at(16_000), 16_000, 1);
    let patched = |at: usize, bytes: &[u8]| {
        let mut wav = good.clone();
        wav[at..at + bytes.len()].copy_from_slice(bytes);
        wav
    };
    let mut odd_chunk = good[..12].to_vec();
    odd_chunk.extend(b"LIST\x05\0\0\0INFOx\0");
    odd_chunk.extend(&good[12..]);
    let mut trailer = good.clone();
    trailer.extend(b"LIST\x08\0\0\0INFOabcd");
    for (what, wav) in [
        ("data size 0", patched(40, &[0; 4])),
        ("data size unknown", patched(40, &[255; 4])),
        ("all sizes unknown", {
            let mut wav = patched(40, &[255; 4]);
            wav[4..8].fill(255);
            wav
        }),
        ("RIFF size 0", patched(4, &[0; 4])),
        ("odd chunk before", odd_chunk),
        ("chunk after", trailer),
    ] {
        let decoded = decode(Input::Bytes(wav.clone().into()), &settings()).unwrap();
        assert_is_the_chirp(&decoded.samples, what);
        assert_eq!(decoded.damage, None, "{what}");
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(through_a_pipe(folder.path(), wav, &settings()).unwrap().samples, decoded.samples, "{what}");
    }
    // Half the samples are gone: what is there is delivered, and the loss is said.
    let cut = decode(Input::Bytes(good[..good.len() / 2].to_vec().into()), &settings()).unwrap();
    assert!(cut.damage.as_deref().is_some_and(|damage| damage.contains("ends after 0.8 of 1.6 s")), "{:?}", cut.damage);
    assert!((cut.samples.len() as i64 - 12_800).abs() < 20, "{}", cut.samples.len());
}

#[test]
fn one_channel_or_the_mean_of_all() {
    let (left, right) = (
        Chirp { from: 300.0, to: 900.0, seconds: 1.0 }.at(48_000),
        Chirp { from: 2_000.0, to: 3_000.0, seconds: 1.0 }.at(48_000),
    );
    let both: Vec<f32> = left.iter().zip(&right).flat_map(|(left, right)| [*left, *right]).collect();
    let wav = wav_f32(&both, 48_000, 2);
    let take = |channels| decode(Input::Bytes(wav.clone().into()), &DecodeSettings { channels, ..settings() });
    let expected = |from, to| Chirp { from, to, seconds: 1.0 }.at(16_000);
    assert!(correlation(&take(Channels::One(0)).unwrap().samples, &expected(300.0, 900.0)) > 0.9999);
    assert!(correlation(&take(Channels::One(1)).unwrap().samples, &expected(2_000.0, 3_000.0)) > 0.9999);
    let mean: Vec<f32> =
        expected(300.0, 900.0).iter().zip(expected(2_000.0, 3_000.0)).map(|(a, b)| (a + b) / 2.0).collect();
    let average = take(Channels::Average).unwrap().samples;
    assert!(average.iter().zip(&mean).all(|(a, b)| (a - b).abs() < 0.01));
    assert_eq!(message(take(Channels::One(2))), "channel 3 was asked for, but the recording has 2");
    // Six channels.
    let six = wav_f32(&on_channels(&left, &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0]), 48_000, 6);
    let last = decode(Input::Bytes(six.into()), &DecodeSettings { channels: Channels::One(5), ..settings() }).unwrap();
    assert!(correlation(&last.samples, &expected(300.0, 900.0)) > 0.9999);
}

#[test]
fn what_is_not_audio_gets_one_clear_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let noise: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (path, words) in [
        (write("empty.wav", b""), "empty"),
        (write("text.wav", "Nur ein Text, kein Ton.\n".repeat(50).as_bytes()), "text file"),
        (write("picture.mp3", b"\x89PNG\r\n\x1a\n0000"), "PNG image"),
        (write("zip.m4a", b"PK\x03\x04abcdefgh"), "zip archive"),
        (write("zeros.mp3", &[0; 300_000]), "not audio"),
        (write("noise.mp3", &noise), "not audio"),
        (write("one.wav", b"R"), "not audio"),
        (write("header.wav", &wav_f32(&[], 16_000, 1)), "no audio samples"),
        (folder.path().to_owned(), "is a folder"),
        (folder.path().join("missing.wav"), "cannot open"),
        (write("silk.amr", b"#!SILK_V3\x1f\x00\x99"), "silk"),
    ] {
        let text = message(decode_file(&path));
        assert!(text.contains(words), "{}: {text}", path.display());
        assert!(!text.contains('\n') && text.len() < 250, "{text}");
    }
    let silent_movie = folder.path().join("silent.mp4");
    let arguments = ["-f", "lavfi", "-i", "color=size=64x64:duration=0.2", "-map", "1:v", "-c:v", "mpeg4"];
    encode(&wav_f32(&CHIRP.at(8_000), 8_000, 1), &arguments, &silent_movie);
    let text = message(decode_file(&silent_movie));
    assert!(text.contains("no audio track"), "{text}");
}

#[test]
fn the_first_sound_track_of_a_film_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["film.mp4", "film.mov", "film.mkv"] {
        let path = folder.path().join(name);
        let arguments = [
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=64x64:duration=1.6",
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=5000:duration=1.6",
            "-map",
            "1:v",
            "-map",
            "0:a",
            "-map",
            "2:a",
            "-c:v",
            "mpeg4",
            "-c:a",
            "alac",
        ];
        encode(&wav_f32(&CHIRP.at(44_100), 44_100, 1), &arguments, &path);
        assert_is_the_chirp(&decode_file(&path).unwrap().samples, name);
    }
}

#[test]
fn chained_streams_may_change_their_rate() {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = Vec::new();
    for (rate, name) in [(16_000_u32, "a.ogg"), (44_100, "b.ogg")] {
        let path = folder.path().join(name);
        encode(&wav_f32(&CHIRP.at(rate), rate, 1), &["-c:a", "libvorbis", "-q:a", "6"], &path);
        chain.extend(std::fs::read(path).unwrap());
    }
    let decoded = decode(Input::Bytes(chain.into()), &settings()).unwrap();
    let expected = CHIRP.at(16_000);
    assert!((decoded.samples.len() as i64 - 2 * expected.len() as i64).abs() <= 2, "{} samples", decoded.samples.len());
    assert!(correlation(&decoded.samples[..expected.len()], &expected) > 0.98);
    assert!(correlation(&decoded.samples[decoded.samples.len() - expected.len()..], &expected) > 0.98);
}

#[test]
fn limits_name_their_settings() {
    let wav = wav_f32(&CHIRP.at(48_000), 48_000, 1);
    let run = |settings: DecodeSettings| message(decode(Input::Bytes(wav.clone().into()), &settings));
    let text = run(DecodeSettings { max_seconds: 1.0, ..settings() });
    assert!(text.contains("longer than 1 s") && text.contains("audio.max_seconds"), "{text}");
    let text = run(DecodeSettings { max_decoded_bytes: 100_000, ..settings() });
    assert!(text.contains("100000 bytes") && text.contains("audio.max_decoded_bytes"), "{text}");
    let text = run(DecodeSettings { max_spool_bytes: 1000, ..settings() });
    assert!(text.contains("1000 bytes") && text.contains("audio.max_spool_bytes"), "{text}");
    let text = run(DecodeSettings { memory_bytes: 60_000, ..settings() });
    assert!(text.contains("60000 bytes of memory") && text.contains("audio.memory_bytes"), "{text}");
    let text = run(DecodeSettings { worker: "/nonexistent/bestbox".into(), ..settings() });
    assert!(text.contains("cannot start") && text.contains("/nonexistent/bestbox"), "{text}");
    // Exactly at the limit is allowed.
    let fits = DecodeSettings { max_seconds: CHIRP.seconds, max_decoded_bytes: 4 * 76_800, ..settings() };
    assert_is_the_chirp(&decode(Input::Bytes(wav.into()), &fits).unwrap().samples, "at the limit");
}

#[test]
fn processor_time_is_limited() {
    // Nine hours of silence take longer than a second.
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all(&wav_f32(&[], 192_000, 1)).unwrap();
    let mut header = File::options().write(true).open(file.path()).unwrap();
    header.write_all(b"RIFF\xFF\xFF\xFF\xFF").unwrap();
    std::os::unix::fs::FileExt::write_all_at(&header, &[255; 4], 40).unwrap();
    header.set_len(25 << 30).unwrap();
    let text = message(decode(Input::File(file.path().into()), &DecodeSettings { cpu_seconds: 1, ..settings() }));
    assert!(text.contains("1 s of processor time") && text.contains("audio.cpu_seconds"), "{text}");
}

#[test]
fn without_ffmpeg_the_error_names_the_codec() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments, codec) in [
        ("a.ac3", &["-c:a", "ac3"] as &[&str], "ac3"),
        ("a.mkv", &["-c:a", "eac3"], "eac3"),
        ("a.wma", &["-c:a", "wmav2"], "WMA"),
        ("b.mp4", &["-c:a", "ac3"], "ac3"),
        ("speex.ogg", &["-c:a", "libspeex", "-ar", "16000"], "speex"),
    ] {
        let path = clip(folder.path(), name, arguments);
        let off = DecodeSettings { ffmpeg: Ffmpeg::Off, ..settings() };
        let text = message(decode(Input::File(path.clone()), &off));
        assert!(text.contains(codec) && text.contains("installing ffmpeg helps"), "{name}: {text}");
        let decoded = decode_file(&path).unwrap();
        assert!((decoded.samples.len() as f64 / 16_000.0 - CHIRP.seconds).abs() < 0.06, "{name}");
        // The limits hold there too.
        let text = message(decode(Input::File(path), &DecodeSettings { max_seconds: 1.0, ..settings() }));
        assert!(text.contains("audio.max_seconds"), "{name}: {text}");
    }
}

#[test]
fn large_tags_before_the_music_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments, says) in [
        ("a.mp3", &["-c:a", "libmp3lame"] as &[&str], "mp3"),
        ("a.flac", &["-c:a", "flac"], "flac"),
        ("a.aac", &["-c:a", "aac"], "adts/aac"),
    ] {
        // Two tags: three megabytes that look like nothing in particular, and an empty one.
        let mut bytes = b"ID3\x04\0\0\x01\x40\0\0".to_vec();
        bytes.extend((0..0x30_0000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8));
        bytes.extend(b"ID3\x03\0\0\0\0\0\0");
        bytes.extend(std::fs::read(clip(folder.path(), name, arguments)).unwrap());
        let decoded = decode(Input::Bytes(bytes.into()), &settings()).unwrap();
        assert_eq!(decoded.info.format, says, "{name}");
        assert!((decoded.samples.len() as f64 / 16_000.0 - CHIRP.seconds).abs() < 0.06, "{name}");
    }
}

/// Debian's ffmpeg has no AMR encoder either: two seconds of empty 12.2 kbit/s frames (RFC 4867 section 5).
#[test]
fn amr_goes_through_ffmpeg() {
    let mut amr = b"#!AMR\n".to_vec();
    (0..100).for_each(|_| amr.extend([0x3C].iter().chain(&[0; 31])));
    let decoded = decode(Input::Bytes(amr.into()), &settings()).unwrap();
    assert_eq!((decoded.info.format.as_str(), decoded.info.rate), ("amr (ffmpeg)", 8_000));
    assert_eq!(decoded.samples.len(), 32_000);
}

/// There is no free HE-AAC encoder in Debian: an AAC-LC file at a low rate whose header is rewritten to say HE-AAC. Its
/// core is what it was, so that decoders without SBR give the chirp back.
#[test]
fn he_aac_is_recognised_and_its_core_decoded_without_ffmpeg() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.m4a");
    encode(&wav_f32(&CHIRP.at(22_050), 22_050, 1), &["-c:a", "aac", "-b:a", "64k"], &path);
    let mut bytes = std::fs::read(&path).unwrap();
    // AudioSpecificConfig: LC, 22.05 kHz, mono, then the SBR extension that ffmpeg writes as absent.
    let at = bytes.windows(5).position(|window| window == [0x13, 0x88, 0x56, 0xE5, 0x00]).expect("the header is there");
    bytes[at + 4] = 0xA0;
    let off = DecodeSettings { ffmpeg: Ffmpeg::Off, ..settings() };
    let core = decode(Input::Bytes(bytes.clone().into()), &off).unwrap();
    assert_eq!(core.info.rate, 22_050);
    assert_is_the_chirp(&core.samples, "core");
    let full = decode(Input::Bytes(bytes.into()), &settings()).unwrap();
    assert_eq!((full.info.format.as_str(), full.info.rate), ("mp4/he-aac (ffmpeg)", 44_100));
    assert!((full.samples.len() as f64 / 16_000.0 - CHIRP.seconds).abs() < 0.1, "{}", full.samples.len());
}

#[test]
fn a_probe_reads_the_header() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("a.wav", &["-c:a", "pcm_s16le"] as &[&str]),
        ("a.mp3", &["-c:a", "libmp3lame"]),
        ("a.m4a", &["-c:a", "aac"]),
        ("a.opus", &["-c:a", "libopus"]),
        ("a.webm", &["-c:a", "libopus"]),
        ("a.flac", &["-c:a", "flac"]),
        // Only the header of a codec for ffmpeg is read here too.
        ("a.mkv", &["-c:a", "ac3"]),
    ] {
        let info = probe(Input::File(clip(folder.path(), name, arguments)), &settings()).unwrap();
        assert!(info.duration.is_some_and(|seconds| (seconds - CHIRP.seconds).abs() < 0.05), "{name}: {info:?}");
        assert_eq!(info.channels, 1, "{name}");
    }
}

/// An endless pipe: the decoder waits for its reader, ends when told to, and goes away with its owner.
#[test]
fn streams_can_be_cancelled_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let endless = |path: PathBuf| {
        std::thread::spawn(move || {
            let mut pipe = File::options().write(true).open(path).unwrap();
            let mut wav = wav_f32(&[], 16_000, 1);
            wav[40..44].fill(255);
            let silence = [0; 64_000];
            let _ = pipe.write_all(&wav);
            // Two seconds, and then nothing more until the reader has gone.
            let _ = pipe.write_all(&silence).and_then(|()| pipe.write_all(&silence));
            pipe
        })
    };
    let writer = endless(path.clone());
    let mut stream = open(Input::File(path), &settings()).unwrap();
    let _pipe = writer.join().unwrap();
    let canceller = stream.canceller();
    let timer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        canceller.cancel();
    });
    let start = Instant::now();
    let error = loop {
        match stream.next_block() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the pipe has not ended"),
            Err(error) => break error,
        }
    };
    timer.join().unwrap();
    assert!(matches!(error, AudioError::Cancelled), "{error}");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

/// The price of a process of its own: from opening a small file to its last sample. Tried until it was paid once, because
/// other tests run at the same time. The resampler is compiled with this crate, which the dev profile does not optimise:
/// there it may take longer.
#[test]
fn a_small_file_costs_under_10_ms() {
    let bound = Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 10 });
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in [("a.wav", &["-c:a", "pcm_s16le"] as &[&str]), ("a.opus", &["-c:a", "libopus"])] {
        let path = clip(folder.path(), name, arguments);
        let mut least = Duration::MAX;
        for _ in 0..1000 {
            let start = Instant::now();
            decode_file(&path).unwrap();
            least = least.min(start.elapsed());
            if least < bound {
                break;
            }
        }
        println!("{name}: {least:?}");
        assert!(least < bound, "{name}: {least:?}");
    }
}

/// A parent that is killed takes its decoder with it, even one that waits for input.
#[test]
#[cfg(target_os = "linux")]
fn no_decoder_outlives_its_parent() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut parent = crate::audio_memory::own_process("audio_memory::drain", &path).spawn().unwrap();
    let mut pipe = File::options().write(true).open(&path).unwrap();
    let mut wav = wav_f32(&[], 16_000, 1);
    wav[40..44].fill(255);
    // Enough to get it going, not enough to end it.
    pipe.write_all(&wav).unwrap();
    pipe.write_all(&[0; 8_000]).unwrap();
    let children = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", parent.id())).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let wait = |done: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(20), "waited too long");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait(&|| !children().is_empty());
    std::thread::sleep(Duration::from_millis(200));
    let decoders = children();
    kill(Pid::from_raw(parent.id().cast_signed()), Signal::SIGKILL).unwrap();
    parent.wait().unwrap();
    // Gone, or a zombie that the system's first process has yet to reap.
    let alive = |pid: &String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains("bestbox") && !stat.contains(") Z ")
    };
    wait(&|| !decoders.iter().any(alive));
}
