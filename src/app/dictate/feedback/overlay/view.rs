//! What the overlay shows.

use crate::app::dictate::control::{Event, Status};
use crate::app::dictate::machine::State;

/// Levels that are drawn, ten a second.
const LEVELS: usize = 40;

/// What is to be seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// What dictation does.
    pub state: State,
    /// Name of the binding.
    pub binding: String,
    /// Levels of the last four seconds, dB of full scale, oldest first.
    pub levels: Vec<f32>,
    /// What was heard, or is said.
    pub text: String,
    /// Whether the text is a problem.
    pub problem: bool,
    /// Whether the text is a model's answer.
    pub answer: bool,
}

impl View {
    /// Takes the status in; whether anything is different.
    pub fn status(&mut self, status: &Status) -> bool {
        let changed = self.state != status.state;
        self.state = status.state;
        let binding = status.binding.clone().unwrap_or_default();
        if self.state == State::Recording && self.binding != binding {
            self.binding = binding;
            return true;
        }
        changed
    }

    /// Takes an event in; whether anything is different.
    pub fn event(&mut self, event: &Event) -> bool {
        match event {
            Event::StateChanged { state: State::Recording, binding } => {
                *self =
                    View { state: State::Recording, binding: binding.clone().unwrap_or_default(), ..View::default() };
            }
            Event::Level { dbfs } => {
                if self.levels.len() == LEVELS {
                    self.levels.remove(0);
                }
                self.levels.push(*dbfs);
            }
            Event::Partial { text, .. } | Event::Final { text, .. } => self.say(text, false),
            Event::ReplyDelta { delta, .. } => {
                if !self.answer {
                    self.say("", false);
                    self.answer = true;
                }
                self.text.push_str(delta);
            }
            Event::Reply { text, .. } => {
                self.say(text, false);
                self.answer = true;
            }
            Event::Confirm { tool, arguments, .. } => self.say(&format!("Allow {tool}? {arguments}"), true),
            Event::Cancelled { .. } => self.say("Cancelled", false),
            Event::Nothing { why, .. } => self.say(why, false),
            Event::Error { message, .. } | Event::Warning { message } => self.say(message, true),
            _ => return false,
        }
        true
    }

    /// Whether it stays on the screen by itself.
    pub fn is_busy(&self) -> bool {
        self.state != State::Idle
    }

    /// Whether there is anything to see.
    pub fn has_something(&self) -> bool {
        self.is_busy() || !self.text.is_empty()
    }

    /// How many times longer than a short text this one stays: people read about 15 characters a second.
    pub fn linger(&self) -> f64 {
        (self.text.chars().count() as f64 / 40.0).clamp(1.0, 8.0)
    }

    /// The take is over and done.
    pub fn forget(&mut self) {
        *self = View { state: self.state, ..View::default() };
    }

    fn say(&mut self, text: &str, problem: bool) {
        text.clone_into(&mut self.text);
        self.problem = problem;
        self.answer = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_take_begins_with_an_empty_view_and_shows_its_text() {
        let mut view = View::default();
        view.event(&Event::Error { take: None, message: "old".into() });
        assert!(view.problem);
        view.event(&Event::StateChanged { state: State::Recording, binding: Some("ask".into()) });
        assert_eq!((view.text.as_str(), view.problem, view.binding.as_str()), ("", false, "ask"));
        (0..100).for_each(|at| assert!(view.event(&Event::Level { dbfs: at as f32 })));
        assert_eq!((view.levels.len(), view.levels[0]), (LEVELS, 60.0));
        view.event(&Event::Partial { take: 1, text: "so far".into() });
        assert_eq!(view.text, "so far");
        view.event(&Event::ReplyDelta { take: 1, delta: "An ".into() });
        view.event(&Event::ReplyDelta { take: 1, delta: "answer".into() });
        assert_eq!((view.text.as_str(), view.answer), ("An answer", true));
        assert!(!view.event(&Event::Listening { take: 1, microphone: String::new() }));
    }
}
