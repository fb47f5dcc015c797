//! The header of a GGUF file: what a model takes in memory, without loading it.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. The file may come from anywhere, so every count
//! is bounded before anything is allocated for it, and strings and arrays that are not needed are skipped.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// More than any model has (DeepSeek-V3: 1,086 tensors, 61 keys of its own).
const MAX_ENTRIES: u64 = 1 << 16;
/// Longest name of a key or tensor; the format says 65,535.
const MAX_NAME: u64 = 1 << 16;
/// Most elements of an array (vocabularies have up to 260,000 entries).
const MAX_ELEMENTS: u64 = 1 << 24;
/// Most bytes of a header: the largest vocabulary with merges is 20 MB.
const MAX_HEADER: u64 = 512 << 20;
/// Most parts of a split model.
const MAX_PARTS: u32 = 1000;

/// Why a file cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// Cannot be read at all.
    #[error("cannot read the model {}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// Not such a file, or a damaged one.
    #[error("{} is not a usable GGUF model: {reason}; fetch it again", path.display())]
    Bad { path: PathBuf, reason: String },
}

/// What a header says, as far as memory is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gguf {
    /// Such as `qwen2`.
    pub architecture: String,
    /// Bytes of all tensors, all parts of a split model together.
    pub weights: u64,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// Transformer blocks.
    pub layers: u32,
    /// Heads of keys and values, one entry a layer.
    pub kv_heads: Vec<u32>,
    /// Numbers of a key of one head.
    pub key_length: u32,
    /// Numbers of a value of one head.
    pub value_length: u32,
    /// Width of a layer.
    pub embedding: u32,
    /// Width of the feed-forward part (the largest).
    pub feed_forward: u32,
    /// Tokens the model was trained on at once; 0 where it does not say.
    pub trained_context: u32,
    /// Entries of the vocabulary; 0 where it does not say.
    pub vocabulary: u64,
    /// Whether part of the layers remember less than all tokens (sliding windows, recurrent layers).
    pub partial_memory: bool,
}

/// Numbers of a key-value cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheType {
    /// Bytes of a block.
    bytes: u64,
    /// Numbers of a block.
    block: u64,
}

impl CacheType {
    /// What llama-server takes when nothing is said.
    pub const F16: CacheType = CacheType { bytes: 2, block: 1 };
    /// Half of that.
    pub const Q8_0: CacheType = CacheType { bytes: 34, block: 32 };

    /// By llama.cpp's name.
    pub fn named(name: &str) -> Option<Self> {
        let (bytes, block) = match name {
            "f32" => (4, 1),
            "f16" | "bf16" => (2, 1),
            "q8_0" => (34, 32),
            "q5_0" => (22, 32),
            "q5_1" => (24, 32),
            "q4_0" | "iq4_nl" => (18, 32),
            "q4_1" => (20, 32),
            _ => return None,
        };
        Some(CacheType { bytes, block })
    }
}

impl Gguf {
    /// Bytes of keys and values for `tokens` tokens, all layers together. An upper bound where layers remember less.
    ///
    /// llama.cpp allocates cells in steps of 256 (`llama_kv_cache`).
    pub fn cache_bytes(&self, tokens: u64, keys: CacheType, values: CacheType) -> u64 {
        let cells = tokens.div_ceil(256) * 256;
        let of = |heads: u32, length: u32, kind: CacheType| {
            u64::from(heads) * u64::from(length) * cells / kind.block * kind.bytes
        };
        self.kv_heads
            .iter()
            .map(|heads| of(*heads, self.key_length, keys) + of(*heads, self.value_length, values))
            .sum()
    }

    /// Bytes for intermediate results, estimated: for each of the 512 tokens of a batch four times the feed-forward
    /// width and twice the layer's in 32-bit floats, and its mask over `tokens` in 16-bit ones. llama-server logged 39.5,
    /// 72.5 and 17.6 MiB where this says 45.5, 84.0 and 18.3 (Qwen2.5 0.5B at 4096, 1.5B at 8192, SmolLM2 135M at 4096).
    pub fn compute_bytes(&self, tokens: u64) -> u64 {
        const BATCH: u64 = 512;
        BATCH * (4 * (4 * u64::from(self.feed_forward) + 2 * u64::from(self.embedding)) + 2 * tokens)
    }
}

/// Reads the header of `path`, and of the other parts where the model is split.
///
/// # Errors
/// When a file cannot be read, or makes no sense.
pub fn read(path: &Path) -> Result<Gguf, GgufError> {
    let (mut model, parts) = read_one(path)?;
    for other in other_parts(path, parts) {
        let part = read_one(&other)?.0;
        model.weights = model.weights.saturating_add(part.weights);
        model.parameters = model.parameters.saturating_add(part.parameters);
    }
    if model.layers == 0 || model.kv_heads.len() != model.layers as usize {
        let reason = "it does not say how many layers it has".to_owned();
        return Err(GgufError::Bad { path: path.to_path_buf(), reason });
    }
    Ok(model)
}

/// `x-00001-of-00003.gguf` and how many there are to the paths of the others.
fn other_parts(path: &Path, parts: u32) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let suffix = format!("-00001-of-{parts:05}.gguf");
    match name.strip_suffix(&suffix) {
        Some(stem) if parts > 1 => {
            (2..=parts).map(|part| path.with_file_name(format!("{stem}-{part:05}-of-{parts:05}.gguf"))).collect()
        }
        _ => Vec::new(),
    }
}

fn read_one(path: &Path) -> Result<(Gguf, u32), GgufError> {
    let io = |source| GgufError::Io { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut reader = Reader { file: BufReader::with_capacity(1 << 16, file), at: 0, end: length.min(MAX_HEADER) };
    reader.model(length).map_err(|fault| match fault {
        Fault::Io(source) => io(source),
        Fault::Bad(reason) => GgufError::Bad { path: path.to_path_buf(), reason },
    })
}

enum Fault {
    Io(std::io::Error),
    Bad(String),
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Self {
        Fault::Bad(reason.to_owned())
    }
}

/// A value that may matter here.
enum Value {
    Number(u64),
    Numbers(Vec<u64>),
    Text(String),
    /// Elements of an array that is skipped.
    Skipped(u64),
    Other,
}

struct Reader {
    file: BufReader<File>,
    at: u64,
    end: u64,
}

impl Reader {
    fn model(&mut self, length: u64) -> Result<(Gguf, u32), Fault> {
        if self.bytes::<4>()? != *b"GGUF" {
            return Err("it does not begin with GGUF".into());
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(Fault::Bad(format!("its version is {version}, not 2 or 3")));
        }
        let tensors = self.count("tensors", MAX_ENTRIES)?;
        let keys = self.count("keys", MAX_ENTRIES)?;
        let mut values = HashMap::new();
        for _ in 0..keys {
            let key = self.name()?;
            let value = self.value()?;
            values.insert(key, value);
        }
        let mut weights = 0u64;
        let (mut furthest, mut parameters) = (0u64, 0u64);
        for _ in 0..tensors {
            self.name()?;
            let dimensions = self.u32()?;
            if dimensions > 8 {
                return Err(Fault::Bad(format!("a tensor has {dimensions} dimensions")));
            }
            let mut elements = 1u64;
            for _ in 0..dimensions {
                elements = elements.checked_mul(self.u64()?).ok_or("a tensor is larger than any memory")?;
            }
            let kind = self.u32()?;
            furthest = furthest.max(self.u64()?);
            let (bytes, block) = tensor_type(kind).unwrap_or((1, 1));
            parameters = parameters.saturating_add(elements);
            weights = weights.saturating_add((elements / block).saturating_mul(bytes));
        }
        if furthest > length || weights > length.saturating_mul(2) {
            return Err("its tensors lie beyond its end, so it is cut short".into());
        }
        // All that follows the header is tensors; that counts types that are not known here as well.
        let (model, parts) = shape(&values, length.saturating_sub(self.at));
        Ok((Gguf { parameters, ..model }, parts))
    }

    fn value(&mut self) -> Result<Value, Fault> {
        let kind = self.u32()?;
        match kind {
            8 => {
                let length = self.count("bytes of a text", MAX_HEADER)?;
                if length > 256 {
                    self.skip(length)?;
                    return Ok(Value::Other);
                }
                Ok(Value::Text(self.text(length)?))
            }
            9 => {
                let kind = self.u32()?;
                let length = self.count("elements of a list", MAX_ELEMENTS)?;
                if kind == 8 {
                    for _ in 0..length {
                        let bytes = self.count("bytes of a text", MAX_HEADER)?;
                        self.skip(bytes)?;
                    }
                    return Ok(Value::Skipped(length));
                }
                let size = scalar_size(kind).ok_or("a list of lists, or of an unknown type")?;
                // One number a layer is what matters; vocabularies are not.
                if length > 4096 || !matches!(kind, 4 | 5 | 7 | 10 | 11) {
                    self.skip(length * size)?;
                    return Ok(Value::Skipped(length));
                }
                (0..length).map(|_| self.scalar(kind)).collect::<Result<_, _>>().map(Value::Numbers)
            }
            kind => {
                let size =
                    scalar_size(kind).ok_or_else(|| Fault::Bad(format!("a value has the unknown type {kind}")))?;
                if matches!(kind, 6 | 12) {
                    self.skip(size)?;
                    return Ok(Value::Other);
                }
                self.scalar(kind).map(Value::Number)
            }
        }
    }

    fn scalar(&mut self, kind: u32) -> Result<u64, Fault> {
        Ok(match scalar_size(kind) {
            Some(1) => u64::from(self.bytes::<1>()?[0]),
            Some(2) => u64::from(u16::from_le_bytes(self.bytes()?)),
            Some(4) => u64::from(self.u32()?),
            _ => self.u64()?,
        })
    }

    fn name(&mut self) -> Result<String, Fault> {
        let length = self.count("bytes of a name", MAX_NAME)?;
        self.text(length)
    }

    fn text(&mut self, length: u64) -> Result<String, Fault> {
        self.room(length)?;
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes).map_err(cut_short)?;
        self.at += length;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn count(&mut self, what: &str, most: u64) -> Result<u64, Fault> {
        let count = self.u64()?;
        if count > most { Err(Fault::Bad(format!("it claims {count} {what}"))) } else { Ok(count) }
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Fault> {
        self.room(bytes)?;
        self.file.seek_relative(bytes as i64).map_err(Fault::Io)?;
        self.at += bytes;
        Ok(())
    }

    fn room(&self, bytes: u64) -> Result<(), Fault> {
        if bytes > self.end.saturating_sub(self.at) {
            Err("it ends in the middle of its header".into())
        } else {
            Ok(())
        }
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.room(N as u64)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(cut_short)?;
        self.at += N as u64;
        Ok(bytes)
    }
}

fn cut_short(error: std::io::Error) -> Fault {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        "it ends in the middle of its header".into()
    } else {
        Fault::Io(error)
    }
}

/// The model, and of how many parts it is one.
fn shape(values: &HashMap<String, Value>, weights: u64) -> (Gguf, u32) {
    let architecture = match values.get("general.architecture") {
        Some(Value::Text(name)) => name.clone(),
        _ => String::new(),
    };
    let number = |key: &str| match values.get(&format!("{architecture}.{key}")) {
        Some(Value::Number(number)) => Some(small(*number)),
        Some(Value::Numbers(numbers)) => numbers.iter().max().map(|number| small(*number)),
        _ => None,
    };
    // A number beyond any model is refused by the count of layers, so that nothing large is allocated for it.
    let layers = number("block_count").filter(|layers| u64::from(*layers) <= MAX_ENTRIES).unwrap_or(0);
    let heads = number("attention.head_count").unwrap_or(0);
    let kv_heads = match values.get(&format!("{architecture}.attention.head_count_kv")) {
        Some(Value::Numbers(numbers)) => numbers.iter().map(|number| small(*number)).collect(),
        Some(Value::Number(number)) => vec![small(*number); layers as usize],
        _ => vec![heads; layers as usize],
    };
    let embedding = number("embedding_length").unwrap_or(0);
    let length = embedding.checked_div(heads).unwrap_or(0);
    let vocabulary = match values.get("tokenizer.ggml.tokens") {
        Some(Value::Skipped(length)) => *length,
        _ => number("vocab_size").map_or(0, u64::from),
    };
    let recurrent =
        values.keys().any(|key| key.starts_with(&format!("{architecture}.ssm.")) || key.ends_with(".wkv.head_size"));
    let window = number("attention.sliding_window").is_some_and(|window| window > 0);
    let parts = match values.get("split.count") {
        Some(Value::Number(parts)) => small(*parts).min(MAX_PARTS),
        _ => 1,
    };
    let model = Gguf {
        weights,
        parameters: 0,
        layers,
        kv_heads,
        key_length: number("attention.key_length").unwrap_or(length),
        value_length: number("attention.value_length").unwrap_or(length),
        embedding,
        feed_forward: number("feed_forward_length").unwrap_or(4 * embedding.min(1 << 20)),
        trained_context: number("context_length").unwrap_or(0),
        vocabulary,
        partial_memory: recurrent || window,
        architecture,
    };
    (model, parts)
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Size of one value in bytes, by GGUF's number for its type.
fn scalar_size(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// Bytes and elements of a block, by ggml's number for a tensor's type (`ggml_type`).
fn tensor_type(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 | 26 => (4, 1),
        1 | 25 | 30 => (2, 1),
        2 | 20 => (18, 32),
        3 => (20, 32),
        6 => (22, 32),
        7 => (24, 32),
        8 => (34, 32),
        10 => (84, 256),
        11 => (110, 256),
        12 => (144, 256),
        13 => (176, 256),
        14 => (210, 256),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text(into: &mut Vec<u8>, text: &str) {
        into.extend((text.len() as u64).to_le_bytes());
        into.extend(text.as_bytes());
    }

    fn key(into: &mut Vec<u8>, name: &str, number: u32) {
        text(into, name);
        into.extend(4u32.to_le_bytes());
        into.extend(number.to_le_bytes());
    }

    /// A header with two layers of two heads of 64 numbers, and one tensor.
    fn model() -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(7u64.to_le_bytes());
        text(&mut bytes, "general.architecture");
        bytes.extend(8u32.to_le_bytes());
        text(&mut bytes, "qwen2");
        key(&mut bytes, "qwen2.block_count", 2);
        key(&mut bytes, "qwen2.attention.head_count", 8);
        key(&mut bytes, "qwen2.embedding_length", 512);
        key(&mut bytes, "qwen2.feed_forward_length", 1024);
        text(&mut bytes, "qwen2.attention.head_count_kv");
        bytes.extend(9u32.to_le_bytes());
        bytes.extend(4u32.to_le_bytes());
        bytes.extend(2u64.to_le_bytes());
        bytes.extend([2u32.to_le_bytes(), 1u32.to_le_bytes()].concat());
        text(&mut bytes, "tokenizer.ggml.tokens");
        bytes.extend(9u32.to_le_bytes());
        bytes.extend(8u32.to_le_bytes());
        bytes.extend(2u64.to_le_bytes());
        text(&mut bytes, "a");
        text(&mut bytes, "b");
        text(&mut bytes, "output.weight");
        bytes.extend(2u32.to_le_bytes());
        bytes.extend([32u64.to_le_bytes(), 10u64.to_le_bytes()].concat());
        bytes.extend(8u32.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        bytes
    }

    fn read_bytes(bytes: &[u8]) -> Result<Gguf, GgufError> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("written");
        read(file.path())
    }

    #[test]
    fn a_header_says_what_a_model_takes() {
        let mut bytes = model();
        bytes.extend([0; 340]);
        let model = read_bytes(&bytes).expect("a model");
        assert_eq!((model.weights, model.layers, &model.kv_heads[..]), (340, 2, &[2, 1][..]));
        assert_eq!((model.key_length, model.vocabulary, model.partial_memory), (64, 2, false));
        // Three heads in all, 64 + 64 numbers of 2 bytes, 512 cells (300 rounded up to 256s).
        assert_eq!(model.cache_bytes(300, CacheType::F16, CacheType::F16), 3 * 128 * 2 * 512);
        let quantised = model.cache_bytes(300, CacheType::Q8_0, CacheType::Q8_0);
        assert_eq!(quantised, 3 * 128 * 512 / 32 * 34);
    }

    #[test]
    fn hostile_files_are_refused_in_a_sentence() {
        let mut whole = model();
        whole.extend([0; 340]);
        for length in 0..model().len() {
            let error = read_bytes(&whole[..length]).expect_err("cut short").to_string();
            assert!(error.contains("is not a usable GGUF model") && !error.contains('\n'), "{error}");
        }
        let patched = |at: usize, bytes: &[u8]| {
            let mut file = whole.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            read_bytes(&file).expect_err("hostile").to_string()
        };
        assert!(patched(0, b"GGML").contains("does not begin with GGUF"));
        assert!(patched(4, &9u32.to_le_bytes()).contains("version is 9"));
        assert!(patched(8, &u64::MAX.to_le_bytes()).contains("tensors"));
        assert!(patched(16, &u64::MAX.to_le_bytes()).contains("keys"));
        assert!(patched(24, &u64::MAX.to_le_bytes()).contains("bytes of a name"));
        // A layer count beyond any model allocates nothing.
        let at = whole.windows(17).position(|window| window == b"qwen2.block_count").expect("a key") + 17 + 4;
        assert!(patched(at, &u32::MAX.to_le_bytes()).contains("how many layers"));
        let at = whole.windows(13).position(|window| window == b"output.weight").expect("a tensor") + 13 + 4;
        assert!(patched(at, &u64::MAX.to_le_bytes()).contains("larger than any memory"));
        // Every byte turned over: an answer or a sentence, never a panic.
        for at in 0..whole.len() {
            let mut file = whole.clone();
            file[at] ^= 0xff;
            let _ = read_bytes(&file);
        }
    }

    #[test]
    fn a_split_model_is_all_of_its_parts() {
        let parts = other_parts(Path::new("/m/big-00001-of-00003.gguf"), 3);
        assert_eq!(parts, [Path::new("/m/big-00002-of-00003.gguf"), Path::new("/m/big-00003-of-00003.gguf")]);
        assert!(other_parts(Path::new("/m/small.gguf"), 1).is_empty());
    }
}
