//! The one part of Matroska that symphonia 0.6 leaves out and that changes the length: the padding which the encoder
//! added to the last block (DiscardPadding, RFC 9559 section 5.1.3.5.7).
//!
//! Cluster headers are walked by seeking; only the last cluster is looked into. Live recordings have clusters of
//! unknown size and no padding: they are left alone.

use std::io::{self, Read, Seek, SeekFrom};

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const CLUSTER: u32 = 0x1F43_B675;
const BLOCK_GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
const DISCARD_PADDING: u32 = 0x75A2;

/// Elements looked at before giving up: a day of one-second clusters.
const MAX_ELEMENTS: usize = 100_000;
/// A codec frame is at most 120 ms (Opus); more is no padding.
const MAX_PADDING: f64 = 0.25;

/// Seconds to drop from the end, a track number each; the last block of a track counts.
pub(super) fn end_paddings(file: &mut (impl Read + Seek)) -> Vec<(u64, f64)> {
    let mut found = find(file).unwrap_or_default();
    found.retain(|(_, padding)| (0.0..MAX_PADDING).contains(padding));
    found
}

fn find(file: &mut (impl Read + Seek)) -> io::Result<Vec<(u64, f64)>> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut at = 0;
    let mut last_cluster = None;
    for _ in 0..MAX_ELEMENTS {
        let Some(element) = element(file, at, end)? else { break };
        match element.id {
            // Into the segment, past everything else.
            SEGMENT => at = element.start,
            EBML => at = element.end,
            CLUSTER => {
                last_cluster = Some((element.start, element.end));
                at = element.end;
            }
            _ => at = element.end,
        }
    }
    let Some((mut at, end)) = last_cluster else { return Ok(Vec::new()) };
    let mut paddings: Vec<(u64, f64)> = Vec::new();
    for _ in 0..MAX_ELEMENTS {
        let Some(element) = element(file, at, end)? else { break };
        if element.id == BLOCK_GROUP
            && let Some((number, padding)) = group(file, &element)?
        {
            paddings.retain(|(known, _)| *known != number);
            paddings.push((number, padding));
        }
        at = element.end;
    }
    Ok(paddings)
}

/// Track number and padding of one block group.
fn group(file: &mut (impl Read + Seek), group: &Element) -> io::Result<Option<(u64, f64)>> {
    let (mut at, mut number, mut padding) = (group.start, None, 0.0);
    while let Some(element) = element(file, at, group.end)? {
        match element.id {
            BLOCK => {
                file.seek(SeekFrom::Start(element.start))?;
                number = Some(vint(file, Marker::Drop)?.0);
            }
            DISCARD_PADDING if (1..=8).contains(&(element.end - element.start)) => {
                file.seek(SeekFrom::Start(element.start))?;
                let mut bytes = vec![0; (element.end - element.start) as usize];
                file.read_exact(&mut bytes)?;
                let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
                // Nanoseconds, signed, big-endian.
                let value = bytes.iter().fold(sign, |value: i64, byte| value << 8 | i64::from(*byte));
                padding = value as f64 / 1e9;
            }
            _ => {}
        }
        at = element.end;
    }
    Ok(number.map(|number| (number, padding)))
}

struct Element {
    id: u32,
    start: u64,
    end: u64,
}

/// The element at an offset; `None` at the end, or where the size is unknown (of anything but a segment).
fn element(file: &mut (impl Read + Seek), at: u64, end: u64) -> io::Result<Option<Element>> {
    if at + 2 > end {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(at))?;
    let (id, id_length) = vint(file, Marker::Keep)?;
    let (size, size_length) = vint(file, Marker::Drop)?;
    let Ok(id) = u32::try_from(id) else { return Ok(None) };
    let start = at + id_length + size_length;
    let unknown = size == (1 << (7 * size_length)) - 1;
    if unknown && id != SEGMENT {
        return Ok(None);
    }
    let stop = if unknown { end } else { start.saturating_add(size).min(end) };
    Ok((stop > at).then_some(Element { id, start, end: stop }))
}

/// Whether the length marker belongs to the value: in ids it does, in sizes it does not.
#[derive(Clone, Copy, PartialEq)]
enum Marker {
    Keep,
    Drop,
}

/// A variable-length integer and its length in bytes (RFC 8794 section 4).
fn vint(file: &mut impl Read, marker: Marker) -> io::Result<(u64, u64)> {
    let mut first = [0];
    file.read_exact(&mut first)?;
    let length = first[0].leading_zeros() as usize + 1;
    if length > 8 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mask = if marker == Marker::Drop { (0x7F_u16 >> (length - 1)) as u8 } else { 0xFF };
    let mut rest = [0; 7];
    file.read_exact(&mut rest[..length - 1])?;
    let value = rest[..length - 1].iter().fold(u64::from(first[0] & mask), |value, byte| value << 8 | u64::from(*byte));
    Ok((value, length as u64))
}
