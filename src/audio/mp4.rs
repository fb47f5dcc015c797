//! The parts of MP4 and QuickTime headers that symphonia 0.6 leaves out: edit lists, and codecs it has no name for.
//!
//! The edit list is where AAC and Opus keep the encoder's start-up delay (ISO/IEC 14496-12, 8.6.6). Only headers are
//! read; everything else is skipped by seeking.

use std::io::{self, Read, Seek, SeekFrom};

/// Boxes looked at before giving up.
const MAX_BOXES: usize = 10_000;
/// Nesting of the boxes followed here: moov/trak/mdia/minf/stbl/stsd.
const MAX_DEPTH: usize = 6;

/// The first sound track.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SoundTrack {
    pub id: u32,
    /// Four-character code of the codec.
    pub codec: [u8; 4],
    /// Ticks a second of the media.
    pub timescale: u32,
    /// Ticks at the start that are not part of the presentation.
    pub skip: u64,
    /// Seconds of the presentation, where the edit list says.
    pub length: Option<f64>,
}

/// Finds the first sound track; `None` when there is none or the headers make no sense.
pub(super) fn sound_track(file: &mut (impl Read + Seek)) -> Option<SoundTrack> {
    let end = file.seek(SeekFrom::End(0)).ok()?;
    let mut walk = Walk { file, boxes: 0, movie_timescale: 0, track: Track::default(), found: None };
    // What stands before a damaged box is still true.
    let _ = walk.children(0, end, 0);
    walk.found
}

#[derive(Default)]
struct Track {
    sound: SoundTrack,
    is_sound: bool,
    /// Edit: media time in ticks of the media, length in ticks of the movie.
    edit: Option<(u64, u64)>,
}

struct Walk<'f, F> {
    file: &'f mut F,
    boxes: usize,
    movie_timescale: u32,
    track: Track,
    found: Option<SoundTrack>,
}

impl<F: Read + Seek> Walk<'_, F> {
    fn children(&mut self, mut at: u64, end: u64, depth: usize) -> io::Result<()> {
        while at + 8 <= end && self.found.is_none() {
            self.boxes += 1;
            if self.boxes > MAX_BOXES || depth > MAX_DEPTH {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.file.seek(SeekFrom::Start(at))?;
            let mut head = [0; 8];
            self.file.read_exact(&mut head)?;
            let (size, mut start) = (u64::from(be32(&head, 0)), at + 8);
            let size = match size {
                0 => end - at,
                1 => {
                    start += 8;
                    self.read::<8>().map(u64::from_be_bytes)?
                }
                size => size,
            };
            let next = at.checked_add(size).filter(|next| *next >= start).ok_or(io::ErrorKind::InvalidData)?;
            self.enter(&head[4..8], start, next.min(end), depth)?;
            at = next;
        }
        Ok(())
    }

    fn enter(&mut self, name: &[u8], start: u64, end: u64, depth: usize) -> io::Result<()> {
        match name {
            b"moov" | b"mdia" | b"minf" | b"stbl" | b"edts" => self.children(start, end, depth + 1)?,
            b"trak" => {
                self.track = Track::default();
                self.children(start, end, depth + 1)?;
                self.finish_track();
            }
            b"mvhd" => self.movie_timescale = self.timescale()?,
            b"mdhd" => self.track.sound.timescale = self.timescale()?,
            b"tkhd" => {
                let bytes = self.read::<24>()?;
                self.track.sound.id = be32(&bytes, if bytes[0] == 1 { 20 } else { 12 });
            }
            b"hdlr" => {
                let handler = self.read::<12>()?;
                // A second handler box, of the data, follows in QuickTime files.
                self.track.is_sound |= handler[8..] == *b"soun";
            }
            b"stsd" => {
                let entry = self.read::<16>()?;
                self.track.sound.codec.copy_from_slice(&entry[12..]);
            }
            b"elst" => self.edit_list()?,
            _ => {}
        }
        Ok(())
    }

    /// Of `mvhd` and `mdhd`: after version, flags and two times of 4 or 8 bytes.
    fn timescale(&mut self) -> io::Result<u32> {
        let bytes = self.read::<24>()?;
        Ok(be32(&bytes, if bytes[0] == 1 { 20 } else { 12 }))
    }

    /// The first edit that plays media. Empty edits (media time -1) before it only shift the track.
    fn edit_list(&mut self) -> io::Result<()> {
        let head = self.read::<8>()?;
        for _ in 0..be32(&head, 4).min(16) {
            let (length, time) = if head[0] == 1 {
                let bytes = self.read::<20>()?;
                (be64(&bytes, 0), be64(&bytes, 8).cast_signed())
            } else {
                let bytes = self.read::<12>()?;
                (u64::from(be32(&bytes, 0)), i64::from(be32(&bytes, 4).cast_signed()))
            };
            if let Ok(time) = u64::try_from(time) {
                self.track.edit = Some((time, length));
                break;
            }
        }
        Ok(())
    }

    fn finish_track(&mut self) {
        let Track { mut sound, is_sound, edit } = std::mem::take(&mut self.track);
        if !is_sound || sound.timescale == 0 {
            return;
        }
        if let Some((time, length)) = edit {
            sound.skip = time;
            let seconds = length as f64 / f64::from(self.movie_timescale);
            sound.length = Some(seconds).filter(|seconds| seconds.is_finite() && *seconds > 0.0);
        }
        self.found = Some(sound);
    }

    fn read<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}
