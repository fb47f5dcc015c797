//! The number formats of a ggml file: f32, f16 and q8_0 out of f32.

use serde::{Deserialize, Serialize};

/// How the matrices of an imported model are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Half precision: what the model was trained in.
    #[serde(rename = "f16")]
    F16,
    /// 8 bits a weight in blocks of 32 with one scale: half the size, the fastest on a CPU, no measurable loss.
    #[serde(rename = "q8_0")]
    Q8_0,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F16 => "f16",
            Precision::Q8_0 => "q8_0",
        })
    }
}

impl std::str::FromStr for Precision {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f16" => Ok(Precision::F16),
            "q8_0" => Ok(Precision::Q8_0),
            _ => Err(format!("{text} is not a type of model: use f16 or q8_0")),
        }
    }
}

/// How one tensor is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 32-bit float.
    F32,
    /// Half precision.
    F16,
    /// Blocks of [`BLOCK`] bytes-with-a-scale.
    Q8_0,
}

/// Numbers in a q8_0 block; rows must be a multiple of it.
pub const BLOCK: usize = 32;

impl Format {
    /// ggml's `ggml_type`.
    pub fn id(self) -> i32 {
        match self {
            Format::F32 => 0,
            Format::F16 => 1,
            Format::Q8_0 => 8,
        }
    }

    /// Appends `numbers` to `out`. For q8_0 their count is a multiple of [`BLOCK`].
    pub fn encode(self, numbers: &[f32], out: &mut Vec<u8>) {
        match self {
            Format::F32 => out.extend(numbers.iter().flat_map(|x| x.to_le_bytes())),
            Format::F16 => out.extend(numbers.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes())),
            Format::Q8_0 => numbers.as_chunks::<BLOCK>().0.iter().for_each(|block| q8_0(block, out)),
        }
    }
}

/// One block, the same bits as ggml's `quantize_row_q8_0_ref`: the scale maps the largest magnitude to 127, halves
/// round away from zero, and the numbers are divided by the scale before it is rounded to half precision.
fn q8_0(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    let largest = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out.extend(half::f16::from_f32(scale).to_le_bytes());
    out.extend(block.iter().map(|x| ((x * inverse).round() as i8).cast_unsigned()));
}
