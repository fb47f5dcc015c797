//! High-efficiency AAC: recognised, because the built-in decoder knows only the low-complexity core.
//!
//! HE-AAC is an AAC-LC stream at half the rate plus a description of the upper half of the spectrum (SBR), and in
//! version 2 of the stereo image (PS). The core alone is right in time and in pitch; it only lacks what lies above the
//! crossover frequency.

use symphonia::core::codecs::audio::AudioCodecParameters;

/// Object types of ISO/IEC 14496-3, table 1.17.
const LOW_COMPLEXITY: u32 = 2;
const SBR: u32 = 5;
const PARAMETRIC_STEREO: u32 = 29;
/// Marks a backward-compatible extension after the core's configuration (14496-3, 1.6.6).
const SYNC_EXTENSION: u32 = 0x2B7;
/// Streams need not say that they carry SBR. The core of one that does runs at half of 48 kHz at most, Hz.
const MAX_CORE_RATE: u32 = 24_000;

/// Whether a stream has an SBR layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sbr {
    No,
    /// Not signalled, but at this rate it may be there.
    Possible,
    Yes,
}

/// What the headers say about an SBR layer.
pub(super) fn sbr(params: &AudioCodecParameters) -> Sbr {
    match params.extra_data.as_deref().and_then(Config::read) {
        Some(Config { sbr: Some(true), .. }) => Sbr::Yes,
        Some(Config { sbr: Some(false), .. }) => Sbr::No,
        _ if params.sample_rate.is_some_and(|rate| rate <= MAX_CORE_RATE) => Sbr::Possible,
        _ => Sbr::No,
    }
}

/// Parameters that decode the core alone; `None` when the core is not AAC-LC.
pub(super) fn core(params: &AudioCodecParameters) -> Option<AudioCodecParameters> {
    let Some(extra) = params.extra_data.as_deref() else { return Some(params.clone()) };
    let config = Config::read(extra)?;
    if config.object_type != LOW_COMPLEXITY || config.rate_index > 12 {
        return None;
    }
    // Object type (5 bits), rate index (4), channels (4), and three flags that are all zero.
    let bits = (LOW_COMPLEXITY << 11 | config.rate_index << 7 | config.channels << 3) as u16;
    let mut core = params.clone();
    core.with_extra_data(Box::new(bits.to_be_bytes()));
    Some(core)
}

/// The parts of an AudioSpecificConfig (14496-3, 1.6.2.1) that matter here.
#[derive(Debug, PartialEq)]
struct Config {
    /// Of the core.
    object_type: u32,
    rate_index: u32,
    channels: u32,
    /// `None`: the stream does not say.
    sbr: Option<bool>,
}

impl Config {
    fn read(bytes: &[u8]) -> Option<Config> {
        let mut bits = Bits { bytes, at: 0 };
        let mut object_type = bits.object_type()?;
        let rate_index = bits.rate()?;
        let channels = bits.take(4)?;
        if matches!(object_type, SBR | PARAMETRIC_STEREO) {
            bits.rate()?;
            object_type = bits.object_type()?;
            return Some(Config { object_type, rate_index, channels, sbr: Some(true) });
        }
        Some(Config { object_type, rate_index, channels, sbr: bits.extension() })
    }
}

struct Bits<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn object_type(&mut self) -> Option<u32> {
        match self.take(5)? {
            31 => Some(32 + self.take(6)?),
            kind => Some(kind),
        }
    }

    /// The index; 15 means that the rate itself follows.
    fn rate(&mut self) -> Option<u32> {
        let index = self.take(4)?;
        if index == 15 {
            self.take(24)?;
        }
        Some(index)
    }

    /// After the core's flags: frame length, dependence on a core coder, extension.
    fn extension(&mut self) -> Option<bool> {
        self.take(1)?;
        if self.take(1)? == 1 {
            self.take(14)?;
        }
        self.take(1)?;
        let sync = self.take(11)?;
        if sync != SYNC_EXTENSION || self.object_type()? != SBR {
            return None;
        }
        Some(self.take(1)? == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signalling_is_read_in_all_its_forms() {
        let read = |bytes: &[u8]| Config::read(bytes).map(|config| (config.object_type, config.sbr));
        // Plain LC, 44.1 kHz stereo: 00010 0100 0010 000.
        assert_eq!(read(&[0x12, 0x10]), Some((2, None)));
        // Explicit HE-AAC, core 22.05 kHz, output 44.1 kHz: 00101 0111 0010 0100 00010 ...
        assert_eq!(read(&[0x2B, 0x92, 0x08, 0x00]), Some((2, Some(true))));
        // HE-AAC v2.
        assert_eq!(read(&[0xEB, 0x8A, 0x08, 0x00]), Some((2, Some(true))));
        // Backward-compatible: LC at 22.05 kHz, sync 0x2B7, SBR present / absent.
        assert_eq!(read(&[0x13, 0x90, 0x56, 0xE5, 0xA0]), Some((2, Some(true))));
        assert_eq!(read(&[0x13, 0x90, 0x56, 0xE5, 0x20]), Some((2, Some(false))));
        assert_eq!(read(&[0x12]), None);
    }

    #[test]
    fn the_core_of_an_explicit_stream_is_plain_aac() {
        let mut params = AudioCodecParameters::new();
        params.with_extra_data(Box::new([0x2B, 0x92, 0x08, 0x00]));
        assert_eq!(sbr(&params), Sbr::Yes);
        let core = core(&params).unwrap();
        assert_eq!(core.extra_data.as_deref(), Some([0x13, 0x90].as_slice()));
    }
}
