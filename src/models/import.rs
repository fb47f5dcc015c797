//! Turns a CTranslate2 Whisper folder (what faster-whisper uses) into a ggml file for whisper.cpp.
//!
//! The result is a pure function of the folder and the precision, so an imported model has a SHA-256 of its own.
//! Memory stays at a few megabytes for every size of model.

use super::ct2::{Ct2, Ct2Error};
use super::ggml::{BLOCK, Format, Precision};
use super::mel;
use super::vocabulary::{self, VocabularyError};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Why a folder could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// `model.bin` is missing, damaged or of another kind.
    #[error(transparent)]
    Model(#[from] Ct2Error),
    /// The vocabulary is missing or of another kind.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    /// The result could not be written.
    #[error("cannot write {path}: {source}{hint}", path = .path.display(), hint = super::disk::hint(.source))]
    Write {
        /// The file being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A finished import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The ggml file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// Reads the Whisper model in `folder` (`model.bin` and `vocabulary.txt` or `vocabulary.json`) and writes it to `target` as a ggml file,
/// under a temporary name until it is complete.
/// `go_on` is told (done, all) tensors and answers whether to go on; `None` when it said no.
///
/// # Errors
/// [`ImportError`]; nothing is left at `target` then.
pub fn import(
    folder: &Path,
    target: &Path,
    precision: Precision,
    go_on: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Option<Imported>, ImportError> {
    let mut model = Ct2::open(&folder.join("model.bin"))?;
    let shape = Shape::read(&mut model)?;
    let tensors = tensors(&model, &shape, precision)?;
    let tokens = vocabulary::read(folder, shape.vocabulary)?;

    let part = super::disk::beside(target, "import");
    let write = |source| ImportError::Write { path: target.into(), source };
    let result = (|| {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(write)?;
        }
        let file = File::create(&part).map_err(write)?;
        let mut out = Output { file: BufWriter::with_capacity(1 << 20, file), hash: Sha256::new(), bytes: 0 };
        out.write_all(&header(&shape, precision, &tokens)).map_err(write)?;
        for (done, tensor) in tensors.iter().enumerate() {
            if !go_on(done as u64, tensors.len() as u64) {
                return Ok(None);
            }
            out.write_all(&tensor.header()).map_err(write)?;
            let mut encoded = Vec::new();
            model.rows(&tensor.source, tensor.rows.clone(), |numbers| {
                encoded.clear();
                tensor.format.encode(numbers, &mut encoded);
                out.write_all(&encoded).map_err(write)
            })?;
        }
        let file = out.file.into_inner().map_err(|e| write(e.into_error()))?;
        file.sync_all().map_err(write)?;
        fs::rename(&part, target).map_err(write)?;
        Ok(Some(Imported { path: target.into(), bytes: out.bytes, sha256: super::disk::hex(&out.hash.finalize()) }))
    })();
    if !matches!(result, Ok(Some(_))) {
        // Nothing more can be done about a file that cannot be removed; the next import writes over it.
        _ = fs::remove_file(&part);
    }
    result
}

/// Hyperparameters, all taken from the dimensions of the variables.
struct Shape {
    vocabulary: usize,
    mels: usize,
    state: usize,
    audio_context: usize,
    text_context: usize,
    audio_heads: usize,
    text_heads: usize,
    audio_layers: usize,
    text_layers: usize,
}

/// Whisper's English-only, multilingual, and large-v3 vocabularies; whisper.cpp knows no other.
const VOCABULARIES: std::ops::RangeInclusive<usize> = 51_864..=51_866;
const MAX_LAYERS: usize = 128;
const MAX_STATE: usize = 8_192;
/// Numbers an attention head, in every Whisper size; used where an old folder does not store the count of heads.
const HEAD: usize = 64;

impl Shape {
    fn read(model: &mut Ct2) -> Result<Shape, ImportError> {
        if model.spec != "WhisperSpec" {
            return Err(model.unsupported(format!("it is a {}, not a Whisper model", model.spec)).into());
        }
        let dims = |model: &Ct2, name: &str, rank: usize| -> Result<Vec<usize>, Ct2Error> {
            let dims = model.variable(name)?.dims.clone();
            if dims.len() == rank { Ok(dims) } else { Err(model.unsupported(format!("{name} has the shape {dims:?}"))) }
        };
        let layers = |model: &Ct2, part: &str| {
            (0..MAX_LAYERS).take_while(|i| model.has(&format!("{part}/layer_{i}/ffn/linear_0/weight"))).count()
        };
        let embeddings = dims(model, "decoder/embeddings/weight", 2)?;
        let conv = dims(model, "encoder/conv1/weight", 3)?;
        let audio = dims(model, "encoder/position_encodings/encodings", 2)?;
        let text = dims(model, "decoder/position_encodings/encodings", 2)?;
        let state = embeddings[1];
        let shape = Shape {
            vocabulary: embeddings[0],
            mels: conv[1],
            state,
            audio_context: audio[0],
            text_context: text[0],
            audio_heads: heads(model, "encoder", state)?,
            text_heads: heads(model, "decoder", state)?,
            audio_layers: layers(model, "encoder"),
            text_layers: layers(model, "decoder"),
        };
        let bad = if !VOCABULARIES.contains(&shape.vocabulary) {
            format!("it knows {} tokens; a Whisper model knows 51864, 51865 or 51866", shape.vocabulary)
        } else if ![80, 128].contains(&shape.mels) {
            format!("it hears {} mel bands; a Whisper model hears 80 or 128", shape.mels)
        } else if state == 0 || state > MAX_STATE || !state.is_multiple_of(BLOCK) {
            format!("its width is {state}; it must be a multiple of {BLOCK} up to {MAX_STATE}")
        } else if shape.audio_layers == 0 || shape.text_layers == 0 {
            "it has no encoder or no decoder layers".into()
        } else if !(1..=16_384).contains(&shape.audio_context) || !(1..=16_384).contains(&shape.text_context) {
            format!("its contexts are {} and {}", shape.audio_context, shape.text_context)
        } else {
            return Ok(shape);
        };
        Err(model.unsupported(bad).into())
    }
}

fn heads(model: &mut Ct2, part: &str, state: usize) -> Result<usize, Ct2Error> {
    let name = format!("{part}/num_heads");
    let count = if model.has(&name) { model.scalar(&name)? as usize } else { state / HEAD };
    if count == 0 || !state.is_multiple_of(count) {
        return Err(model.unsupported(format!("{part} has {count} attention heads for a width of {state}")));
    }
    Ok(count)
}

/// Part of a CTranslate2 variable that becomes one ggml tensor.
struct Tensor {
    name: String,
    source: String,
    rows: std::ops::Range<usize>,
    /// Row-major, slowest first.
    dims: Vec<usize>,
    format: Format,
}

impl Tensor {
    /// i32 rank, i32 length of the name, i32 type, dimensions fastest first, name.
    fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [self.dims.len() as i32, self.name.len() as i32, self.format.id()] {
            out.extend(number.to_le_bytes());
        }
        self.dims.iter().rev().for_each(|&d| out.extend((d as i32).to_le_bytes()));
        out.extend(self.name.as_bytes());
        out
    }
}

/// Builds the list of tensors, each checked against the model.
struct Plan<'a> {
    model: &'a Ct2,
    matrix: Format,
    tensors: Vec<Tensor>,
}

impl Plan<'_> {
    /// Rows from `first` of `source`, which must hold `all` rows, as `name` with the shape `dims`.
    fn add(
        &mut self,
        name: String,
        source: String,
        (first, all): (usize, usize),
        dims: &[usize],
        format: Format,
    ) -> Result<(), Ct2Error> {
        let actual = &self.model.variable(&source)?.dims;
        let mut expected = dims.to_vec();
        expected[0] = all;
        // A bias of a convolution is [n] in CTranslate2 and [n, 1] in ggml.
        let same = actual == &expected || (actual.len() == 1 && expected == [actual[0], 1]);
        if !same {
            return Err(self.model.unsupported(format!("{source} has the shape {actual:?}, not {expected:?}")));
        }
        self.tensors.push(Tensor { name, source, rows: first..first + dims[0], dims: dims.to_vec(), format });
        Ok(())
    }

    /// A layer norm.
    fn norm(&mut self, name: &str, source: &str, state: usize) -> Result<(), Ct2Error> {
        self.add(format!("{name}.weight"), format!("{source}/gamma"), (0, state), &[state], Format::F32)?;
        self.add(format!("{name}.bias"), format!("{source}/beta"), (0, state), &[state], Format::F32)
    }

    /// A dense layer that is slice `part` of `parts` equal slices of rows.
    fn dense(
        &mut self,
        name: &str,
        source: &str,
        (part, parts): (usize, usize),
        (height, width): (usize, usize),
    ) -> Result<(), Ct2Error> {
        let rows = (part * height, parts * height);
        let matrix = self.matrix;
        self.add(format!("{name}.weight"), format!("{source}/weight"), rows, &[height, width], matrix)?;
        // Attention keys have no bias in ggml. CTranslate2 stores zeros; any value would cancel in the softmax.
        if name.ends_with(".key") {
            return Ok(());
        }
        self.add(format!("{name}.bias"), format!("{source}/bias"), rows, &[height], Format::F32)
    }

    /// The transformer blocks of the encoder or decoder, `n` wide.
    fn blocks(&mut self, part: &str, layers: usize, n: usize) -> Result<(), Ct2Error> {
        for i in 0..layers {
            let (to, from) = (format!("{part}.blocks.{i}"), format!("{part}/layer_{i}"));
            self.norm(&format!("{to}.mlp_ln"), &format!("{from}/ffn/layer_norm"), n)?;
            self.dense(&format!("{to}.mlp.0"), &format!("{from}/ffn/linear_0"), (0, 1), (4 * n, n))?;
            self.dense(&format!("{to}.mlp.2"), &format!("{from}/ffn/linear_1"), (0, 1), (n, 4 * n))?;
            let attention = format!("{from}/self_attention");
            self.norm(&format!("{to}.attn_ln"), &format!("{attention}/layer_norm"), n)?;
            for (k, name) in ["query", "key", "value"].iter().enumerate() {
                self.dense(&format!("{to}.attn.{name}"), &format!("{attention}/linear_0"), (k, 3), (n, n))?;
            }
            self.dense(&format!("{to}.attn.out"), &format!("{attention}/linear_1"), (0, 1), (n, n))?;
            if part == "encoder" {
                continue;
            }
            let attention = format!("{from}/attention");
            self.norm(&format!("{to}.cross_attn_ln"), &format!("{attention}/layer_norm"), n)?;
            self.dense(&format!("{to}.cross_attn.query"), &format!("{attention}/linear_0"), (0, 1), (n, n))?;
            self.dense(&format!("{to}.cross_attn.key"), &format!("{attention}/linear_1"), (0, 2), (n, n))?;
            self.dense(&format!("{to}.cross_attn.value"), &format!("{attention}/linear_1"), (1, 2), (n, n))?;
            self.dense(&format!("{to}.cross_attn.out"), &format!("{attention}/linear_2"), (0, 1), (n, n))?;
        }
        Ok(())
    }
}

/// The tensors in the order of OpenAI's checkpoints, so that importing Whisper's own weights gives, byte for byte, the
/// files that whisper.cpp's converter and quantiser made of them.
fn tensors(model: &Ct2, shape: &Shape, precision: Precision) -> Result<Vec<Tensor>, Ct2Error> {
    let matrix = match precision {
        Precision::F16 => Format::F16,
        Precision::Q8_0 => Format::Q8_0,
    };
    let mut plan = Plan { model, matrix, tensors: Vec::new() };
    let n = shape.state;
    for (part, context) in [("decoder", shape.text_context), ("encoder", shape.audio_context)] {
        let source = format!("{part}/position_encodings/encodings");
        plan.add(format!("{part}.positional_embedding"), source, (0, context), &[context, n], Format::F32)?;
    }
    plan.add(
        "decoder.token_embedding.weight".into(),
        "decoder/embeddings/weight".into(),
        (0, shape.vocabulary),
        &[shape.vocabulary, n],
        matrix,
    )?;
    plan.blocks("decoder", shape.text_layers, n)?;
    plan.norm("decoder.ln", "decoder/layer_norm", n)?;
    // whisper.cpp keeps convolutions in half precision whatever the matrices are.
    for (conv, inputs) in [("conv1", shape.mels), ("conv2", n)] {
        let source = format!("encoder/{conv}");
        plan.add(
            format!("{source}.weight").replace('/', "."),
            format!("{source}/weight"),
            (0, n),
            &[n, inputs, 3],
            Format::F16,
        )?;
        plan.add(format!("{source}.bias").replace('/', "."), format!("{source}/bias"), (0, n), &[n, 1], Format::F32)?;
    }
    plan.blocks("encoder", shape.audio_layers, n)?;
    plan.norm("encoder.ln_post", "encoder/layer_norm", n)?;
    Ok(plan.tensors)
}

/// Magic, hyperparameters, mel filters, tokens.
fn header(shape: &Shape, precision: Precision, tokens: &[Vec<u8>]) -> Vec<u8> {
    // ggml's quantisation version 2 times its factor 1000, plus GGML_FTYPE_MOSTLY_Q8_0; plain 1 is mostly f16.
    let kind = match precision {
        Precision::F16 => 1,
        Precision::Q8_0 => 2_007,
    };
    let numbers = [
        0x6767_6d6c, // "ggml"
        shape.vocabulary,
        shape.audio_context,
        shape.state,
        shape.audio_heads,
        shape.audio_layers,
        shape.text_context,
        shape.state,
        shape.text_heads,
        shape.text_layers,
        shape.mels,
        kind,
        shape.mels,
        mel::BINS,
    ];
    let mut out = Vec::with_capacity(1 << 20);
    // Every one of them was checked to be far below i32::MAX.
    numbers.iter().for_each(|&x| out.extend((x as i32).to_le_bytes()));
    Format::F32.encode(&mel::filters(shape.mels), &mut out);
    out.extend((tokens.len() as i32).to_le_bytes());
    for token in tokens {
        out.extend((token.len() as i32).to_le_bytes());
        out.extend(token);
    }
    out
}

/// Hashes what is written.
struct Output {
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
