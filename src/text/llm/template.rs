//! What a server's chat template puts around the last message of a conversation, so that a prompt whose beginning stays
//! the same is not sent out to be rendered each time: with dozens of examples that takes longer than a token.

use super::{Message, Role};
use std::sync::{Mutex, PoisonError};

/// Stands for the last message while the frame around it is looked for.
pub(super) const MARK: &str = "kx7Qv0mark";

/// The frame of the conversation that was rendered last.
#[derive(Debug, Default)]
pub(super) struct Templates(Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    /// All messages but the last, and who says that.
    beginning: Vec<Message>,
    role: Role,
    /// Before and after the last message; `None` where the template does more than frame it.
    frame: Option<(String, String)>,
}

impl Known {
    fn is_of(&self, messages: &[Message]) -> bool {
        matches!(messages, [beginning @ .., last] if *beginning == self.beginning && last.role == self.role)
    }
}

/// What is known of a conversation.
pub(super) enum Rendered {
    /// Its prompt.
    Prompt(String),
    /// That it has to be rendered each time.
    EachTime,
    /// Nothing.
    Unknown,
}

impl Templates {
    /// The prompt of `messages`, where it can be told without asking.
    pub fn of(&self, messages: &[Message]) -> Rendered {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(known), Some(last)) = (known.as_ref().filter(|known| known.is_of(messages)), messages.last()) else {
            return Rendered::Unknown;
        };
        match &known.frame {
            // Templates take the blanks off the ends of a message.
            Some((before, after)) if last.content.trim() == last.content && !last.content.is_empty() => {
                Rendered::Prompt(format!("{before}{}{after}", last.content))
            }
            _ => Rendered::EachTime,
        }
    }

    /// Learns the frame from `rendered`, and from `marked`, which was rendered with [`MARK`] as the last message.
    pub fn learn(&self, messages: &[Message], rendered: &str, marked: &str) {
        let [beginning @ .., last] = messages else { return };
        let frame = marked
            .split_once(MARK)
            .filter(|(before, after)| {
                !after.contains(MARK) && format!("{before}{}{after}", last.content.trim()) == rendered
            })
            .map(|(before, after)| (before.to_owned(), after.to_owned()));
        let known = Known { beginning: beginning.to_vec(), role: last.role, frame };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(last: &str) -> Vec<Message> {
        let message = |role, content: &str| Message { role, content: content.to_owned() };
        vec![message(Role::System, "Label."), message(Role::User, last)]
    }

    fn rendered(last: &str) -> String {
        format!("<s>Label.</s><u>{last}</u><a>")
    }

    fn prompt(templates: &Templates, messages: &[Message]) -> Option<String> {
        match templates.of(messages) {
            Rendered::Prompt(prompt) => Some(prompt),
            Rendered::EachTime | Rendered::Unknown => None,
        }
    }

    #[test]
    fn only_the_last_message_is_filled_in() {
        let templates = Templates::default();
        assert!(matches!(templates.of(&conversation("a")), Rendered::Unknown));
        templates.learn(&conversation("a"), &rendered("a"), &rendered(MARK));
        assert_eq!(prompt(&templates, &conversation("b {} c")), Some(rendered("b {} c")));
        assert_eq!(prompt(&templates, &conversation(" b ")), None, "rendered, as blanks may go");
        let mut other = conversation("b");
        other[0].content.push('!');
        assert!(matches!(templates.of(&other), Rendered::Unknown));
    }

    #[test]
    fn a_template_that_does_more_than_frame_is_asked_each_time() {
        for marked in ["no mark".to_owned(), format!("{MARK} and {MARK}"), format!("<s>Label.</s><u>{MARK}!</u><a>")] {
            let templates = Templates::default();
            templates.learn(&conversation("a"), &rendered("a"), &marked);
            assert!(matches!(templates.of(&conversation("b")), Rendered::EachTime), "{marked}");
        }
    }
}
