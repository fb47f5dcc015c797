//! Damaged and hostile files: every one ends in samples or an error, in time and within its memory.

use crate::audio_memory::{given_file, in_own_process, peaks};
use crate::audio_support::*;
use bestbox::audio::{AudioError, DecodeSettings, Input};
use std::time::{Duration, Instant};

/// Encoder arguments and extension of each seed.
const SEEDS: &[(&str, &[&str])] = &[
    ("s16.wav", &["-c:a", "pcm_s16le"]),
    ("adpcm.wav", &["-c:a", "adpcm_ms"]),
    ("a.mp3", &["-c:a", "libmp3lame"]),
    ("a.flac", &["-c:a", "flac"]),
    ("vorbis.ogg", &["-c:a", "libvorbis"]),
    ("a.opus", &["-c:a", "libopus"]),
    ("a.webm", &["-c:a", "libopus"]),
    ("vorbis.mkv", &["-c:a", "libvorbis"]),
    ("aac.m4a", &["-c:a", "aac"]),
    ("alac.m4a", &["-c:a", "alac"]),
    ("frag.mp4", &["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"]),
    ("a.aac", &["-c:a", "aac"]),
    ("a.aiff", &["-c:a", "pcm_s16be"]),
    ("a.caf", &["-c:a", "pcm_s16be"]),
    // Through ffmpeg.
    ("a.ac3", &["-c:a", "ac3"]),
    ("a.wma", &["-c:a", "wmav2"]),
];

/// xorshift64*: the same files on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// One of eight kinds of damage.
fn mutate(seed: &[u8], other: &[u8], kind: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    let header = bytes.len().min(600);
    match kind % 8 {
        // Bits anywhere.
        0 => (0..1 + random.below(200)).for_each(|_| {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }),
        // Bytes of the headers.
        1 => (0..1 + random.below(12)).for_each(|_| {
            let at = random.below(header);
            bytes[at] = random.next() as u8;
        }),
        2 => bytes.truncate(random.below(seed.len())),
        // Starts or goes on with something else.
        3 => {
            bytes.truncate(random.below(seed.len()));
            bytes.extend_from_slice(&other[random.below(other.len())..]);
        }
        4 => {
            let (at, length) = (random.below(bytes.len()), random.below(5000));
            let end = (at + length).min(bytes.len());
            bytes[at..end].fill(0);
        }
        // Giant sizes.
        5 => (0..1 + random.below(3)).for_each(|_| {
            let at = random.below(header.saturating_sub(4));
            bytes[at..at + 4].fill(0xFF);
        }),
        6 => (0..1 + random.below(3)).for_each(|_| {
            let at = random.below(header.saturating_sub(4));
            bytes[at..at + 4].copy_from_slice(&[0x7F, 0xFF, 0xFF, 0xF0]);
        }),
        // A piece is missing, or there twice.
        _ => {
            let (at, length) = (random.below(bytes.len()), random.below(3000));
            let end = (at + length).min(bytes.len());
            let piece: Vec<u8> = bytes.drain(at..end).collect();
            if random.below(2) == 0 {
                let at = random.below(bytes.len());
                bytes.splice(at..at, piece.iter().chain(&piece).copied());
            }
        }
    }
    bytes
}

const MEMORY: u64 = 256 << 20;

#[test]
fn damaged_files_end_in_samples_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let chirp = Chirp { from: 200.0, to: 4_000.0, seconds: 0.7 };
    for (name, arguments) in SEEDS {
        encode(&wav_f32(&on_channels(&chirp.at(44_100), &[1.0, 0.5]), 44_100, 2), arguments, &folder.path().join(name));
    }
    let numbers = in_own_process("audio_corrupt::decode_the_damaged", folder.path(), "damaged: ");
    let [files, decoded, refused, slowest, parent, child] = numbers[..] else { panic!("{numbers:?}") };
    println!(
        "{files} files: {decoded} decoded, {refused} refused, slowest {slowest:.2} s, parent {parent:.0} MB, largest child {child:.0} MB"
    );
    assert!(files >= 200.0);
    assert!(decoded > 20.0 && refused > 20.0, "the damage is neither too light nor too heavy");
    assert!(child < MEMORY as f64 / 1e6, "a decoder took {child} MB");
}

#[test]
#[ignore = "run by the test above"]
fn decode_the_damaged() {
    let Some(folder) = given_file() else { return };
    let rounds = if std::env::var_os("BESTBOX_LONG").is_some() { 125 } else { 16 };
    let seeds: Vec<Vec<u8>> = SEEDS.iter().map(|(name, _)| std::fs::read(folder.join(name)).unwrap()).collect();
    let settings = DecodeSettings { memory_bytes: MEMORY, cpu_seconds: 10, max_seconds: 600.0, ..settings() };
    let (mut decoded, mut refused, mut slowest) = (0, 0, Duration::ZERO);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for (index, (name, _)) in SEEDS.iter().enumerate() {
        for round in 0..rounds {
            let other = &seeds[random.below(seeds.len())];
            let bytes = mutate(&seeds[index], other, round, &mut random);
            let start = Instant::now();
            let result = decode(Input::Bytes(bytes.into()), &settings);
            slowest = slowest.max(start.elapsed());
            assert!(start.elapsed() < Duration::from_secs(30), "{name}, round {round}: {:?}", start.elapsed());
            match result {
                Ok(audio) => {
                    assert!(audio.samples.iter().all(|sample| (-1.0..=1.0).contains(sample)), "{name}, round {round}");
                    decoded += 1;
                }
                Err(error) => {
                    report(name, round, &error);
                    refused += 1;
                }
            }
        }
    }
    let (parent, child) = peaks();
    println!("damaged: {} {decoded} {refused} {} {parent} {child}", decoded + refused, slowest.as_secs_f64());
}

/// Errors are one line; those about the decoder itself would be mistakes of this program.
fn report(name: &str, round: usize, error: &AudioError) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "{text}");
    assert!(!matches!(error, AudioError::Start { .. } | AudioError::Cancelled), "{name}, round {round}: {text}");
    if matches!(error, AudioError::Worker(_) | AudioError::Memory { .. } | AudioError::CpuTime { .. }) {
        eprintln!("{name}, round {round}: {text}");
    }
}

/// A file that claims to be enormous costs nothing before its first sample.
#[test]
fn declared_sizes_are_not_believed() {
    let mut flac = b"fLaC\x80\0\0\x22\x10\0\x10\0\0\0\0\0\0\0".to_vec();
    // 655350 Hz, 8 channels, 32 bits, 2^36 - 1 samples.
    flac.extend([0x9F, 0xFF, 0x6F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    flac.extend([0; 16]);
    let mut riff = wav_f32(&[0.1; 100], 768_000, 26);
    riff[40..44].copy_from_slice(&[0xFE, 0xFF, 0xFF, 0xFF]);
    let start = Instant::now();
    for bytes in [flac, riff, b"\0\0\0\x01mdat\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xF0".to_vec()] {
        let _ = decode(Input::Bytes(bytes.into()), &settings());
    }
    assert!(start.elapsed() < Duration::from_secs(60));
}
