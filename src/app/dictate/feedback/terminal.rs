//! The view in the terminal: state, level, text as it comes, and what happened. Keys drive dictation too.

use crate::app::dictate::control::{Controller, Event, Status};
use crate::app::dictate::machine::{Command, State};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Wrap};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::broadcast::error::TryRecvError;
use tokio_util::sync::CancellationToken;

/// Between two looks at keys and events.
const FRAME: Duration = Duration::from_millis(66);
/// Lines of what happened that are kept.
const LINES: usize = 200;
/// The level that is shown as nothing, dB of full scale.
const FLOOR: f32 = -60.0;

const HELP: &str = " space: start, stop   esc: cancel   r: recover   a: last text again   p: private   q: quit ";

/// Shows the view on standard output until `stop`, `q` or the end of dictation, then gives the terminal back.
/// Returns an error where standard output is no terminal that can be driven. `problem` is the first thing it tells.
pub async fn run(controller: Controller, stop: CancellationToken, problem: Option<String>) -> Result<(), String> {
    let mut view = View::default();
    if let Some(message) = problem {
        view.take_in(&Event::Warning { message });
    }
    let shown = tokio::task::spawn_blocking(move || show(&controller, &stop, view)).await;
    shown.map_err(|error| error.to_string())?.map_err(|error| format!("the terminal cannot be used ({error})"))
}

fn show(controller: &Controller, stop: &CancellationToken, view: View) -> std::io::Result<()> {
    // Also gives the terminal back when this thread panics.
    let mut terminal = ratatui::try_init()?;
    let result = frames(&mut terminal, controller, stop, view);
    ratatui::restore();
    result
}

fn frames(
    terminal: &mut ratatui::DefaultTerminal,
    controller: &Controller,
    stop: &CancellationToken,
    mut view: View,
) -> std::io::Result<()> {
    let mut events = controller.events();
    let status = controller.status();
    loop {
        loop {
            match events.try_recv() {
                Ok(event) => view.take_in(&event),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => return Ok(()),
            }
        }
        if stop.is_cancelled() || status.has_changed().is_err() {
            return Ok(());
        }
        view.status = status.borrow().clone();
        terminal.draw(|frame| view.draw(frame))?;
        if event::poll(FRAME)? {
            let Input::Key(key) = event::read()? else { continue };
            match command(key, &view.status) {
                Some(Command::Quit) => {
                    controller.send(Command::Quit);
                    return Ok(());
                }
                Some(command) => controller.send(command),
                None => {}
            }
        }
    }
}

fn command(key: KeyEvent, status: &Status) -> Option<Command> {
    if key.kind != KeyEventKind::Press {
        return None;
    }
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Command::Quit),
        KeyCode::Char(' ') => Some(Command::Toggle { binding: None }),
        KeyCode::Esc => Some(Command::Cancel),
        KeyCode::Char('r') => Some(Command::Recover),
        KeyCode::Char('a') => Some(Command::Again),
        KeyCode::Char('y') => Some(Command::Confirm),
        KeyCode::Char('n') => Some(Command::Deny),
        KeyCode::Char('p') => Some(Command::Private { on: !status.private }),
        KeyCode::Char('q') => Some(Command::Quit),
        _ => None,
    }
}

/// What is on the screen.
#[derive(Debug, Default)]
struct View {
    status: Status,
    answer: String,
    lines: VecDeque<(Color, String)>,
}

impl View {
    fn take_in(&mut self, event: &Event) {
        let line = match event {
            Event::Final { text, ms, .. } => Some((Color::White, format!("{text}  [{ms:.0} ms]"))),
            Event::Cleaned { text, .. } => Some((Color::Gray, format!("cleaned: {text}"))),
            Event::ReplyDelta { delta, .. } => {
                self.answer.push_str(delta);
                None
            }
            Event::Reply { text, .. } => {
                self.answer.clear();
                Some((Color::Cyan, text.clone()))
            }
            Event::Confirm { tool, arguments, .. } => {
                self.answer.clear();
                Some((Color::Yellow, format!("allow {tool} with {arguments}? y or n")))
            }
            Event::Delivered { how, .. } => Some((Color::DarkGray, format!("delivered: {how}"))),
            Event::Cancelled { recoverable: true, .. } => Some((Color::Yellow, "cancelled; r recovers it".to_owned())),
            Event::Cancelled { .. } => Some((Color::Yellow, "cancelled".to_owned())),
            Event::Nothing { why, .. } => Some((Color::DarkGray, why.clone())),
            Event::Microphone { message, .. } => Some((Color::Magenta, message.clone())),
            Event::Warning { message } => Some((Color::Yellow, message.clone())),
            Event::Error { message, .. } => Some((Color::Red, message.clone())),
            _ => None,
        };
        if let Some(line) = line {
            self.lines.push_back(line);
            if self.lines.len() > LINES {
                self.lines.pop_front();
            }
        }
    }

    fn draw(&self, frame: &mut Frame) {
        let rows = [
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(6),
            Constraint::Min(3),
            Constraint::Length(1),
        ];
        let [head, level, text, happened, help] = Layout::vertical(rows).areas(frame.area());
        let (word, color) = match self.status.state {
            State::Recording => (" RECORDING ", Color::Red),
            State::Processing => (" MAKING TEXT ", Color::Yellow),
            State::Idle if self.status.ready => (" READY ", Color::Green),
            State::Idle => (" LOADING ", Color::Blue),
        };
        let microphone = self.status.microphone.as_deref().unwrap_or("no microphone");
        let private = if self.status.private { "  private" } else { "" };
        let rest = format!("  {microphone}  {}  {}{private}", self.status.language, self.status.model);
        let bold = Style::new().bg(color).fg(Color::Black).add_modifier(Modifier::BOLD);
        frame.render_widget(Line::from(vec![Span::styled(word, bold), Span::raw(rest)]), head);
        let dbfs = self.status.level_dbfs.unwrap_or(FLOOR);
        let ratio = f64::from(((dbfs - FLOOR) / -FLOOR).clamp(0.0, 1.0));
        let label = self.status.level_dbfs.map_or_else(String::new, |dbfs| format!("{dbfs:.0} dB"));
        frame.render_widget(Gauge::default().gauge_style(Style::new().fg(color)).ratio(ratio).label(label), level);
        let shown = if self.answer.is_empty() { &self.status.partial } else { &self.answer };
        let title = if self.answer.is_empty() { " heard " } else { " answer " };
        let heard = Paragraph::new(tail(shown, text.width, text.height)).wrap(Wrap { trim: true });
        frame.render_widget(heard.block(Block::bordered().title(title)), text);
        let height = usize::from(happened.height.saturating_sub(2));
        let recent = self.lines.iter().rev().take(height).rev();
        let lines: Vec<Line> =
            recent.map(|(color, text)| Line::styled(text.replace('\n', " "), Style::new().fg(*color))).collect();
        frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" what happened ")), happened);
        frame.render_widget(Line::styled(HELP, Style::new().fg(Color::DarkGray)), help);
    }
}

/// The end of a text, about as much as fits into a frame of so many cells.
fn tail(text: &str, width: u16, height: u16) -> String {
    // Words do not fill their lines, and wide characters take two cells.
    let fits = usize::from(width.saturating_sub(2)) * usize::from(height.saturating_sub(2)) * 3 / 4;
    if unicode_width::UnicodeWidthStr::width(text) <= fits {
        return text.to_owned();
    }
    let mut cells = 0;
    let start = text.char_indices().rev().find(|(_, letter)| {
        cells += unicode_width::UnicodeWidthChar::width(*letter).unwrap_or(0);
        cells >= fits
    });
    format!("…{}", &text[start.map_or(0, |(at, _)| at)..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen(view: &View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, 16)).expect("a terminal");
        terminal.draw(|frame| view.draw(frame)).expect("a frame");
        let buffer = terminal.backend().buffer();
        let rows =
            buffer.content.chunks(80).map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>());
        rows.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn state_level_text_and_happenings_are_on_the_screen() {
        let mut view = View::default();
        view.status.state = State::Recording;
        view.status.level_dbfs = Some(-20.0);
        view.status.partial = "hello there".into();
        view.status.microphone = Some("USB microphone".into());
        view.take_in(&Event::Warning { message: "the clipboard is busy".into() });
        let text = screen(&view);
        for part in ["RECORDING", "-20 dB", "hello there", "USB microphone", "the clipboard is busy", "space: start"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        view.take_in(&Event::ReplyDelta { take: 1, delta: "The capital is".into() });
        assert!(screen(&view).contains("The capital is"));
        view.take_in(&Event::Reply { take: 1, text: "The capital is Paris.".into() });
        assert!(screen(&view).contains("Paris.") && screen(&view).contains("hello there"));
    }

    #[test]
    fn of_a_long_text_the_end_is_seen() {
        let text = format!("{} finis", "漢字 words ".repeat(200));
        let end = tail(&text, 80, 6);
        assert!(end.starts_with('…') && end.ends_with("finis"), "{end}");
        let mut view = View::default();
        view.status.partial = text;
        assert!(screen(&view).contains("finis"));
    }

    #[test]
    fn keys_drive_dictation() {
        let press = |code| command(KeyEvent::new(code, KeyModifiers::NONE), &Status::default());
        assert_eq!(press(KeyCode::Char(' ')), Some(Command::Toggle { binding: None }));
        assert_eq!(press(KeyCode::Esc), Some(Command::Cancel));
        let quit = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(command(quit, &Status::default()), Some(Command::Quit));
    }
}
