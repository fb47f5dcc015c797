//! What becomes of a take: the configuration, the binding and the application in front, in this order.

use crate::config::{ApplicationConfig, BindingConfig, Config, DictateConfig, PlanKind};
use crate::engine::Needs;
use crate::outcome::{Plan, Route};
use std::path::PathBuf;

/// Where text goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Into the window that has the focus.
    Insert,
    /// The clipboard.
    Clipboard,
    /// Standard output, a line a take.
    Stdout,
    /// Appended to a file, a line a take.
    File(PathBuf),
    /// The standard input of a program that is started for it, with its arguments.
    Command(String),
}

impl Destination {
    /// From its form in the configuration, which was checked there.
    pub fn parse(output: &str) -> Self {
        match output.split_once(':') {
            Some(("file", path)) => Destination::File(PathBuf::from(path.trim())),
            Some(("command", line)) => Destination::Command(line.trim().to_owned()),
            _ if output == "clipboard" => Destination::Clipboard,
            _ if output == "stdout" => Destination::Stdout,
            _ => Destination::Insert,
        }
    }
}

/// The application in front when a take began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Application {
    /// Window class or application id.
    pub class: String,
    /// Window title.
    pub title: String,
}

/// Everything that is decided about a take before it is heard.
#[derive(Clone, Debug, PartialEq)]
pub struct TakePlan {
    /// Name of the binding.
    pub binding: String,
    /// What becomes of the words.
    pub kind: PlanKind,
    /// For the pipeline.
    pub plan: Plan,
    /// Where the text goes.
    pub destination: Destination,
    /// Program of the plan `command`; empty: by `dictate.commands`.
    pub run: String,
}

/// The plan of a take. `base` is what the configuration asks for outside of dictation.
pub fn plan(
    base: &Plan,
    config: &DictateConfig,
    binding: &BindingConfig,
    application: Option<&Application>,
) -> TakePlan {
    let mut plan = Plan {
        route: match binding.plan {
            PlanKind::Agent => Route::Agent,
            PlanKind::Auto => Route::Auto,
            PlanKind::Dictate | PlanKind::Translate | PlanKind::Command => Route::Text,
        },
        force: Some(binding.route.clone()).filter(|route| !route.is_empty()).or(base.force.clone()),
        hint: Some(binding.hint.clone()).filter(|hint| !hint.is_empty()).or(base.hint.clone()),
        translate: None,
        // There is one conversation: that of the person at the microphone.
        conversation: Some("dictate".to_owned()),
        ..base.clone()
    };
    let mut output = config.output.as_str();
    let special = application.and_then(|application| config.application.iter().find(|known| fits(known, application)));
    if let Some(special) = special {
        adapt(&mut plan, (&special.language, &special.to), special.style);
        plan.route = special.route.filter(|_| binding.plan == PlanKind::Dictate).unwrap_or(plan.route);
        output = or(&special.output, output);
    }
    adapt(&mut plan, (&binding.language, &binding.to), binding.style);
    output = or(&binding.output, output);
    TakePlan {
        binding: binding.name.clone(),
        kind: binding.plan,
        plan,
        destination: Destination::parse(output),
        run: binding.run.clone(),
    }
}

/// What the engine must be ready for, whichever key comes.
pub fn needs(base: &Plan, config: &Config) -> Needs {
    let dictate = &config.dictate;
    let mut all = Needs { speech: true, ..Needs::default() };
    let everywhere = std::iter::once(None).chain(dictate.application.iter().map(Some));
    for application in everywhere {
        let application =
            application.map(|known| Application { class: known.class.clone(), title: known.title.clone() });
        for binding in dictate.bindings() {
            let take = plan(base, dictate, &binding, application.as_ref());
            let one = Needs::of(&take.plan, config, true);
            all.light = all.light.max(one.light);
            all.heavy = all.heavy.max(one.heavy);
            all.cleanup |= one.cleanup;
            all.intent |= one.intent;
        }
    }
    all
}

/// What is written instead of `text`, where the whole of it is a key of `table`. Case and punctuation do not count.
pub fn said<'a>(table: &'a std::collections::BTreeMap<String, String>, text: &str) -> Option<&'a str> {
    let said = key(text);
    table.iter().find(|(known, _)| !said.is_empty() && key(known) == said).map(|(_, value)| value.as_str())
}

fn key(text: &str) -> String {
    let words = text
        .split_whitespace()
        .map(|word| word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn fits(known: &ApplicationConfig, application: &Application) -> bool {
    let contains = |whole: &str, part: &str| whole.to_lowercase().contains(&part.to_lowercase());
    contains(&application.class, &known.class) && contains(&application.title, &known.title)
}

/// Languages and style that are set; both languages were checked when the configuration was loaded.
fn adapt(plan: &mut Plan, (language, to): (&str, &str), style: Option<crate::outcome::Style>) {
    plan.language = language.parse().ok().filter(|_| !language.is_empty()).unwrap_or(plan.language);
    plan.translate = to.parse().ok().or(plan.translate);
    plan.clean = style.unwrap_or(plan.clean);
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Need;
    use crate::outcome::Style;

    fn config() -> DictateConfig {
        let text = "
            output = 'insert'
            [[binding]]
            name = 'plain'
            [[binding]]
            name = 'german'
            plan = 'translate'
            to = 'de'
            [[binding]]
            name = 'ask'
            plan = 'agent'
            output = 'clipboard'
            [[binding]]
            name = 'diary'
            plan = 'auto'
            route = 'agent/calendar'
            [[application]]
            class = 'xterm'
            style = 'verbatim'
            route = 'auto'
            [[application]]
            title = 'Mail'
            language = 'fr'
            output = 'file:/tmp/mail'
            [snippets]
            'my address' = '1 Main Street'
        ";
        toml::from_str(text).unwrap()
    }

    fn of(binding: usize, class: &str, title: &str) -> TakePlan {
        let config = config();
        let application = Application { class: class.into(), title: title.into() };
        plan(&Plan::default(), &config, &config.binding[binding], Some(&application))
    }

    #[test]
    fn the_binding_says_what_becomes_of_the_words() {
        let plain = of(0, "editor", "");
        assert_eq!(
            (plain.plan.route, plain.plan.translate, plain.destination.clone()),
            (Route::Text, None, Destination::Insert)
        );
        assert_eq!(of(1, "", "").plan.translate, "de".parse().ok());
        assert_eq!(of(3, "", "").plan.force.as_deref(), Some("agent/calendar"));
        assert_eq!((of(3, "", "").plan.route, plain.plan.force), (Route::Auto, None));
        let ask = of(2, "", "");
        assert_eq!((ask.plan.route, ask.destination), (Route::Agent, Destination::Clipboard));
    }

    #[test]
    fn the_application_in_front_changes_what_the_binding_leaves_open() {
        let terminal = of(0, "XTerm", "sh");
        assert_eq!((terminal.plan.clean, terminal.plan.route), (Style::Verbatim, Route::Auto));
        assert_eq!(of(2, "XTerm", "sh").plan.route, Route::Agent, "the binding has decided");
        let mail = of(0, "thunderbird", "Inbox - mail");
        assert_eq!(mail.plan.language, "fr".parse().unwrap());
        assert_eq!(mail.destination, Destination::File("/tmp/mail".into()));
        assert_eq!(of(2, "thunderbird", "Mail").destination, Destination::Clipboard, "the binding has the last word");
    }

    #[test]
    fn the_engine_is_ready_for_every_binding() {
        let base = Plan { clean: Style::Verbatim, ..Plan::default() };
        let plain = Config::default();
        assert_eq!(needs(&base, &plain).light, Need::No, "nothing that nobody asks for");
        let all = needs(&base, &Config { dictate: config(), ..Config::default() });
        assert_eq!((all.heavy, all.intent), (Need::AtStart, true));
    }

    #[test]
    fn snippets_are_the_whole_of_what_was_said() {
        let config = config();
        assert_eq!(said(&config.snippets, "My address."), Some("1 Main Street"));
        assert_eq!(said(&config.snippets, "That is my address."), None);
        assert_eq!(said(&config.snippets, "..."), None);
    }

    #[test]
    fn destinations_by_their_form() {
        assert_eq!(Destination::parse("command: tee -a x"), Destination::Command("tee -a x".into()));
        assert_eq!(Destination::parse("stdout"), Destination::Stdout);
    }
}
