//! The header of a ggml Whisper file. whisper.cpp believes its numbers and allocates by them, so they are checked before it
//! sees the file.

use super::SpeechError;
use std::io::Read;
use std::path::Path;

/// What the header says of the model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub vocabulary: i32,
    pub audio_layers: i32,
    pub text_layers: i32,
    pub mels: i32,
    /// Width of the encoder, and of the decoder.
    pub state: i32,
    pub audio_heads: i32,
    /// Length of the file, bytes.
    pub file_bytes: u64,
}

/// n_vocab, n_audio_ctx, n_audio_state, n_audio_head, n_audio_layer, n_text_ctx, n_text_state, n_text_head, n_text_layer,
/// n_mels, ftype: ranges from tiny to large-v3.
const SANE: [std::ops::RangeInclusive<i32>; 11] =
    [51_864..=51_866, 1500..=1500, 64..=4096, 1..=64, 1..=64, 448..=448, 64..=4096, 1..=64, 1..=64, 80..=128, 0..=3000];

impl Shape {
    /// Reads and checks the header and the file's length.
    ///
    /// # Errors
    /// [`SpeechError::Unreadable`], or [`SpeechError::BadModel`] for what is no whole ggml Whisper model.
    pub fn read(path: &Path) -> Result<Shape, SpeechError> {
        let unreadable = |source| SpeechError::Unreadable { path: path.to_owned(), source };
        let bad = |why: &str| Err(SpeechError::BadModel { path: path.to_owned(), why: why.to_owned() });
        let mut file = std::fs::File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let mut header = [0u8; 48];
        if size < 1_000_000 || file.read_exact(&mut header).is_err() {
            return bad("the file is too short");
        }
        match &header[..4] {
            b"lmgg" => {}
            b"GGUF" => return bad("it is a GGUF language model; speech needs a ggml Whisper model"),
            _ => return bad("it does not start like a ggml file"),
        }
        let number = |i: usize| header[4 * i..].first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes));
        if SANE.iter().enumerate().any(|(i, range)| !range.contains(&number(i + 1))) {
            return bad("its header has sizes that no Whisper model has");
        }
        // Weights take at least half a byte each: 12 state² a layer, 4 more in the decoder, and the vocabulary.
        let (state, audio, text) = (number(3) as u64, number(5) as u64, number(9) as u64);
        if size < (state * state * (12 * audio + 16 * text) + number(1) as u64 * state) / 2 {
            return bad("the file is cut short");
        }
        Ok(Shape {
            vocabulary: number(1),
            audio_layers: number(5),
            text_layers: number(9),
            mels: number(10),
            state: number(3),
            audio_heads: number(4),
            file_bytes: size,
        })
    }

    /// Bytes that one recogniser writes to for a full window of 30 s, by the sizes whisper.cpp allocates: keys and values of
    /// the decoder (512 places), of what it attends to (1536) and of flash attention's padding in 16 bits; the attention
    /// of one encoder layer and about ten rows of activations in 32 bits. An estimate for the budget of loaded models:
    /// buffers that are reserved and hardly touched (logits of a whole prompt) and those of word times are left out.
    pub fn recognizer_bytes(&self) -> u64 {
        let [state, heads, layers] = [self.state, self.audio_heads, self.text_layers].map(|n| n.max(0) as u64);
        let (places, frames) = (512, 1536);
        let keys_and_values = 2 * 2 * state * (layers * (places + frames) + frames);
        keys_and_values + 4 * (1500 * 1500 * heads + 10 * 1500 * state)
    }

    /// Whether there are language tokens.
    pub fn is_multilingual(&self) -> bool {
        self.vocabulary > 51_864
    }
}
