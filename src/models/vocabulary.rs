//! Whisper's vocabulary out of a CTranslate2 folder, as the raw bytes that whisper.cpp wants.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Ordinary tokens that a ggml file lists; whisper.cpp names the special ones itself.
pub const ORDINARY: usize = 50_257;
/// The real ones are under 2 MB.
const MAX_BYTES: u64 = 32 << 20;

/// What can be wrong with a vocabulary.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    /// Neither file is in the folder.
    #[error("{} has neither vocabulary.txt nor vocabulary.json; a faster-whisper folder has one of them", .0.display())]
    Missing(PathBuf),
    /// The file could not be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Io {
        /// The vocabulary file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not Whisper's vocabulary.
    #[error("{path} is not a Whisper vocabulary: {what}", path = .path.display())]
    Corrupt {
        /// The vocabulary file.
        path: PathBuf,
        /// Why.
        what: String,
    },
}

/// Reads `vocabulary.json` or `vocabulary.txt` of `folder` and returns the bytes of the first [`ORDINARY`] tokens.
/// `model` is the number of tokens the model knows.
///
/// # Errors
/// [`VocabularyError`].
pub fn read(folder: &Path, model: usize) -> Result<Vec<Vec<u8>>, VocabularyError> {
    let Some(path) = ["vocabulary.json", "vocabulary.txt"].iter().map(|f| folder.join(f)).find(|p| p.is_file()) else {
        return Err(VocabularyError::Missing(folder.into()));
    };
    let corrupt = |what: String| VocabularyError::Corrupt { path: path.clone(), what };
    let io = |source| VocabularyError::Io { path: path.clone(), source };
    let size = fs::metadata(&path).map_err(io)?.len();
    if size > MAX_BYTES {
        return Err(corrupt(format!("it is {size} bytes long")));
    }
    let text = String::from_utf8(fs::read(&path).map_err(io)?).map_err(|_| corrupt("it is not UTF-8".into()))?;
    let json = path.extension().is_some_and(|e| e == "json");
    let tokens = if json { from_json(&text) } else { Ok(from_lines(&text)) }.map_err(corrupt)?;
    if tokens.len() < ORDINARY || tokens.len() > model {
        return Err(corrupt(format!("it has {} tokens, the model has {model}", tokens.len())));
    }
    let bytes = byte_of_char();
    let mut out = Vec::with_capacity(ORDINARY);
    for (id, token) in tokens.iter().take(ORDINARY).enumerate() {
        if token == "<|endoftext|>" {
            out.push(token.clone().into_bytes());
            continue;
        }
        let decoded: Option<Vec<u8>> = token.chars().map(|c| bytes.get(&c).copied()).collect();
        out.push(decoded.ok_or_else(|| corrupt(format!("token {id} ({token:?}) is not byte-level BPE")))?);
    }
    Ok(out)
}

/// One token a line. Tokens hold no line feed: byte-level BPE writes it as `Ċ`.
fn from_lines(text: &str) -> Vec<String> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned()).collect()
}

/// A list of tokens, or an object from token to id.
fn from_json(text: &str) -> Result<Vec<String>, String> {
    if let Ok(list) = serde_json::from_str::<Vec<String>>(text) {
        return Ok(list);
    }
    let map: HashMap<String, usize> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let mut tokens = vec![None; map.len()];
    for (token, id) in map {
        match tokens.get_mut(id) {
            Some(slot @ None) => *slot = Some(token),
            _ => return Err(format!("id {id} of token {token:?} is taken or out of range")),
        }
    }
    Ok(tokens.into_iter().flatten().collect())
}

/// GPT-2's byte-level alphabet reversed: printable Latin-1 stands for itself, the other bytes for U+0100 and up, in
/// order. Source: `bytes_to_unicode` in openai/gpt-2 `encoder.py`.
fn byte_of_char() -> HashMap<char, u8> {
    let mut next = 0x100;
    (0..=255u8)
        .map(|byte| {
            let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            let code = if printable {
                u32::from(byte)
            } else {
                next += 1;
                next - 1
            };
            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), byte)
        })
        .collect()
}
