//! Notifications of macOS and Windows. Not compiled on Linux.

use super::next;
use crate::app::dictate::control::{Controller, Event};
use tokio_util::sync::CancellationToken;

/// Shows notifications until `stop`.
pub async fn run(controller: Controller, stop: CancellationToken) -> Result<(), String> {
    let mut events = controller.events();
    while let Some(event) = next(&mut events, &stop).await {
        let (summary, body) = match event {
            Event::Reply { text, .. } => ("Answer", text),
            Event::Confirm { tool, arguments, .. } => ("Allow this? Say yes or no.", format!("{tool}\n{arguments}")),
            Event::Error { message, .. } => ("Dictation failed", message),
            Event::Warning { message } | Event::Microphone { message, .. } => ("Dictation", message),
            Event::Delivered { how, .. } if how == "clipboard" => {
                ("The text is in the clipboard", "Paste it where you want it.".to_owned())
            }
            _ => continue,
        };
        let shown = tokio::task::spawn_blocking(move || {
            notify_rust::Notification::new().appname("bestbox").summary(summary).body(&body).show().map(drop)
        });
        if let Ok(Err(error)) = shown.await {
            tracing::warn!("no notification: {error}");
        }
    }
    Ok(())
}
