//! Reads CTranslate2's `model.bin`: an index of variables first, their numbers on demand, never all of them in memory.
//!
//! Layout, little endian: u32 version, string name, u32 revision, u32 count; each variable: string name, u8 rank,
//! u32 dimensions…, u8 type, u32 bytes, data; then u32 count of aliases (string, string). A string is a u16 length
//! that includes a closing NUL. Source: `ctranslate2/specs/model_spec.py`, `_serialize`.
//!
//! The file may come from anywhere, so nothing is allocated on the word of a length field alone: every offset is held
//! against the size of the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Oldest and newest container version whose variables carry a type.
const VERSIONS: std::ops::RangeInclusive<u32> = 4..=6;
/// The largest Whisper has about 1,300 variables.
const MAX_VARIABLES: u32 = 50_000;
/// Numbers are decoded in blocks of about this many values, so that memory stays flat for any model.
const BLOCK: usize = 1 << 20;

/// What can be wrong with a CTranslate2 model file.
#[derive(Debug, thiserror::Error)]
pub enum Ct2Error {
    /// The file could not be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Io {
        /// The model file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file ends too early, or a field makes no sense.
    #[error("{path} is not an intact CTranslate2 model: {what}; copy or download the folder again", path = .path.display())]
    Corrupt {
        /// The model file.
        path: PathBuf,
        /// Which field, and why.
        what: String,
    },
    /// An intact model, but not one that can become a Whisper ggml file.
    #[error("{path} cannot be imported: {what}", path = .path.display())]
    Unsupported {
        /// The model file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
}

/// How the numbers of a variable are stored; the discriminants are CTranslate2's `DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// 32-bit float.
    F32,
    /// 8-bit integer, with a scale a row when it is a weight.
    I8,
    /// 16-bit integer, with one scale when it is a weight.
    I16,
    /// 32-bit integer.
    I32,
    /// IEEE half.
    F16,
    /// bfloat16.
    Bf16,
}

impl Type {
    fn from_id(id: u8) -> Option<Type> {
        Some(match id {
            0 => Type::F32,
            1 => Type::I8,
            2 => Type::I16,
            3 => Type::I32,
            4 => Type::F16,
            5 => Type::Bf16,
            _ => return None,
        })
    }

    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Type::I8 => 1,
            Type::I16 | Type::F16 | Type::Bf16 => 2,
            Type::F32 | Type::I32 => 4,
        }
    }

    fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Type::I8 => out.extend(bytes.iter().map(|&b| f32::from(b.cast_signed()))),
            Type::I16 => out.extend(bytes.as_chunks().0.iter().map(|&b| f32::from(i16::from_le_bytes(b)))),
            Type::F16 => out.extend(bytes.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32())),
            Type::Bf16 => out.extend(bytes.as_chunks().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f32())),
            Type::F32 => out.extend(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
            // Never a weight; exact for the small counts that are stored so.
            Type::I32 => out.extend(bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b) as f32)),
        }
    }
}

/// One variable: where its numbers are.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Row-major dimensions; empty for a scalar.
    pub dims: Vec<usize>,
    /// Stored type.
    pub kind: Type,
    offset: u64,
    bytes: usize,
}

/// An open model file.
#[derive(Debug)]
pub struct Ct2 {
    path: PathBuf,
    file: BufReader<File>,
    variables: BTreeMap<String, Variable>,
    /// Name of the specification the model was written with, such as `WhisperSpec`.
    pub spec: String,
}

impl Ct2 {
    /// Reads the index of `path`.
    ///
    /// # Errors
    /// [`Ct2Error`] when the file cannot be read, is truncated or inconsistent, or has an unknown version.
    pub fn open(path: &Path) -> Result<Ct2, Ct2Error> {
        let file = File::open(path).map_err(|source| Ct2Error::Io { path: path.into(), source })?;
        let length = file.metadata().map_err(|source| Ct2Error::Io { path: path.into(), source })?.len();
        let mut index = Index { path, length, at: 0, file: BufReader::with_capacity(1 << 16, file) };
        let version = index.u32("version")?;
        if !VERSIONS.contains(&version) {
            return Err(index.unsupported(format!(
                "container version {version}; versions {} to {} are understood (convert it with a current ctranslate2)",
                VERSIONS.start(),
                VERSIONS.end()
            )));
        }
        let spec = index.string("specification name")?;
        index.u32("revision")?;
        let count = index.u32("variable count")?;
        if count > MAX_VARIABLES {
            return Err(index.corrupt(format!("it claims {count} variables")));
        }
        let mut variables = BTreeMap::new();
        for _ in 0..count {
            let (name, variable) = index.variable()?;
            if variables.insert(name.clone(), variable).is_some() {
                return Err(index.corrupt(format!("variable {name} is there twice")));
            }
        }
        let aliases = index.u32("alias count")?;
        if aliases > MAX_VARIABLES {
            return Err(index.corrupt(format!("it claims {aliases} aliases")));
        }
        for _ in 0..aliases {
            let (alias, name) = (index.string("alias")?, index.string("alias")?);
            let Some(variable) = variables.get(&name).cloned() else {
                return Err(index.corrupt(format!("alias {alias} points to {name}, which is missing")));
            };
            variables.entry(alias).or_insert(variable);
        }
        Ok(Ct2 { path: path.into(), file: index.file, variables, spec })
    }

    /// The variable of that name.
    ///
    /// # Errors
    /// [`Ct2Error::Unsupported`] when the model has none.
    pub fn variable(&self, name: &str) -> Result<&Variable, Ct2Error> {
        self.variables.get(name).ok_or_else(|| self.unsupported(format!("variable {name} is missing")))
    }

    /// Whether the model has a variable of that name.
    pub fn has(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }

    /// Reads a small integer such as the number of heads.
    ///
    /// # Errors
    /// [`Ct2Error`] when it is missing, unreadable or not a single number.
    pub fn scalar(&mut self, name: &str) -> Result<f32, Ct2Error> {
        let mut value = None;
        self.rows(name, 0..1, |numbers| {
            value = numbers.first().copied();
            Ok(())
        })?;
        value.ok_or_else(|| self.unsupported(format!("variable {name} is empty")))
    }

    /// Hands rows `range` of a variable (its first dimension; a vector has one number a row) to `each` as f32, in
    /// blocks of whole rows, in order. Integer weights are divided by their `…_scale`, one a row or one for all.
    ///
    /// # Errors
    /// [`Ct2Error`] from reading, or what `each` returned.
    pub fn rows<E: From<Ct2Error>>(
        &mut self,
        name: &str,
        range: std::ops::Range<usize>,
        mut each: impl FnMut(&[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let variable = self.variable(name)?.clone();
        let height = variable.dims.first().copied().unwrap_or(1);
        if range.end > height {
            return Err(self.unsupported(format!("variable {name} has {height} rows, not {}", range.end)).into());
        }
        let width: usize = variable.dims.iter().skip(1).product();
        let scales = self.scales(name, &variable, height)?;
        let step = (BLOCK / width.max(1)).max(1);
        let (mut bytes, mut numbers) = (Vec::new(), Vec::new());
        let mut row = range.start;
        while row < range.end {
            let rows = step.min(range.end - row);
            bytes.resize(rows * width * variable.kind.size(), 0);
            self.read_at(variable.offset + (row * width * variable.kind.size()) as u64, &mut bytes)?;
            numbers.clear();
            variable.kind.decode(&bytes, &mut numbers);
            if let Some(scales) = &scales {
                for (i, line) in numbers.chunks_exact_mut(width.max(1)).enumerate() {
                    let scale = if scales.len() == 1 { scales[0] } else { scales[row + i] };
                    line.iter_mut().for_each(|x| *x /= scale);
                }
            }
            each(&numbers)?;
            row += rows;
        }
        Ok(())
    }

    /// Scales of an integer weight: `value = stored / scale`. `None` for floats and plain integers.
    fn scales(&mut self, name: &str, variable: &Variable, height: usize) -> Result<Option<Vec<f32>>, Ct2Error> {
        let integer = matches!(variable.kind, Type::I8 | Type::I16 | Type::I32);
        if !integer || variable.dims.len() < 2 {
            return Ok(None);
        }
        let name = format!("{name}_scale");
        let scale = self.variable(&name)?.clone();
        let count: usize = scale.dims.iter().product();
        if matches!(scale.kind, Type::I8 | Type::I16 | Type::I32) || (count != 1 && count != height) {
            return Err(self.unsupported(format!("{name} has {count} values for {height} rows")));
        }
        let mut bytes = vec![0; scale.bytes];
        self.read_at(scale.offset, &mut bytes)?;
        let mut scales = Vec::with_capacity(count);
        scale.kind.decode(&bytes, &mut scales);
        if scales.iter().any(|s| !s.is_finite() || *s == 0.0) {
            return Err(Ct2Error::Corrupt {
                path: self.path.clone(),
                what: format!("{name} holds a zero or no number"),
            });
        }
        Ok(Some(scales))
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), Ct2Error> {
        self.file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.read_exact(bytes))
            .map_err(|source| Ct2Error::Io { path: self.path.clone(), source })
    }

    /// An error about this model.
    pub fn unsupported(&self, what: impl Into<String>) -> Ct2Error {
        Ct2Error::Unsupported { path: self.path.clone(), what: what.into() }
    }
}

/// The index being read: position and size of the file, so that no length field is believed.
struct Index<'a> {
    path: &'a Path,
    file: BufReader<File>,
    at: u64,
    length: u64,
}

impl Index<'_> {
    fn corrupt(&self, what: impl Into<String>) -> Ct2Error {
        Ct2Error::Corrupt { path: self.path.into(), what: what.into() }
    }

    fn unsupported(&self, what: impl Into<String>) -> Ct2Error {
        Ct2Error::Unsupported { path: self.path.into(), what: what.into() }
    }

    fn take<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Ct2Error> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(|e| self.failed(what, e))?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn failed(&self, what: &str, source: io::Error) -> Ct2Error {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            self.corrupt(format!("it ends inside the {what} at byte {}", self.at))
        } else {
            Ct2Error::Io { path: self.path.into(), source }
        }
    }

    fn u32(&mut self, what: &str) -> Result<u32, Ct2Error> {
        Ok(u32::from_le_bytes(self.take(what)?))
    }

    fn string(&mut self, what: &str) -> Result<String, Ct2Error> {
        let length = usize::from(u16::from_le_bytes(self.take(what)?));
        let mut bytes = vec![0; length];
        self.file.read_exact(&mut bytes).map_err(|e| self.failed(what, e))?;
        self.at += length as u64;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        String::from_utf8(bytes).map_err(|_| self.corrupt(format!("the {what} before byte {} is not text", self.at)))
    }

    fn variable(&mut self) -> Result<(String, Variable), Ct2Error> {
        let name = self.string("variable name")?;
        let [rank] = self.take("rank")?;
        if rank > 4 {
            return Err(self.corrupt(format!("{name} has {rank} dimensions")));
        }
        let mut dims = Vec::new();
        for _ in 0..rank {
            dims.push(self.u32("dimensions")? as usize);
        }
        let [id] = self.take("type")?;
        let Some(kind) = Type::from_id(id) else {
            return Err(self.unsupported(format!("{name} has the unknown number type {id}")));
        };
        let bytes = self.u32("size")? as usize;
        let expected = dims.iter().try_fold(kind.size(), |n, &d| n.checked_mul(d));
        if expected != Some(bytes) {
            return Err(self.corrupt(format!("{name} {dims:?} cannot be {bytes} bytes long")));
        }
        let offset = self.at;
        if self.length - offset < bytes as u64 {
            return Err(
                self.corrupt(format!("it ends inside {name}, {} bytes short", bytes as u64 - (self.length - offset)))
            );
        }
        // `length` is at most i64::MAX on every file system, and `bytes` fits a u32.
        self.file.seek_relative(bytes as i64).map_err(|e| self.failed("data", e))?;
        self.at += bytes as u64;
        Ok((name, Variable { dims, kind, offset, bytes }))
    }
}
