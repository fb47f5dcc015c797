//! Cleanup and intent on the light model, and what bestbox itself adds to the model calls.

use super::clips::load;
use super::{Bench, Figure, median, p95};
use crate::app::session::{plan, program};
use crate::audio::{Channels, Input};
use crate::config::Tiers;
use crate::engine::{Engine, Need, Needs, Start, Upkeep};
use crate::error::Error;
use crate::outcome::{Outcome, Plan, Route, Style, Tier};
use crate::pipeline::{self, Run};
use crate::speech::{Segment, Transcript};
use crate::text::llm::Usage;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(super) async fn run(bench: &Bench<'_>) -> Result<Vec<Figure>, Error> {
    let clips = load(bench).await?;
    let config = bench.loaded.config.clone();
    let base = Plan { route: Route::Text, clean: Style::Verbatim, translate: None, ..plan(&config)? };
    let both = Plan { route: Route::Auto, clean: Style::Punctuate, ..base.clone() };
    let needs = Needs::of(&both, &config, true);
    let notice = bench.progress.notice();
    let start = Start { config, needs, channels: Channels::Average, program: program()?, notice, upkeep: Upkeep::Once };
    let engine = Engine::start(start).await?;
    engine.ready(&[Tier::Light]).await;
    let mut result = measure(bench, &engine, &clips, &base, &both).await;
    if let Ok(figures) = &mut result
        && bench.loaded.config.light.manage
        && bench.loaded.config.tiers == Tiers::Both
    {
        match speculation(bench, &engine, &clips, &both).await {
            Ok(more) => figures.extend(more),
            Err(error) => result = Err(error),
        }
    }
    engine.stop().await;
    result
}

async fn measure(
    bench: &Bench<'_>,
    engine: &Engine,
    clips: &[super::clips::Clip],
    base: &Plan,
    both: &Plan,
) -> Result<Vec<Figure>, Error> {
    let mut alone = (Vec::new(), Vec::new());
    let cleaning = Plan { route: Route::Text, ..both.clone() };
    let deciding = Plan { clean: Style::Verbatim, ..both.clone() };
    let english = clips.iter().filter(|clip| clip.language == crate::language::Lang::ENGLISH);
    for (round, clip) in (0..=bench.args.repeat).flat_map(|round| english.clone().map(move |clip| (round, clip))) {
        let transcript = spoken(&clip.reference);
        let cleaned = text(engine, &cleaning, transcript.clone()).await?;
        let decided = text(engine, &deciding, transcript).await?;
        if round > 0 {
            alone.0.extend(cleaned.timings.clean_ms);
            alone.1.extend(decided.timings.intent_ms);
        }
    }
    let note = |values: &[f64]| format!("median of {}, p95 {:.0} ms; warm, one at a time", values.len(), p95(values));
    let mut figures = vec![
        Figure::new("cleanup (punctuate)", format!("{:.0} ms", median(&alone.0)), note(&alone.0)),
        Figure::new("intent", format!("{:.0} ms", median(&alone.1)), note(&alone.1)),
    ];
    figures.push(overhead(bench, engine, clips, base).await?);
    Ok(figures)
}

/// Tokens guessed ahead where the configuration guesses none.
const GUESSED: u32 = 6;

/// Cleanup with n-gram speculation and without, on two servers that take turns.
async fn speculation(
    bench: &Bench<'_>,
    engine: &Engine,
    clips: &[super::clips::Clip],
    both: &Plan,
) -> Result<Vec<Figure>, Error> {
    let mut config = bench.loaded.config.clone();
    let configured = config.light.speculate;
    config.light.speculate = if configured > 0 { 0 } else { GUESSED };
    let needs = Needs { light: Need::AtStart, cleanup: true, ..Needs::default() };
    let notice = bench.progress.notice();
    let start = Start { config, needs, channels: Channels::Average, program: program()?, notice, upkeep: Upkeep::Once };
    let other = Engine::start(start).await?;
    other.ready(&[Tier::Light]).await;
    let (with, without) = if configured > 0 { (engine, &other) } else { (&other, engine) };
    let result = compare(bench, [without, with], clips, &Plan { route: Route::Text, ..both.clone() }).await;
    other.stop().await;
    result
}

async fn compare(
    bench: &Bench<'_>,
    engines: [&Engine; 2],
    clips: &[super::clips::Clip],
    plan: &Plan,
) -> Result<Vec<Figure>, Error> {
    let english: Vec<_> = clips.iter().filter(|clip| clip.language == crate::language::Lang::ENGLISH).collect();
    let mut times = [Vec::new(), Vec::new()];
    let (mut ratios, mut same) = (Vec::new(), 0);
    let mut usage = [Usage::default(); 2];
    for round in 0..=bench.args.repeat {
        for clip in &english {
            let mut texts = Vec::new();
            let mut ms = [0.0; 2];
            for (at, engine) in engines.into_iter().enumerate() {
                let before = usage_of(engine).await;
                let outcome = text(engine, plan, spoken(&clip.reference)).await?;
                ms[at] = outcome.timings.clean_ms.unwrap_or(0.0);
                texts.push(outcome.cleaned.map(|cleaned| cleaned.track.text));
                if round > 0 {
                    times[at].push(ms[at]);
                    usage[at] = usage[at] + usage_of(engine).await.since(before);
                }
            }
            if round > 0 {
                ratios.push(ms[0] / ms[1].max(0.001));
                same += usize::from(texts[0] == texts[1]);
            }
        }
    }
    let tokens = |at: usize| usage[at].generated_tokens as f64 / times[at].len().max(1) as f64;
    let with = format!(
        "median of {}; {:.2}x as fast (median over texts), the same text in {same} of {}; {:.0} tokens a text",
        times[1].len(),
        median(&ratios),
        ratios.len(),
        tokens(1)
    );
    let without = format!("median of {}, taking turns with the line below", times[0].len());
    Ok(vec![
        Figure::new("cleanup, every token decoded", format!("{:.0} ms", median(&times[0])), without),
        Figure::new("cleanup, n-gram speculation", format!("{:.0} ms", median(&times[1])), with),
    ])
}

async fn usage_of(engine: &Engine) -> Usage {
    engine.client(Tier::Light).await.map(|client| client.usage()).unwrap_or_default()
}

/// Whole pipeline against the sum of its recognition calls, on the clip that is nearest to 10 s.
async fn overhead(
    bench: &Bench<'_>,
    engine: &Engine,
    clips: &[super::clips::Clip],
    base: &Plan,
) -> Result<Figure, Error> {
    let distance = |clip: &super::clips::Clip| (clip.seconds() - 10.0).abs();
    let Some(clip) = clips.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))) else {
        return Err(Error::Usage("the manifest is empty".into()));
    };
    let plan = Plan {
        clean: Style::Punctuate,
        language: crate::language::LanguageChoice::Fixed(clip.language),
        ..base.clone()
    };
    let mut shares = Vec::new();
    for round in 0..=bench.args.repeat {
        let observer = |_: pipeline::Event<'_>| {};
        let cancel = CancellationToken::new();
        let run = Run::new(engine, &plan, &observer, &cancel);
        let before = engine.model_ms().await;
        let outcome = pipeline::run_audio(run, Input::File(clip.path.clone()), "clip").await?;
        let models = outcome.timings.recognize_ms.unwrap_or(0.0) + engine.model_ms().await - before;
        if round > 0 {
            shares.push((outcome.timings.total_ms - models) / models * 100.0);
        }
    }
    let note = format!(
        "decoding, voice detection, grammar, checks and scheduling over recognition and cleanup calls, {:.1} s clip, median of {}",
        clip.seconds(),
        shares.len()
    );
    Ok(Figure::new("overhead of bestbox", format!("{:.1} %", median(&shares)), note))
}

/// The reference as speech recognition would give it: lower case, no punctuation.
fn spoken(reference: &str) -> Transcript {
    let text: String =
        reference.to_lowercase().chars().filter(|c| c.is_alphanumeric() || c.is_whitespace() || *c == '\'').collect();
    let language = Some(crate::language::Lang::ENGLISH);
    Transcript { language, segments: vec![Segment { text, ..Segment::default() }] }
}

async fn text(engine: &Engine, plan: &Plan, transcript: Transcript) -> Result<Outcome, Error> {
    let cancel = CancellationToken::new();
    let observer: Arc<dyn Fn(pipeline::Event<'_>) + Send + Sync> = Arc::new(|_| {});
    let run = Run::new(engine, plan, &*observer, &cancel);
    pipeline::run_text(run, transcript, "text").await
}
