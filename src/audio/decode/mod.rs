//! Bytes to 16 kHz mono, inside the decoder process: sniff, demux, decode, trim, mix, resample. One thread.

mod aac;
mod output;
mod playing;
mod source;

use self::output::{Output, Stop};
use self::playing::{Next, Playing};
use super::protocol::{Failure, Frame, Request, Task, write_frame};
use std::fs::File;
use std::io::{self, Write};
use symphonia::core::errors::Error;

/// Packets that must decode before a file without a signature counts as audio.
const PROOF_PACKETS: u64 = 5;
/// A file this much shorter than its header says was cut, seconds.
const MISSING: f64 = 0.1;

/// Packets decoded, and packets replaced by silence.
#[derive(Default)]
struct Tally {
    good: u64,
    bad: u64,
}

/// Decodes `input` and writes frames, the last of which is `End` or `Failed`.
///
/// # Errors
/// Only the pipe's: the parent is gone.
pub(super) fn run(input: File, request: &Request, out: &mut impl Write) -> io::Result<()> {
    match decode(input, request, out) {
        Ok(note) => write_frame(out, &Frame::End(note)),
        Err(Stop::Failed(failure)) => write_frame(out, &Frame::Failed(failure)),
        Err(Stop::Pipe(error)) => Err(error),
    }
}

fn decode(input: File, request: &Request, out: &mut impl Write) -> Result<Option<String>, Stop> {
    let mut opened = source::open(input)?;
    let mut playing = Playing::first(&opened, request)?;
    let duration = playing.duration(&opened);
    let mut output = Output::new(out, request, playing.format.clone(), duration);
    output.hold_back(playing.end_padding(&opened));
    let mut tally = Tally::default();
    let damage = loop {
        let next = match guarded(|| opened.reader.next_packet()) {
            Ok(Some(packet)) => playing.decode(&packet, &mut tally, &mut output)?,
            Ok(None) => break None,
            Err(Error::ResetRequired) => Next::Restart,
            Err(Error::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                break opened.sized.then(|| "the file ends in the middle of the audio".to_owned());
            }
            Err(error) => break Some(format!("nothing could be read after a damaged place ({error})")),
        };
        // A chained stream: the next link may have another rate or other channels.
        if let Next::Restart = next {
            playing = Playing::first(&opened, request)?;
        }
        if !opened.known && tally.bad > 0 && tally.good < PROOF_PACKETS {
            return Err(Failure::NotAudio("its format is not known".into()).into());
        }
        if request.task == Task::Probe && output.probed()? {
            return Ok(None);
        }
    };
    if tally.good == 0 {
        let failure = match damage {
            _ if tally.bad > 0 => Failure::Corrupt(format!("none of its {} packets decodes", tally.bad)),
            Some(damage) => Failure::Corrupt(damage),
            None if opened.known => Failure::NoSamples(opened.container.into()),
            None => Failure::NotAudio("its format is not known".into()),
        };
        return Err(failure.into());
    }
    let seconds = output.finish()?;
    let missing = duration.filter(|duration| opened.exact && seconds + MISSING < *duration);
    Ok(damage
        .or_else(|| (tally.bad > 0).then(|| format!("{} damaged packets were replaced by silence", tally.bad)))
        .or_else(|| missing.map(|duration| format!("the file ends after {seconds:.1} of {duration:.1} s"))))
}

/// Turns a panic inside a demultiplexer or decoder into an error: what was decoded before is still good. No memory is
/// at risk (their code is safe Rust), and the worst that their half-changed state can do is to fail again.
fn guarded<T>(run: impl FnOnce() -> symphonia::core::errors::Result<T>) -> symphonia::core::errors::Result<T> {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    caught.unwrap_or(Err(Error::DecodeError("a calculation went out of range")))
}
