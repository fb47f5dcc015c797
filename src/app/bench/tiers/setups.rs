//! The three set-ups, and one utterance through each of them.

use super::held_out::Utterance;
use super::original;
use crate::app::bench::memory::resident;
use crate::engine::Engine;
use crate::error::Error;
use crate::language::Lang;
use crate::outcome::{Action, Outcome, Plan, Route, Style, Tier};
use crate::pipeline::{self, Event, Run};
use crate::speech::{Segment, Transcript};
use crate::text::llm::{Client, Usage};
use futures_util::future::join_all;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// How an utterance is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Setup {
    /// The heavy model does everything, one step after the other, and routes by JSON with reasoning.
    Json,
    /// The heavy model does everything, with our one-token router beside cleanup.
    Single,
    /// Light for route, cleanup and quick answers; heavy for the rest.
    Two,
    /// The same, and the heavy model reads what was said while the light one decides.
    Ahead,
}

impl Setup {
    pub const ALL: [Setup; 4] = [Setup::Json, Setup::Single, Setup::Two, Setup::Ahead];

    pub fn name(self) -> &'static str {
        match self {
            Setup::Json => "(a) one model, JSON route",
            Setup::Single => "(b) one model, one-token route",
            Setup::Two => "(c) two tiers",
            Setup::Ahead => "(d) two tiers, head start",
        }
    }
}

/// Milliseconds of one utterance, from the recognised words on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// Until the route was known; in (a) the routing call alone, not the cleanup before it.
    pub route: f64,
    /// Until the clean text was there.
    pub cleaned: f64,
    /// Until the first piece of an answer; notes have none.
    pub first: Option<f64>,
    /// Until everything was there.
    pub end: f64,
}

/// The engines; they share the servers.
pub(super) struct Engines {
    /// `tiers = heavy-only`.
    pub single: Engine,
    /// `tiers = both`.
    pub two: Engine,
    /// The same with `head_start` for every utterance.
    pub ahead: Engine,
    /// What is done to the words; the route is each step's own.
    pub plan: Plan,
}

impl Engines {
    pub async fn stop(&self) {
        tokio::join!(self.single.stop(), self.two.stop(), self.ahead.stop());
    }

    /// Heavy and light of the two tiers.
    ///
    /// # Errors
    /// A tier that did not come up: there is nothing to compare then.
    pub async fn clients(&self) -> Result<Clients, Error> {
        let missing = |reason| Error::Usage(format!("both tiers are needed for this comparison: {reason}"));
        let of = async |engine: &Engine, tier| engine.client(tier).await.map_err(missing);
        Ok(Clients {
            single: of(&self.single, Tier::Heavy).await?,
            tiers: [of(&self.two, Tier::Heavy).await?, of(&self.two, Tier::Light).await?],
            ahead: [of(&self.ahead, Tier::Heavy).await?, of(&self.ahead, Tier::Light).await?],
        })
    }

    /// Tokens used so far, all servers together.
    pub async fn usage(&self) -> Result<Usage, Error> {
        let Clients { single, tiers, ahead } = self.clients().await?;
        let all = std::iter::once(&single).chain(&tiers).chain(&ahead);
        Ok(all.fold(Usage::default(), |sum, client| sum + client.usage()))
    }

    /// The model of a tier as its server names it.
    pub async fn model(&self, tier: Tier) -> String {
        self.two.model_name(tier).await.ok().flatten().unwrap_or_else(|| "unknown".to_owned())
    }

    /// Highest resident memory of the heavy and of the light server, bytes; `None` where they are not ours to look at.
    pub async fn memory(&self) -> Result<[Option<u64>; 2], Error> {
        let Clients { tiers: [heavy, light], .. } = self.clients().await?;
        Ok([server_memory(&heavy), server_memory(&light)])
    }
}

/// One a server and engine: what each has used is counted apart.
pub(super) struct Clients {
    /// The heavy server as the single model.
    pub single: Client,
    /// Heavy and light of the two tiers.
    tiers: [Client; 2],
    /// The same with a head start.
    ahead: [Client; 2],
}

/// Highest resident size of the llama-server that listens where `client` sends to, bytes.
fn server_memory(client: &Client) -> Option<u64> {
    let url = reqwest::Url::parse(&client.endpoint().base_url).ok()?;
    let port = url.port()?.to_string();
    let listens = |pid: u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let server = words.first()?.ends_with(b"llama-server");
        let port = words.windows(2).any(|pair| pair[0] == b"--port" && pair[1] == port.as_bytes());
        (server && port).then_some(pid)
    };
    let processes = std::fs::read_dir("/proc").ok()?;
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(listens).filter_map(resident).max()
}

/// What is said, and by how many at once.
#[derive(Clone, Copy)]
pub(super) struct Speech<'a> {
    pub utterances: &'a [&'a Utterance],
    pub speakers: usize,
}

/// All utterances through one set-up, as many at a time as there are speakers: each says the next as soon as the last is done.
pub(super) async fn run(
    engines: &Engines,
    setup: Setup,
    speech: Speech<'_>,
    cancel: &CancellationToken,
) -> Result<Vec<Sample>, Error> {
    let Speech { utterances, speakers } = speech;
    let speaker = |first: usize| async move {
        let mut samples = Vec::new();
        for (at, utterance) in utterances.iter().enumerate().skip(first).step_by(speakers) {
            samples.push((at, one(engines, setup, utterance, cancel).await?));
        }
        Ok::<_, Error>(samples)
    };
    let mut all = Vec::new();
    for samples in join_all((0..speakers).map(speaker)).await {
        all.extend(samples?);
    }
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, sample)| sample).collect())
}

async fn one(
    engines: &Engines,
    setup: Setup,
    utterance: &Utterance,
    cancel: &CancellationToken,
) -> Result<Sample, Error> {
    let text = utterance.text.as_str();
    match setup {
        Setup::Json => in_order(engines, utterance, cancel).await,
        Setup::Single => at_once(&engines.single, &engines.plan, text, cancel).await.map(|(sample, _)| sample),
        Setup::Two => at_once(&engines.two, &engines.plan, text, cancel).await.map(|(sample, _)| sample),
        Setup::Ahead => at_once(&engines.ahead, &engines.plan, text, cancel).await.map(|(sample, _)| sample),
    }
}

/// Through the pipeline as any text goes.
async fn at_once(
    engine: &Engine,
    plan: &Plan,
    text: &str,
    cancel: &CancellationToken,
) -> Result<(Sample, Outcome), Error> {
    let begun = Instant::now();
    let ms = || begun.elapsed().as_secs_f64() * 1000.0;
    let marks: Mutex<Sample> = Mutex::default();
    let observer = |event: Event<'_>| {
        let mut marks = marks.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Intent(_) => marks.route = ms(),
            Event::Cleaned(_) => marks.cleaned = ms(),
            Event::ReplyDelta(_) => {
                marks.first.get_or_insert_with(ms);
            }
            _ => {}
        }
    };
    let run = Run::new(engine, plan, &observer, cancel);
    let outcome = pipeline::run_text(run, transcript(text), "utterance").await?;
    let mut sample = *marks.lock().unwrap_or_else(PoisonError::into_inner);
    sample.end = ms();
    Ok((sample, outcome))
}

/// Cleanup, then the route, then the answer, all by the heavy model. It answers what the right route asks for, whatever
/// it decided: then all set-ups do the same work, and what a wrong decision costs shows in the accuracy.
async fn in_order(engines: &Engines, utterance: &Utterance, cancel: &CancellationToken) -> Result<Sample, Error> {
    let (engine, text) = (&engines.single, utterance.text.as_str());
    let begun = Instant::now();
    let clean = Plan { route: Route::Text, ..engines.plan.clone() };
    let (cleaned, _) = at_once(engine, &clean, text, cancel).await?;
    let client = engines.clients().await?.single;
    let routing = Instant::now();
    original::route(&client, engine.routes(), text, cancel).await?;
    let route = routing.elapsed().as_secs_f64() * 1000.0;
    let before = begun.elapsed().as_secs_f64() * 1000.0;
    let mut sample = Sample { route, cleaned: cleaned.cleaned, first: None, end: before };
    let right = engine.routes().routes().iter().find(|route| route.name == utterance.label);
    if right.unwrap_or(engine.routes().default_route()).action != Action::Text {
        let answer = Plan { route: Route::Agent, clean: Style::Verbatim, ..engines.plan.clone() };
        let (answered, _) = at_once(engine, &answer, text, cancel).await?;
        sample.first = answered.first.map(|first| before + first);
        sample.end = before + answered.end;
    }
    Ok(sample)
}

/// The route that `engine` takes for `text`.
pub(super) async fn route(
    engine: &Engine,
    plan: &Plan,
    text: &str,
    cancel: &CancellationToken,
) -> Result<Option<String>, Error> {
    let plan = Plan { route: Route::Intent, clean: Style::Verbatim, ..plan.clone() };
    let (_, outcome) = at_once(engine, &plan, text, cancel).await?;
    Ok(outcome.intent.map(|intent| intent.label))
}

fn transcript(text: &str) -> Transcript {
    let segment = Segment { text: text.to_owned(), ..Segment::default() };
    Transcript { language: Some(Lang::ENGLISH), segments: vec![segment] }
}
