//! Music and films are paused while a take is recorded (MPRIS). Only what played goes on afterwards, and only if it is
//! still paused: what the user did meanwhile counts.

use super::next;
use crate::app::dictate::control::{Controller, Event};
use crate::app::dictate::desktop_session::Session;
use crate::app::dictate::machine::State;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use zbus::fdo::DBusProxy;
use zbus::names::OwnedBusName;

const PREFIX: &str = "org.mpris.MediaPlayer2.";
/// Stands for other players, which are listed themselves.
const PROXY: &str = "org.mpris.MediaPlayer2.playerctld";
/// A player that takes longer is left alone.
const ANSWER: Duration = Duration::from_millis(700);

#[zbus::proxy(interface = "org.mpris.MediaPlayer2.Player", default_path = "/org/mpris/MediaPlayer2")]
trait Player {
    fn play(&self) -> zbus::Result<()>;
    fn pause(&self) -> zbus::Result<()>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn playback_status(&self) -> zbus::Result<String>;
}

/// Pauses and resumes until `stop`; then whatever is paused goes on.
pub async fn run(session: Session, controller: Controller, stop: CancellationToken) -> Result<(), String> {
    let mut events = controller.events();
    let bus = session.bus().await.map_err(|error| format!("there is no session bus ({error})"))?;
    let names = DBusProxy::new(&bus).await.map_err(|error| error.to_string())?;
    let mut paused: Vec<OwnedBusName> = Vec::new();
    while let Some(event) = next(&mut events, &stop).await {
        let Event::StateChanged { state, .. } = event else { continue };
        match state {
            State::Recording if paused.is_empty() => {
                let all = names.list_names().await.map_err(|error| error.to_string())?;
                let players = all.into_iter().filter(|name| name.starts_with(PREFIX) && name.as_str() != PROXY);
                let pausing = players.map(|name| within(name.clone(), pause(&bus, name)));
                let done = futures_util::future::join_all(pausing).await;
                paused = done.into_iter().flatten().collect();
            }
            State::Recording => {}
            State::Idle | State::Processing => go_on(&bus, std::mem::take(&mut paused)).await,
        }
    }
    go_on(&bus, paused).await;
    Ok(())
}

async fn go_on(bus: &zbus::Connection, players: Vec<OwnedBusName>) {
    let playing = players.into_iter().map(|name| within(name.clone(), play(bus, name)));
    futures_util::future::join_all(playing).await;
}

/// The player, where it played and is paused now.
async fn pause(bus: &zbus::Connection, name: OwnedBusName) -> zbus::Result<Option<OwnedBusName>> {
    let player = PlayerProxy::builder(bus).destination(name.clone())?.build().await?;
    if player.playback_status().await? != "Playing" {
        return Ok(None);
    }
    player.pause().await?;
    Ok(Some(name))
}

async fn play(bus: &zbus::Connection, name: OwnedBusName) -> zbus::Result<Option<OwnedBusName>> {
    let player = PlayerProxy::builder(bus).destination(name.clone())?.build().await?;
    if player.playback_status().await? == "Paused" {
        player.play().await?;
    }
    Ok(Some(name))
}

async fn within(
    name: OwnedBusName,
    work: impl Future<Output = zbus::Result<Option<OwnedBusName>>>,
) -> Option<OwnedBusName> {
    match tokio::time::timeout(ANSWER, work).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => {
            tracing::debug!("{name}: {error}");
            None
        }
        Err(_) => {
            tracing::debug!("{name} does not answer");
            None
        }
    }
}
