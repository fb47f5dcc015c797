//! Whisper through whisper.cpp: the model, and the recogniser that turns an utterance into timed text.
//!
//! One [`Model`] holds the weights for all threads; each [`WhisperRecognizer`] owns the working memory of one thread.
//! The token loop is ours (`whisper_decode`), not `whisper_full`'s, for four reasons: language and no-speech probability
//! come out of the same encoder pass as the text; a loop is left after a few tokens instead of at the cap; cancellation is
//! looked at between any two tokens with no callback; nothing leaks. The encoder is told how much audio there is
//! (`audio_ctx`) instead of computing 30 s for every clip; where the text then looks wrong it runs again in full.

use super::whisper_align::{self, Aligner};
use super::whisper_decode::{Attempt, Decoder, Hypothesis, Stop};
use super::whisper_pieces::{self as pieces, Clock};
use super::whisper_rules::Times;
use super::whisper_shape::Shape;
use super::{LanguageChoice, Recognizer, SpeechError, SpeechOptions, Task, Transcript, Utterance, vad, whisper_log};
use crate::audio::SPEECH_RATE;
use crate::language::Lang;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;
use whisper_rs::{WhisperContext, WhisperContextParameters};

/// Frames of the encoder a second of audio (20 ms each).
pub(super) const FRAMES_PER_SECOND: f64 = 50.0;
/// The longest piece handed to Whisper at once, seconds. Its window is 30.
const LONGEST: f64 = 28.5;

/// Which model, and where it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSettings {
    /// A ggml Whisper file.
    pub path: PathBuf,
    /// The device. A build without a GPU feature runs on the processor whatever is said here.
    pub device: Device,
    /// Flash attention: faster on GPUs. On a processor ggml's plain attention is (base q8_0, 3 to 7 s clips, one thread:
    /// 0.42-0.67 s of processor time without, 0.78-1.09 s with), and word times then need no second copy of the model.
    pub flash_attention: bool,
}

impl ModelSettings {
    /// The usual settings for a file: the first GPU with flash attention if the build has GPU support, else the processor.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let gpu = cfg!(any(feature = "cuda", feature = "vulkan", feature = "hipblas", feature = "metal"));
        ModelSettings {
            path: path.into(),
            device: if gpu { Device::Gpu(0) } else { Device::Cpu },
            flash_attention: gpu,
        }
    }
}

/// Where the model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor only.
    Cpu,
    /// The GPU with this number, if the build has one.
    Gpu(i32),
}

/// Memory of a model, bytes, told from its file without loading it. Resident memory cannot say it: it is not known before
/// loading, and other requests come and go meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The weights: the file's own size, as they are kept in its format.
    pub weights: u64,
    /// Working memory of one recogniser; word times take about as much again while they are being asked for.
    pub recognizer: u64,
}

impl Footprint {
    /// Reads the header of a model file.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn of(path: &Path) -> Result<Self, SpeechError> {
        let shape = Shape::read(path)?;
        Ok(Footprint { weights: shape.file_bytes, recognizer: shape.recognizer_bytes() })
    }

    /// With so many recognisers.
    pub fn total(&self, recognizers: usize) -> u64 {
        self.weights + self.recognizer * recognizers as u64
    }
}

/// Loaded weights, shared by all recognisers. Cheap to clone.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    settings: ModelSettings,
    shape: Shape,
    context: WhisperContext,
    /// A second context for word times, where the first uses flash attention. Made when first asked for.
    aligning: OnceLock<WhisperContext>,
}

impl Model {
    /// Reads a model file. Blocks for as long as the disk takes (base: 0.1 s).
    ///
    /// # Errors
    /// [`SpeechError::Unreadable`], or [`SpeechError::BadModel`] for what is no ggml Whisper model.
    pub fn load(settings: &ModelSettings) -> Result<Model, SpeechError> {
        whisper_log::install();
        let shape = Shape::read(&settings.path)?;
        let context = open(settings, &shape, settings.flash_attention)?;
        Ok(Model(Arc::new(Inner { settings: settings.clone(), shape, context, aligning: OnceLock::new() })))
    }

    /// Whether the model speaks more than English.
    pub fn is_multilingual(&self) -> bool {
        self.0.context.is_multilingual()
    }

    /// Whether the model can be asked for `language`.
    pub fn knows(&self, language: Lang) -> bool {
        if self.is_multilingual() { self.language_id(language).is_some() } else { language == Lang::ENGLISH }
    }

    /// Whisper's size class: `tiny`, `base`, `small`, `medium`, `large`.
    pub fn size(&self) -> &'static str {
        match self.0.context.model_n_audio_layer() {
            4 => "tiny",
            6 => "base",
            12 => "small",
            24 => "medium",
            _ => "large",
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.settings.path
    }

    /// The first distilled models (two text layers) were trained without times.
    fn tells_times(&self) -> bool {
        self.0.context.model_n_text_layer() > 2 || self.0.context.n_vocab() == 51_866
    }

    pub(super) fn context(&self) -> &WhisperContext {
        &self.0.context
    }

    /// The context that can align words: flash attention never materialises the attention that this needs.
    pub(super) fn aligning_context(&self) -> Result<&WhisperContext, SpeechError> {
        let inner = &*self.0;
        if !inner.settings.flash_attention {
            return Ok(&inner.context);
        }
        if let Some(context) = inner.aligning.get() {
            return Ok(context);
        }
        let context = open(&inner.settings, &inner.shape, false)?;
        Ok(inner.aligning.get_or_init(|| context))
    }

    /// How many languages this model has tokens for: 99, from large-v3 on 100.
    pub(super) fn languages(&self) -> usize {
        if self.is_multilingual() { (self.0.context.n_vocab() - 51_765 - 1).clamp(0, 100) as usize } else { 0 }
    }

    /// Position of a language among the language tokens.
    pub(super) fn language_id(&self, language: Lang) -> Option<usize> {
        Lang::all().position(|l| l == language).filter(|id| *id < self.languages())
    }
}

fn open(settings: &ModelSettings, shape: &Shape, flash_attention: bool) -> Result<WhisperContext, SpeechError> {
    let mut parameters = WhisperContextParameters::default();
    match settings.device {
        Device::Cpu => parameters.use_gpu(false),
        Device::Gpu(number) => parameters.use_gpu(true).gpu_device(number),
    };
    parameters.flash_attn(flash_attention);
    if !flash_attention {
        parameters.dtw_parameters(whisper_align::parameters(shape));
    }
    WhisperContext::new_with_params(&settings.path, parameters)
        .map_err(|e| SpeechError::BadModel { path: settings.path.clone(), why: e.to_string() })
}

/// Physical cores this process may use: Whisper gains nothing from two threads on one core.
pub fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let cores: std::collections::HashSet<(String, String)> = (0..allowed)
        .filter_map(|cpu| {
            let read =
                |what: &str| std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/{what}"));
            Some((read("physical_package_id").ok()?, read("core_id").ok()?))
        })
        .collect();
    if cores.is_empty() { allowed } else { cores.len().min(allowed) }
}

/// Whisper on one thread.
pub struct WhisperRecognizer {
    model: Model,
    decoder: Decoder,
    aligner: Option<Aligner>,
    threads: usize,
}

impl WhisperRecognizer {
    /// Allocates the working memory (base: 100 MB). `threads` at least 1.
    ///
    /// # Errors
    /// [`SpeechError::Failed`] when the memory is not there.
    pub fn new(model: Model, threads: usize) -> Result<Self, SpeechError> {
        let threads = threads.max(1);
        let decoder = Decoder::new(&model, threads)?;
        Ok(WhisperRecognizer { model, decoder, aligner: None, threads })
    }

    /// One piece of at most [`LONGEST`] seconds.
    fn piece(
        &mut self,
        piece: &Utterance,
        request: &Request,
        cancel: &CancellationToken,
    ) -> Result<Transcript, SpeechError> {
        if is_digital_silence(piece.samples()) {
            return Ok(Transcript::default());
        }
        let heard = self.hear(piece, request, cancel)?;
        if heard.is_no_speech() {
            return Ok(Transcript::default());
        }
        let clock = Clock::new(piece);
        let mut segments = pieces::segments(self.model.context(), &heard, &clock);
        if request.word_times && !segments.is_empty() {
            let aligner = match &mut self.aligner {
                Some(aligner) => aligner,
                none => none.insert(Aligner::new(&self.model, self.threads)?),
            };
            let ends = aligner.token_ends(piece.samples(), &heard.text_tokens(), heard.language, cancel)?;
            pieces::add_words(self.model.context(), &mut segments, &heard, &ends, piece);
        }
        if !request.token_logprobs {
            segments.iter_mut().for_each(|segment| segment.token_logprobs.clear());
        }
        let language = if segments.is_empty() { None } else { Some(heard.language) };
        Ok(Transcript { language, segments })
    }

    /// Encodes and decodes, again where the text does not look right, and gives the best attempt.
    fn hear(
        &mut self,
        piece: &Utterance,
        request: &Request,
        cancel: &CancellationToken,
    ) -> Result<Hypothesis, SpeechError> {
        let seconds = piece.seconds();
        let times = if seconds > pieces::ONE_SEGMENT && self.model.tells_times() {
            Times::On { limit: (seconds * FRAMES_PER_SECOND).floor() as usize }
        } else {
            Times::Off
        };
        let mut attempt = Attempt {
            prompt: &request.prompt,
            language: request.language,
            task: request.task,
            times,
            temperature: request.temperature,
        };
        let short = short_context(seconds, self.model.0.settings.flash_attention);
        self.decoder.encode(piece.samples(), short, cancel)?;
        let mut best = self.decoder.decode(&attempt, cancel)?;
        if best.stop == Stop::EndOfText && (best.is_no_speech() || self.is_annotation(&best)) {
            return Ok(best);
        }
        if best.is_doubtful() && short.is_some() {
            tracing::debug!(?best.stop, best.avg_logprob, "encoding again with the full window");
            self.decoder.encode(piece.samples(), None, cancel)?;
            best = best.better(self.decoder.decode(&attempt, cancel)?);
        }
        if !request.prompt.is_empty() && (best.echoes(&request.prompt) || best.is_failure()) {
            // The prompt came out as text, or led astray: what is said without it is what was said.
            attempt.prompt = &[];
            let plain = self.decoder.decode(&attempt, cancel)?;
            best = if best.echoes(&request.prompt) { plain } else { best.better(plain) };
        }
        // Only ever hotter than what was asked for.
        for temperature in [0.4, 0.8].into_iter().filter(|t| *t > request.temperature) {
            if !best.is_failure() || best.is_no_speech() {
                break;
            }
            attempt.temperature = temperature;
            best = best.better(self.decoder.decode(&attempt, cancel)?);
        }
        if best.stop == Stop::Loop {
            best.collapse_loop();
        }
        Ok(best)
    }

    fn is_annotation(&self, heard: &Hypothesis) -> bool {
        pieces::is_annotation(&pieces::text(self.model.context(), &heard.text_tokens()))
    }
}

impl Recognizer for WhisperRecognizer {
    fn recognize(
        &mut self,
        utterance: &Utterance,
        options: &SpeechOptions,
        cancel: &CancellationToken,
    ) -> Result<Transcript, SpeechError> {
        let mut request = Request::new(&self.model, options)?;
        let mut whole = Transcript::default();
        for piece in split(utterance) {
            let part = self.piece(&piece, &request, cancel)?;
            if let Some(language) = part.language {
                whole.language.get_or_insert(language);
                // The rest of one utterance is in the language of its beginning.
                request.language = Some(language);
            }
            whole.segments.extend(part.segments);
        }
        // The language of a transcript is that of its text: joining and cleaning it depend on it.
        if let Task::TranslateToEnglish = options.task
            && whole.language.is_some()
        {
            whole.language = Some(Lang::ENGLISH);
        }
        Ok(whole)
    }

    fn detect_language(
        &mut self,
        utterance: &Utterance,
        cancel: &CancellationToken,
    ) -> Result<(Lang, f32), SpeechError> {
        if !self.model.is_multilingual() {
            return Ok((Lang::ENGLISH, 1.0));
        }
        let n = utterance.samples().len().min((LONGEST * f64::from(SPEECH_RATE)) as usize);
        self.decoder.encode(&utterance.samples()[..n], None, cancel)?;
        self.decoder.hear_language()
    }
}

/// Options made ready for the decoder.
struct Request {
    prompt: Vec<i32>,
    language: Option<Lang>,
    task: Task,
    temperature: f32,
    word_times: bool,
    token_logprobs: bool,
}

impl Request {
    fn new(model: &Model, options: &SpeechOptions) -> Result<Self, SpeechError> {
        let language = match options.language {
            LanguageChoice::Auto if model.is_multilingual() => None,
            LanguageChoice::Auto => Some(Lang::ENGLISH),
            LanguageChoice::Fixed(language) if model.knows(language) => Some(language),
            LanguageChoice::Fixed(language) if model.is_multilingual() => {
                return Err(SpeechError::UnknownLanguage(language));
            }
            LanguageChoice::Fixed(language) => return Err(SpeechError::EnglishOnly(language)),
        };
        Ok(Request {
            prompt: pieces::prompt_tokens(model.context(), options.prompt.as_deref(), &options.vocabulary),
            language,
            task: options.task,
            temperature: options.temperature.clamp(0.0, 1.0),
            word_times: options.word_times,
            token_logprobs: options.token_logprobs,
        })
    }
}

/// Encoder frames for a clip of so many seconds; `None` is the full window. Measured with base q8_0 and 2 threads on 82
/// clips of 2 to 10 s (LibriVox, playing-card commands, synthesised requests, each also in pink noise), mean time and
/// word errors: 384 with a margin of 64: 217 ms, 4.1 %; 448/96: 232 ms, 4.1 %; 512/128: 259 ms, 3.9 %; 640/160: 319 ms,
/// 4.0 %; 768/128: 389 ms, 3.8 %; the full window: 1261 ms, 4.0 %.
pub(super) fn short_context(seconds: f64, flash_attention: bool) -> Option<usize> {
    // whisper.cpp rounds up the keys that flash attention sees to 256 and leaves there what an earlier clip wrote.
    let step = if flash_attention { 256 } else { 64 };
    let frames = (FRAMES_PER_SECOND * seconds) as usize;
    let context = (frames + 128).max(512).next_multiple_of(step);
    (context < 1400).then_some(context)
}

/// Whisper takes 30 s at once: a longer utterance (nobody ran the segmenter) is cut at its quietest places.
fn split(utterance: &Utterance) -> Vec<Utterance> {
    let most = (LONGEST * f64::from(SPEECH_RATE)) as usize;
    if utterance.samples().len() <= most {
        return vec![utterance.clone()];
    }
    let mut rest = utterance.samples();
    let mut at = utterance.start();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let n = if rest.len() <= most { rest.len() } else { vad::best_cut_of_samples(&rest[..most]) };
        out.extend(Utterance::whole(rest[..n].to_vec(), at));
        at += n as f64 / f64::from(SPEECH_RATE);
        rest = &rest[n..];
    }
    out
}

/// Nothing above the last bit of 16-bit samples.
fn is_digital_silence(samples: &[f32]) -> bool {
    samples.iter().all(|s| s.abs() <= 1.0 / 32_768.0)
}
