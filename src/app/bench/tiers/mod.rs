//! `bestbox bench tiers`: the promise of two models, measured. Four set-ups on the same utterances, taking turns in the
//! same run: one model as the original assistant used it (a JSON route with reasoning, one step after the other), one
//! model with our one-token router, two tiers, and these with a head start. At one, two and four speakers.
//!
//! All share one heavy server, which has slots enough for everything (the single model is not made to evict its
//! own prompts), so nothing is loaded twice and no set-up has a better machine than another.

mod held_out;
mod original;
mod page;
mod report;
mod setups;

use super::Bench;
use crate::app::interrupt;
use crate::app::session::{plan, program};
use crate::audio::Channels;
use crate::config::{Config, HeadStartConfig, Tiers};
use crate::engine::{Engine, Need, Needs, Start, Upkeep};
use crate::error::Error;
use crate::outcome::{Plan, Style, Tier};
use crate::output::write_whole;
use held_out::{Accuracies, Utterance};
pub(super) use report::Report;
use report::{Accuracy, Cell, Measured};
use setups::{Engines, Setup, Speech};
use std::collections::BTreeMap;

/// People who speak at once.
const SPEAKERS: [usize; 3] = [1, 2, 4];

/// Measures; `--html` also writes the page.
pub(super) async fn run(bench: &Bench<'_>) -> Result<Report, Error> {
    let items = held_out::read(&bench.args.held_out)?;
    let configured = &bench.loaded.config;
    let base = Plan { clean: Style::Punctuate, translate: None, ..plan(configured)? };
    let engines = start(bench, configured, base).await?;
    let result = measure(bench, &engines, &items).await;
    engines.stop().await;
    let report = result?;
    if let Some(path) = &bench.args.html {
        write_whole(path, &page::html(&report))?;
    }
    Ok(report)
}

async fn start(bench: &Bench<'_>, configured: &Config, plan: Plan) -> Result<Engines, Error> {
    let mut config = configured.clone();
    config.agent.max_tokens = bench.args.answer_tokens;
    // The same answer each time: nothing is remembered and no tool is called.
    config.agent.memory_turns = 0;
    config.agent.allow.clear();
    config.agent.mcp.clear();
    config.quick.max_tokens = bench.args.answer_tokens;
    // Intent, cleanup and answer each keep their prompt, and cleanup is as clever: what the two tiers have together, the
    // single model has too.
    config.heavy.parallel = config.heavy.parallel.max(3);
    config.heavy.speculate = config.heavy.speculate.max(config.light.speculate);
    config.head_start.enabled = false;
    let needs = Needs { speech: false, light: Need::AtStart, cleanup: true, intent: true, heavy: Need::AtStart };
    let engine = async |config: Config| {
        let notice = bench.progress.notice();
        let (channels, upkeep) = (Channels::Average, Upkeep::Once);
        let engine = Engine::start(Start { config, needs, channels, program: program()?, notice, upkeep }).await?;
        engine.ready(&[Tier::Light, Tier::Heavy]).await;
        Ok::<_, Error>(engine)
    };
    let single = Config { tiers: Tiers::HeavyOnly, ..config.clone() };
    let two = Config { tiers: Tiers::Both, ..config };
    let ahead = Config { head_start: HeadStartConfig { enabled: true, share: 0.0 }, ..two.clone() };
    // An engine that is dropped takes its servers along.
    let engines = Engines { single: engine(single).await?, two: engine(two).await?, ahead: engine(ahead).await?, plan };
    match engines.clients().await {
        Ok(_) => Ok(engines),
        Err(error) => {
            engines.stop().await;
            Err(error)
        }
    }
}

async fn measure(bench: &Bench<'_>, engines: &Engines, items: &[Utterance]) -> Result<Report, Error> {
    let cancel = interrupt::token();
    let nearest_to_prompt = held_out::apart(engines.two.routes(), items)?;
    let Accuracies { routers, agreed } = held_out::accuracies(bench, engines, items, &cancel).await?;
    let timed: Vec<&Utterance> = held_out::choose(&agreed, items, bench.args.utterances as usize);
    let mut cells: BTreeMap<(Setup, usize), Cell> = BTreeMap::new();
    // Round 0 warms every set-up up with one utterance and does not count.
    for round in 0..=bench.args.repeat {
        for speakers in if round == 0 { &SPEAKERS[..1] } else { &SPEAKERS[..] } {
            for setup in Setup::ALL {
                let some = if round == 0 { &timed[..timed.len().min(1)] } else { &timed[..] };
                bench.progress.line(&format!("round {round}, {speakers} at once: {}", setup.name()));
                let before = engines.usage().await?;
                let samples =
                    setups::run(engines, setup, Speech { utterances: some, speakers: *speakers }, &cancel).await?;
                let used = engines.usage().await?.since(before);
                if round > 0 {
                    cells.entry((setup, *speakers)).or_default().add(samples, used);
                }
            }
        }
    }
    Ok(Report::new(Measured {
        heavy: engines.model(Tier::Heavy).await,
        light: engines.model(Tier::Light).await,
        memory: engines.memory().await?,
        accuracy: Accuracy { held_out: items.len(), nearest_to_prompt, routers },
        utterances: timed.len(),
        same_routes: agreed.len() >= timed.len(),
        repeat: bench.args.repeat,
        answer_tokens: bench.args.answer_tokens,
        cells,
    }))
}
