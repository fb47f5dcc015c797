//! What a rewrite must keep: length, numbers, names, negations, and being the text rather than an answer to it.

use super::disfluency::Fillers;
use super::fidelity::words;
use super::rules::begins_after;
use super::units::{Unit, parse};
use crate::language::Lang;

/// What was said.
pub struct Facts<'a> {
    /// As said, sure fillers gone.
    pub said: &'a [Unit],
    /// The same as text.
    pub text: &'a str,
    pub lang: Lang,
    pub vocabulary: &'a [String],
    pub fillers: &'a Fillers,
}

/// Why `written` is not a rewrite of what was said; `None` when nothing speaks against it.
pub fn objection(facts: &Facts, written: &str) -> Option<&'static str> {
    let said = words(facts.text);
    let output = words(written);
    if output.is_empty() {
        return Some("it was empty");
    }
    if is_talk(written, facts.text) {
        return Some("it was an answer, not the text");
    }
    // Written text is shorter than speech, hardly ever longer.
    if output.len() * 3 < said.len() || output.len() > said.len() + said.len() / 2 + 3 {
        return Some("its length was off");
    }
    let known = output.iter().filter(|word| said.contains(word)).count();
    if known * 2 < output.len() {
        return Some("most of its words were new");
    }
    if !keeps_numbers(facts, &said, &output, written) {
        return Some("a number changed");
    }
    let negations = |words: &[String]| words.iter().filter(|word| is_negation(word, facts.lang)).count();
    let negated_characters = |text: &str| text.matches(['不', '没', '沒', '无', '别', '未']).count();
    if negations(&said) != negations(&output)
        || (facts.lang.code() == "zh" && negated_characters(facts.text) != negated_characters(written))
    {
        return Some("a negation changed");
    }
    if !keeps_names(facts, &said, &output, written) {
        return Some("a name changed");
    }
    None
}

/// Whether a model's text talks to the user instead of being the text asked for.
pub fn is_talk(written: &str, source: &str) -> bool {
    const OPENINGS: &[&str] = &[
        "sure",
        "certainly",
        "of course",
        "here is",
        "here's",
        "here are",
        "absolutely",
        "rewritten",
        "translation",
        "the translation",
        "translated",
        "i'm sorry",
        "i am sorry",
        "as an ai",
        "i cannot",
        "i can't",
        "okay, here",
        "natürlich",
        "gerne",
        "hier ist",
        "übersetzung",
        "voici",
        "bien sûr",
        "traduction",
        "claro",
        "aquí está",
        "traducción",
        "aqui está",
        "tradução",
        "好的，",
        "以下是",
        "当然",
        "翻译",
        "note:",
        "output:",
        "text:",
    ];
    let (written_low, source_low) = (written.to_lowercase(), source.to_lowercase());
    let opens = |text: &str, opening: &str| {
        text.strip_prefix(opening)
            .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric) || opening.ends_with(['，', ':']))
    };
    let framed = ["```", "**", "\n#", "(note", "\nnote:", "<|"]
        .iter()
        .any(|mark| written_low.contains(mark) && !source_low.contains(mark));
    framed
        || OPENINGS
            .iter()
            .any(|opening| opens(written_low.trim_start_matches(['"', '*']), opening) && !source_low.contains(opening))
}

/// The digit groups of a text, as they are compared: "1,000" and "1.000" and "1000" are one number.
pub fn digit_groups(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut groups = vec![String::new()];
    for (at, c) in chars.iter().enumerate() {
        let between = |c: char| matches!(c, '.' | ',' | '\u{a0}' | '\u{202f}' | '’' | '\'');
        let joins = between(*c)
            && at > 0
            && chars[at - 1].is_ascii_digit()
            && chars.get(at + 1).is_some_and(char::is_ascii_digit);
        match c.to_digit(10) {
            Some(digit) => groups.last_mut().into_iter().for_each(|group| group.extend(char::from_digit(digit, 10))),
            None if joins => {}
            None => groups.push(String::new()),
        }
    }
    let mut groups: Vec<String> = groups.into_iter().filter(|group| !group.is_empty()).collect();
    groups.sort_unstable();
    groups
}

fn keeps_numbers(facts: &Facts, said: &[String], output: &[String], written: &str) -> bool {
    let (before, after) = (digit_groups(facts.text), digit_groups(written));
    let spoken: Vec<&String> = said.iter().filter(|word| facts.fillers.is_number(word) && !has_digit(word)).collect();
    let kept = before.iter().all(|number| after.contains(number));
    let new = after.len().saturating_sub(before.len());
    let lost = spoken.iter().filter(|word| !output.contains(word)).count();
    // A spoken number may become digits; then a word goes and digits come. "one" is an article more often.
    let came_from_words = new <= lost;
    let went_to_digits = lost == 0 || new > 0 || spoken.iter().all(|word| output.contains(word) || is_article(word));
    kept && came_from_words && went_to_digits
}

fn has_digit(word: &str) -> bool {
    word.chars().any(char::is_numeric)
}

fn is_article(word: &str) -> bool {
    matches!(word, "one" | "un" | "uno" | "um" | "eins" | "oh" | "double" | "een")
}

/// Names said (capitals inside a sentence, vocabulary) are still there, and no new ones came.
fn keeps_names(facts: &Facts, said: &[String], output: &[String], written: &str) -> bool {
    let names = |units: &[Unit]| -> Vec<String> {
        let inside = |at: &usize| *at > 0 && !begins_after(&units[at - 1]) && !units[at - 1].trail.contains([':', '"']);
        (0..units.len())
            .filter(inside)
            .map(|at| &units[at].core)
            .filter(|core| {
                core.chars().next().is_some_and(char::is_uppercase) && !core.starts_with("I'") && *core != "I"
            })
            .flat_map(|core| words(core))
            .collect()
    };
    let listed = facts.vocabulary.iter().map(|entry| words(entry)).filter(|entry| !entry.is_empty());
    let holds = |text: &[String], phrase: &[String]| text.windows(phrase.len()).any(|window| window == phrase);
    let listed_kept = listed.filter(|entry| holds(said, entry)).all(|entry| holds(output, &entry));
    // German writes every noun with a capital: there capitals name nothing.
    if facts.lang.code() == "de" {
        return listed_kept;
    }
    listed_kept
        && names(facts.said).iter().all(|name| output.contains(name))
        && names(&parse(written)).iter().all(|name| said.contains(name))
}

fn is_negation(word: &str, lang: Lang) -> bool {
    let list: &[&str] = match lang.code() {
        "en" => &["not", "no", "never", "nothing", "nobody", "none", "neither", "nor", "nowhere", "without", "cannot"],
        "de" => {
            &["nicht", "kein", "keine", "keinen", "keinem", "keiner", "nie", "niemals", "nichts", "niemand", "ohne"]
        }
        "fr" => &["pas", "jamais", "rien", "aucun", "aucune", "personne", "sans", "non", "ni"],
        "es" => &["no", "nunca", "nada", "nadie", "ninguno", "ninguna", "ningún", "sin", "tampoco", "jamás", "ni"],
        "pt" => &["não", "nunca", "nada", "ninguém", "nenhum", "nenhuma", "sem", "nem", "jamais"],
        "it" => &["non", "mai", "niente", "nulla", "nessuno", "nessuna", "senza", "no", "né"],
        "nl" => &["niet", "geen", "nooit", "niets", "niemand", "zonder", "nee"],
        _ => &[],
    };
    list.contains(&word) || (lang == Lang::ENGLISH && (word.ends_with("n't") || word.ends_with("n’t")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(said: &str, written: &str, lang: &str) -> Option<&'static str> {
        let lang = lang.parse().unwrap();
        let vocabulary = ["Kubernetes".to_owned()];
        let fillers = Fillers::new(lang, &[]);
        let facts = Facts { said: &parse(said), text: said, lang, vocabulary: &vocabulary, fillers: &fillers };
        objection(&facts, written)
    }

    #[test]
    fn honest_rewrites_pass() {
        assert_eq!(
            refused(
                "so i wanted to say that the meeting with Mrs Lopez is not on monday it's like on tuesday at 3",
                "The meeting with Mrs Lopez is not on Monday; it's on Tuesday at 3.",
                "en"
            ),
            None
        );
        assert_eq!(refused("we need like five chairs i think", "We need 5 chairs, I think.", "en"), None);
        assert_eq!(refused("i do not think we can't go", "I don't think we can't go.", "en"), None);
    }

    #[test]
    fn changed_facts_are_refused() {
        let said = "tell Bob that the kubernetes update is not ready before 3 on friday";
        for (written, reason) in [
            ("Tell Bob that the Kubernetes update is ready before 3 on Friday.", "a negation changed"),
            ("Tell Bob that the Kubernetes update is not ready before 4 on Friday.", "a number changed"),
            ("Tell Rob that the Kubernetes update is not ready before 3 on Friday.", "a name changed"),
            ("Tell Bob that the update is not ready before 3 on Friday.", "a name changed"),
            (
                "Sure! Tell Bob that the Kubernetes update is not ready before 3 on Friday.",
                "it was an answer, not the text",
            ),
            ("Cats are soft and cats are sweet, they purr and sit upon your feet.", "most of its words were new"),
            ("Bob.", "its length was off"),
            ("", "it was empty"),
        ] {
            assert_eq!(refused(said, written, "en"), Some(reason), "{written}");
        }
    }

    #[test]
    fn numbers_are_compared_by_their_digits() {
        assert_eq!(digit_groups("1,000 or 1.000, not 3.5"), ["1000", "1000", "35"]);
    }
}
