//! Three hours in bounded memory. Measured in a process of its own, so that other tests do not count.

use crate::audio_support::*;
use bestbox::audio::{Input, open};
use nix::sys::resource::{UsageWho, getrusage};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

const FILE: &str = "BESTBOX_TEST_AUDIO_FILE";

/// Runs one of the ignored functions of this binary in its own process; what it printed after `marker`.
pub fn in_own_process(function: &str, file: &std::path::Path, marker: &str) -> Vec<f64> {
    let output = own_process(function, file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|line| line.split_once(marker)).unwrap_or_else(|| panic!("no {marker} in {text}"));
    line.1.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// One of the ignored functions of this binary, to be started.
pub fn own_process(function: &str, file: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", function, "--ignored", "--nocapture"]).env(FILE, file);
    command
}

/// The file that [`in_own_process`] was given; `None` when an ignored function is run by hand.
pub fn given_file() -> Option<PathBuf> {
    std::env::var_os(FILE).map(PathBuf::from)
}

/// Peak resident memory, megabytes: of this process, and of the largest child so far.
pub fn peaks() -> (f64, f64) {
    let peak = |who| getrusage(who).unwrap().max_rss() as f64 / 1024.0;
    (peak(UsageWho::RUSAGE_SELF), peak(UsageWho::RUSAGE_CHILDREN))
}

#[test]
#[ignore = "run by the tests of this file"]
fn drain() {
    let Some(file) = given_file() else { return };
    let (before, _) = peaks();
    let mut stream = open(Input::File(file), &settings()).unwrap();
    let mut samples = 0;
    while let Some(block) = stream.next_block().unwrap() {
        samples += block.len();
    }
    drop(stream);
    let (after, child) = peaks();
    println!("drained: {samples} {before} {after} {child}");
}

#[test]
fn three_hours_stay_within_a_window() {
    let long = std::env::var_os("BESTBOX_LONG").is_some();
    let (rate, channels) = if long { (44_100_u32, 2_u16) } else { (16_000, 1) };
    let hours = 3.0;
    let folder = tempfile::tempdir().unwrap();
    // Sparse: three hours of silence take no space.
    let wav = folder.path().join("long.wav");
    std::fs::write(&wav, wav_f32(&[], rate, channels)).unwrap();
    let file = std::fs::File::options().write(true).open(&wav).unwrap();
    file.write_all_at(&[255; 4], 40).unwrap();
    file.set_len(44 + (hours * 3600.0) as u64 * u64::from(rate) * u64::from(channels) * 4).unwrap();
    let numbers = in_own_process("audio_memory::drain", &wav, "drained: ");
    let [samples, before, after, child] = numbers[..] else { panic!("{numbers:?}") };
    println!("3 h: parent {before:.0} to {after:.0} MB, decoder {child:.0} MB");
    assert_eq!(samples, hours * 3600.0 * 16_000.0);
    assert!(after - before < 20.0, "the reader grew from {before} to {after} MB");
    assert!(child < 60.0, "the decoder took {child} MB");
}
