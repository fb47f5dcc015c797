//! `bestbox serve`: OpenAI's audio API, the whole pipeline, long jobs and a web page over HTTP.
//!
//! ```text
//! edge (request id, log, host and origin, key, rate) -> admission -> upload to disk -> plan -> pipeline -> body | SSE
//! ```
//!
//! Every handler ends in the same pipeline as the command line. A request that is given up drops its future, and with
//! it its place, its files and its work (see `Work`).

mod admission;
mod agent;
mod api;
mod body;
mod drain;
mod edge;
mod error;
mod events;
mod form;
mod health;
mod jobs;
mod lock;
mod metrics;
mod openai;
mod page;
mod pipeline;
mod plan;
mod problems;
mod realtime;
mod render;
mod sse;
mod state;
mod text;
mod upload;
mod work;

use super::Override;
use super::progress::Progress;
use super::session::{Overrides, program};
use crate::audio::Channels;
use crate::cli::{Global, ServeArgs};
use crate::config::{Config, Loaded};
use crate::engine::{Engine, Need, Needs, Start, Upkeep};
use crate::error::Error;
use axum::middleware::from_fn_with_state;
use state::Service;
use std::sync::Arc;
use toml::Value;

/// The command's own flags as configuration.
pub(super) fn overrides(args: &ServeArgs) -> Vec<Override> {
    let mut set = Overrides::default();
    set.text("serve.host", "--host", args.host.clone());
    set.value("serve.port", "--port", args.port.map(|port| Value::Integer(port.into())));
    set.value("serve.insecure", "--insecure", args.insecure.then_some(Value::Boolean(true)));
    set.text("speech.model", "--model", args.model.clone());
    set.0
}

/// Whether others than this machine may come in.
fn listening_to_others(config: &Config) -> bool {
    let address: Result<std::net::IpAddr, _> = config.serve.host.parse();
    !(config.serve.host == "localhost" || address.is_ok_and(|address| address.is_loopback()))
}

/// Serves until SIGINT or SIGTERM.
pub(super) async fn run(loaded: Loaded, global: Global) -> Result<(), Error> {
    let config = loaded.config;
    let progress = Progress::new(&global);
    // Bound before anything is loaded, so that a second instance is told at once.
    let listening = edge::listen::bind(&config.serve).await?;
    if listening.exposed {
        progress.line("warning: anybody who reaches this address can use the service; there are no keys (--insecure)");
    }
    let service = Arc::new(Service::new(config.clone())?);
    service.jobs.open().await?;
    let stop = super::interrupt::token();
    let handle = axum_server::Handle::new();
    // The outermost layer counts what the edge turns away too.
    let app = edge::guarded(api::router(service.clone()), &config.serve, listening.address)
        .layer(from_fn_with_state(service.clone(), metrics::observe));
    let url = listening.url();
    let mut serving = tokio::spawn(listening.serve(app, handle.clone()));
    progress.line(&format!("bestbox listens on {url}"));
    let needs = Needs { speech: true, light: Need::AtStart, cleanup: true, intent: true, heavy: Need::OnDemand };
    let start = Start {
        config,
        needs,
        channels: Channels::Average,
        program: program()?,
        notice: progress.notice(),
        upkeep: Upkeep::Kept,
    };
    // It answers while it loads, so that whoever watches it sees what it is doing.
    let loaded = stop.run_until_cancelled(Engine::start(start)).await;
    if let Some(engine) = loaded {
        let engine = engine?;
        // With keys others use the service: what its owner said is not theirs to search.
        if engine.config().serve.keys.is_empty() && !listening_to_others(engine.config()) {
            engine.set_transcripts(super::transcripts::of(engine.config()));
        }
        service.loaded(engine);
        service.jobs.start(&service);
        progress.line("bestbox is ready");
    }
    tokio::select! {
        () = stop.cancelled() => {}
        ended = &mut serving => {
            let why = ended.map_or_else(|panic| panic.to_string(), |ended| format!("{ended:?}"));
            return Err(Error::Usage(format!("the service ended: {why}")));
        }
    }
    drain::end(&service, &handle).await;
    Ok(())
}
