//! The icon in the tray (StatusNotifierItem): what dictation does, its microphone and language, and a menu.

use crate::app::dictate::control::{Controller, Status};
use crate::app::dictate::machine::{Command, State};
use ksni::TrayMethods;
use ksni::menu::{CheckmarkItem, MenuItem, StandardItem};
use tiny_skia::{Color, FillRule, Paint, PathBuilder, Pixmap, Rect, Stroke, Transform};
use tokio_util::sync::CancellationToken;

/// Edge of the icon, pixels; panels scale it down.
const SIZE: u32 = 48;

/// Shows the icon until `stop`. Where there is no tray yet, it appears once there is one.
pub async fn run(controller: Controller, stop: CancellationToken) -> Result<(), String> {
    let mut status = controller.status();
    let mut face = Face::of(&status.borrow_and_update());
    let icon = Icon { face: face.clone(), controller };
    let handle = icon.assume_sni_available(true).spawn().await.map_err(|error| error.to_string())?;
    loop {
        tokio::select! {
            changed = status.changed() => if changed.is_err() { break },
            () = stop.cancelled() => break,
        }
        let now = Face::of(&status.borrow_and_update());
        // The level changes ten times a second and is not shown here.
        if now != face {
            face = now.clone();
            if handle.update(move |icon| icon.face = now).await.is_none() {
                break;
            }
        }
    }
    handle.shutdown().await;
    Ok(())
}

/// What of the status is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Face {
    state: State,
    microphone: String,
    language: String,
    ready: bool,
    private: bool,
}

impl Face {
    fn of(status: &Status) -> Self {
        Face {
            state: status.state,
            microphone: status.microphone.clone().unwrap_or_else(|| "none".to_owned()),
            language: status.language.clone(),
            ready: status.ready,
            private: status.private,
        }
    }

    fn says(&self) -> &'static str {
        match self.state {
            State::Recording => "Recording",
            State::Processing => "Making text",
            State::Idle if self.ready => "Ready",
            State::Idle => "Loading the models",
        }
    }
}

struct Icon {
    face: Face,
    controller: Controller,
}

impl ksni::Tray for Icon {
    fn id(&self) -> String {
        "bestbox".into()
    }

    fn title(&self) -> String {
        "bestbox dictation".into()
    }

    fn category(&self) -> ksni::Category {
        ksni::Category::ApplicationStatus
    }

    fn status(&self) -> ksni::Status {
        if self.face.state == State::Recording { ksni::Status::NeedsAttention } else { ksni::Status::Active }
    }

    fn icon_pixmap(&self) -> Vec<ksni::Icon> {
        icon(self.face.state).into_iter().collect()
    }

    fn attention_icon_pixmap(&self) -> Vec<ksni::Icon> {
        self.icon_pixmap()
    }

    fn tool_tip(&self) -> ksni::ToolTip {
        let description = format!("Microphone: {}\nLanguage: {}", self.face.microphone, self.face.language);
        ksni::ToolTip { title: format!("bestbox: {}", self.face.says()), description, ..ksni::ToolTip::default() }
    }

    fn activate(&mut self, _x: i32, _y: i32) {
        self.controller.send(Command::Toggle { binding: None });
    }

    fn menu(&self) -> Vec<MenuItem<Self>> {
        let note = |label: String| StandardItem { label, enabled: false, ..StandardItem::default() }.into();
        let action = |label: &str, enabled: bool, command: Command| {
            StandardItem {
                label: label.to_owned(),
                enabled,
                activate: Box::new(move |icon: &mut Icon| icon.controller.send(command.clone())),
                ..StandardItem::default()
            }
            .into()
        };
        let recording = self.face.state == State::Recording;
        let toggle = if recording { "Stop recording" } else { "Start recording" };
        vec![
            note(self.face.says().to_owned()),
            note(format!("Microphone: {}", self.face.microphone)),
            note(format!("Language: {}", self.face.language)),
            MenuItem::Separator,
            action(toggle, true, Command::Toggle { binding: None }),
            action("Cancel", self.face.state != State::Idle, Command::Cancel),
            action("Insert the last text again", !recording, Command::Again),
            action("Make text of what was cancelled", !recording, Command::Recover),
            MenuItem::Separator,
            CheckmarkItem {
                label: "Private: keep nothing".into(),
                checked: self.face.private,
                activate: Box::new(|icon: &mut Icon| icon.controller.send(Command::Private { on: !icon.face.private })),
                ..CheckmarkItem::default()
            }
            .into(),
            action("Quit", true, Command::Quit),
        ]
    }

    fn watcher_offline(&self, reason: ksni::OfflineReason) -> bool {
        tracing::info!("no tray now: {reason:?}");
        // It comes back when the panel does.
        true
    }
}

/// A microphone; red and filled while recording, amber while text is made.
fn icon(state: State) -> Option<ksni::Icon> {
    let mut pixmap = Pixmap::new(SIZE, SIZE)?;
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(match state {
        State::Recording => Color::from_rgba8(229, 57, 53, 255),
        State::Processing => Color::from_rgba8(251, 176, 36, 255),
        State::Idle => Color::from_rgba8(200, 205, 210, 255),
    });
    let stroke = Stroke { width: 4.0, line_cap: tiny_skia::LineCap::Round, ..Stroke::default() };
    // Capsule.
    let mut body = PathBuilder::new();
    body.push_circle(24.0, 13.0, 8.0);
    body.push_rect(Rect::from_xywh(16.0, 13.0, 16.0, 12.0)?);
    body.push_circle(24.0, 25.0, 8.0);
    pixmap.fill_path(&body.finish()?, &paint, FillRule::Winding, Transform::identity(), None);
    // Holder, foot.
    let mut holder = PathBuilder::new();
    holder.move_to(10.0, 23.0);
    holder.cubic_to(10.0, 42.0, 38.0, 42.0, 38.0, 23.0);
    holder.move_to(24.0, 38.0);
    holder.line_to(24.0, 45.0);
    holder.move_to(16.0, 45.0);
    holder.line_to(32.0, 45.0);
    pixmap.stroke_path(&holder.finish()?, &paint, &stroke, Transform::identity(), None);
    // The protocol wants ARGB, not premultiplied, in network order.
    let argb = pixmap.pixels().iter().flat_map(|pixel| {
        let color = pixel.demultiply();
        [color.alpha(), color.red(), color.green(), color.blue()]
    });
    Some(ksni::Icon { width: SIZE as i32, height: SIZE as i32, data: argb.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_icons_of_their_own() {
        let data = |state| icon(state).expect("an icon").data;
        assert_eq!(data(State::Idle).len(), (SIZE * SIZE * 4) as usize);
        assert_ne!(data(State::Idle), data(State::Recording));
        // The middle of the capsule: opaque red.
        let middle = ((18 * SIZE + 24) * 4) as usize;
        assert_eq!(data(State::Recording)[middle..middle + 4], [255, 229, 57, 53]);
    }
}
