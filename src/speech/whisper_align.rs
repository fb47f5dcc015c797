//! Word times by whisper.cpp's dynamic time warping over the alignment heads.
//!
//! It runs on a state of its own, made when word times are first asked for. The text is not decided again: the logits
//! filter forces the tokens that were found, so that text is the same with and without word times.
//! `whisper_full` is used here, with raw callbacks whose user data is on our stack for the length of the call.

use super::SpeechError;
use super::whisper::{Model, short_context};
use super::whisper_decode::failed;
use super::whisper_shape::Shape;
use crate::audio::SPEECH_RATE;
use crate::language::Lang;
use std::collections::HashMap;
use std::ffi::c_void;
use tokio_util::sync::CancellationToken;
use whisper_rs::{
    DtwMode, DtwModelPreset, DtwParameters, FullParams, SamplingStrategy, WhisperState, whisper_rs_sys as sys,
};

/// Working memory of the warping, bytes: 224 tokens by 1,500 frames by 23 heads, five copies. Reserved, not touched,
/// by smaller models.
const DTW_MEMORY: usize = 512 << 20;

/// Aligns known tokens with audio, on one thread.
pub(super) struct Aligner {
    state: WhisperState,
    threads: usize,
    /// whisper-rs leaks the language string of every new parameter set, so there is one a language.
    parameters: HashMap<Lang, FullParams<'static, 'static>>,
    end_of_text: usize,
    vocabulary: usize,
}

/// What the callbacks see. Lives on the stack of [`Aligner::token_ends`].
struct Forced<'a> {
    tokens: &'a [i32],
    end_of_text: usize,
    vocabulary: usize,
    cancel: &'a CancellationToken,
}

impl Aligner {
    pub fn new(model: &Model, threads: usize) -> Result<Self, SpeechError> {
        let context = model.aligning_context()?;
        let state = context.create_state().map_err(failed("making room for word times"))?;
        Ok(Aligner {
            state,
            threads,
            parameters: HashMap::new(),
            end_of_text: context.token_eot() as usize,
            vocabulary: context.n_vocab() as usize,
        })
    }

    /// The end of each token, seconds from the start of `samples` (16 kHz, at most 30 s), never decreasing.
    pub fn token_ends(
        &mut self,
        samples: &[f32],
        tokens: &[i32],
        language: Lang,
        cancel: &CancellationToken,
    ) -> Result<Vec<f64>, SpeechError> {
        let seconds = samples.len() as f64 / f64::from(SPEECH_RATE);
        // The median filter of the warping asserts more than 7 frames; whisper.cpp ignores less than 100 ms.
        let mut padded = samples.to_vec();
        padded.resize(padded.len().max(SPEECH_RATE as usize / 2), 0.0);
        let forced = Forced { tokens, end_of_text: self.end_of_text, vocabulary: self.vocabulary, cancel };
        let mut parameters = self.parameters(language).clone();
        // 0 is the full window.
        parameters
            .set_audio_ctx(short_context(padded.len() as f64 / f64::from(SPEECH_RATE), false).unwrap_or(0) as i32);
        let user_data = std::ptr::from_ref(&forced).cast_mut().cast::<c_void>();
        // SAFETY: `forced` outlives the call of `full`, which is the only place the callbacks run, and they only read it.
        unsafe {
            parameters.set_filter_logits_callback(Some(force_token));
            parameters.set_filter_logits_callback_user_data(user_data);
            parameters.set_abort_callback(Some(is_cancelled));
            parameters.set_abort_callback_user_data(user_data);
        }
        let result = self.state.full(parameters, &padded);
        if cancel.is_cancelled() {
            return Err(SpeechError::Cancelled);
        }
        result.map_err(failed("finding word times"))?;

        let mut ends: Vec<f64> = Vec::with_capacity(tokens.len());
        for segment in self.state.as_iter() {
            for i in 0..segment.n_tokens() {
                let Some(token) = segment.get_token(i).map(|t| t.token_data()) else { continue };
                if (token.id as usize) < self.end_of_text {
                    let time = (token.t_dtw.max(0) as f64 / 100.0).min(seconds);
                    ends.push(time.max(ends.last().copied().unwrap_or(0.0)));
                }
            }
        }
        // Never more nor fewer than were asked for, whatever came back.
        ends.resize(tokens.len(), seconds);
        Ok(ends)
    }

    fn parameters(&mut self, language: Lang) -> &FullParams<'static, 'static> {
        let threads = self.threads;
        self.parameters.entry(language).or_insert_with(|| {
            let mut p = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
            p.set_n_threads(threads as i32);
            p.set_language(Some(language.code()));
            p.set_no_timestamps(true);
            p.set_single_segment(true);
            p.set_suppress_blank(false);
            p.set_n_max_text_ctx(0);
            p.set_temperature_inc(0.0);
            p.set_no_speech_thold(2.0);
            p.set_print_progress(false);
            p.set_print_realtime(false);
            p
        })
    }
}

/// How a context is opened that can align: with the heads that OpenAI published for the model; for others with all heads
/// of the upper half of the layers.
pub(super) fn parameters(shape: &Shape) -> DtwParameters<'static> {
    let preset = match (shape.audio_layers, shape.text_layers, shape.is_multilingual()) {
        (4, 4, true) => DtwModelPreset::Tiny,
        (4, 4, false) => DtwModelPreset::TinyEn,
        (6, 6, true) => DtwModelPreset::Base,
        (6, 6, false) => DtwModelPreset::BaseEn,
        (12, 12, true) => DtwModelPreset::Small,
        (12, 12, false) => DtwModelPreset::SmallEn,
        (24, 24, true) => DtwModelPreset::Medium,
        (24, 24, false) => DtwModelPreset::MediumEn,
        (32, 4, true) => DtwModelPreset::LargeV3Turbo,
        (32, 32, true) if shape.mels == 128 => DtwModelPreset::LargeV3,
        // v1 and v2 are one architecture; v1 is history.
        (32, 32, true) => DtwModelPreset::LargeV2,
        (_, layers, _) => {
            let mode = DtwMode::TopMost { n_top: (layers / 2).max(1) };
            return DtwParameters { mode, dtw_mem_size: DTW_MEMORY };
        }
    };
    DtwParameters { mode: DtwMode::ModelPreset { model_preset: preset }, dtw_mem_size: DTW_MEMORY }
}

unsafe extern "C" fn force_token(
    _: *mut sys::whisper_context,
    _: *mut sys::whisper_state,
    _: *const sys::whisper_token_data,
    so_far: i32,
    logits: *mut f32,
    user_data: *mut c_void,
) {
    // SAFETY: set in `token_ends` to a `Forced` that outlives the call; `logits` has one entry a token of the vocabulary.
    let (forced, logits) = unsafe {
        let forced = &*user_data.cast::<Forced<'_>>();
        (forced, std::slice::from_raw_parts_mut(logits, forced.vocabulary))
    };
    let next = forced.tokens.get(so_far.max(0) as usize).map_or(forced.end_of_text, |t| *t as usize);
    logits.fill(f32::NEG_INFINITY);
    logits[next] = 0.0;
}

unsafe extern "C" fn is_cancelled(user_data: *mut c_void) -> bool {
    // SAFETY: as in `force_token`.
    unsafe { &*user_data.cast::<Forced<'_>>() }.cancel.is_cancelled()
}
