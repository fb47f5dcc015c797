//! Whether a sentence without a mark is a question, from its first words. Prefers missing one to inventing one.

use super::fidelity::words;
use super::units::Unit;
use crate::language::Lang;

/// Whether `sentence` reads as a question in `lang`. Languages without rules here: never.
pub fn is_question(sentence: &[Unit], lang: Lang) -> bool {
    let words: Vec<String> = sentence.iter().map(|unit| words(&unit.core).concat()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match lang.code() {
        "en" => english(skip(&words, &["and", "but", "so", "or", "well", "okay", "hey"])),
        "de" => german(skip(&words, &["und", "aber", "also", "oder"])),
        "fr" => french(skip(&words, &["et", "mais", "alors", "ou"])),
        "es" => spanish(skip(&words, &["y", "pero", "entonces", "o"])),
        "pt" => portuguese(skip(&words, &["e", "mas", "então", "ou"])),
        "zh" | "yue" => chinese(&words.concat()),
        "ja" => ["か", "かな", "でしょうか"].iter().any(|end| words.concat().ends_with(end)),
        _ => false,
    }
}

fn skip<'a, 'b>(words: &'a [&'b str], openers: &[&str]) -> &'a [&'b str] {
    match words {
        [first, rest @ ..] if openers.contains(first) && !rest.is_empty() => rest,
        _ => words,
    }
}

fn english(words: &[&str]) -> bool {
    const PRONOUNS: &[&str] = &["i", "you", "he", "she", "it", "we", "they", "there", "this", "that", "these", "those"];
    const DETERMINERS: &[&str] =
        &["the", "a", "an", "my", "your", "his", "her", "our", "their", "any", "anyone", "everyone"];
    const BE_AND_MODALS: &[&str] = &[
        "is",
        "are",
        "was",
        "were",
        "can",
        "could",
        "would",
        "should",
        "will",
        "shall",
        "isn't",
        "aren't",
        "wasn't",
        "weren't",
        "can't",
        "couldn't",
        "won't",
        "wouldn't",
        "shouldn't",
        "does",
        "did",
        "doesn't",
        "didn't",
    ];
    const AUXILIARIES: &[&str] = &["do", "don't", "have", "has", "had", "haven't", "hasn't", "am", "may", "might"];
    let auxiliary = |word: &&str| BE_AND_MODALS.contains(word) || AUXILIARIES.contains(word);
    let contracted = |word: &&str| matches!(*word, "what's" | "who's" | "where's" | "how's" | "when's" | "why's");
    match words {
        [first, ..] if contracted(first) => words.len() > 1,
        ["when" | "where" | "who" | "whom" | "why", second, ..] => auxiliary(second) || *second == "not",
        ["what" | "which" | "whose" | "how", rest @ ..] => {
            !rest.first().is_some_and(|second| PRONOUNS.contains(second))
                && rest.iter().take(3).any(auxiliary)
                && rest.len() > 1
        }
        [first, second, ..] if BE_AND_MODALS.contains(first) => {
            PRONOUNS.contains(second) || DETERMINERS.contains(second)
        }
        [first, second, ..] if AUXILIARIES.contains(first) => PRONOUNS.contains(second),
        _ => false,
    }
}

fn german(words: &[&str]) -> bool {
    const ASKING: &[&str] = &["wer", "was", "wo", "wann", "warum", "wieso", "weshalb", "wohin", "woher", "wen", "wem"];
    const VERBS: &[&str] = &[
        "kann",
        "kannst",
        "können",
        "könnt",
        "könnte",
        "könntest",
        "könnten",
        "hast",
        "hat",
        "habt",
        "haben",
        "habe",
        "bist",
        "ist",
        "seid",
        "sind",
        "war",
        "willst",
        "wollen",
        "wollt",
        "soll",
        "sollen",
        "sollte",
        "sollten",
        "darf",
        "musst",
        "muss",
        "müssen",
        "gibt",
        "geht",
        "wird",
        "wirst",
        "werden",
        "würdest",
        "würden",
        "möchtest",
        "möchten",
        "kommst",
        "kommt",
        "weißt",
        "wissen",
        "magst",
        "brauchst",
        "brauchen",
    ];
    const SUBJECTS: &[&str] = &["ich", "du", "er", "sie", "es", "wir", "ihr", "man", "das", "der", "die", "jemand"];
    match words {
        [first, second, ..] => {
            ASKING.contains(first)
                || (first.starts_with("welch") && words.len() > 2)
                || (*first == "wie" && !matches!(*second, "gesagt" | "immer" | "auch"))
                || (VERBS.contains(first) && SUBJECTS.contains(second))
        }
        _ => false,
    }
}

fn french(words: &[&str]) -> bool {
    const ASKING: &[&str] =
        &["qui", "où", "comment", "pourquoi", "combien", "quel", "quelle", "quels", "quelles", "est-ce", "qu'est-ce"];
    const INVERTED: &[&str] = &["-vous", "-tu", "-il", "-elle", "-on", "-nous", "-ils", "-elles", "-je", "-ce"];
    match words {
        [first, _, ..] if ASKING.contains(first) => true,
        ["que" | "quand" | "à", second, ..] => {
            second.starts_with("est-ce") || INVERTED.iter().any(|end| second.ends_with(end))
        }
        [first, _, ..] => INVERTED.iter().any(|end| first.ends_with(end)) && !matches!(*first, "dis-je" | "dit-il"),
        _ => false,
    }
}

/// The written accent tells question words from the others, so one is enough.
fn spanish(words: &[&str]) -> bool {
    const ASKING: &[&str] = &[
        "qué", "quién", "quiénes", "cuándo", "dónde", "adónde", "cómo", "cuál", "cuáles", "cuánto", "cuánta",
        "cuántos", "cuántas",
    ];
    match words {
        [first, _, ..] if ASKING.contains(first) => true,
        ["por" | "de" | "a" | "para" | "con" | "en" | "desde", second, _, ..] => ASKING.contains(second),
        _ => false,
    }
}

fn portuguese(words: &[&str]) -> bool {
    matches!(
        words,
        ["quem" | "qual" | "quais" | "onde" | "aonde" | "cadê" | "quanto" | "quantos" | "quantas", _, ..]
            | ["por", "que" | "quê", _, ..]
            | ["o", "que", "é" | "você" | "foi" | "está" | "significa", ..]
            | ["será", "que", ..]
            | ["você" | "vocês", "pode" | "podem" | "poderia" | "quer" | "sabe", _, ..]
    )
}

fn chinese(sentence: &str) -> bool {
    const ENDINGS: &[&str] = &["吗", "呢", "嗎", "么"];
    const ASKING: &[&str] = &["为什么", "為什麼", "怎么", "怎麼", "谁", "哪", "什么时候", "请问"];
    ENDINGS.iter().any(|end| sentence.ends_with(end) && sentence.chars().count() > 2 && !sentence.ends_with("什么"))
        || ASKING.iter().any(|word| sentence.starts_with(word))
        || sentence.ends_with("什么")
}

#[cfg(test)]
mod tests {
    use super::super::units::parse;
    use super::*;

    fn asks(text: &str, lang: &str) -> bool {
        is_question(&parse(text), lang.parse().unwrap())
    }

    #[test]
    fn questions_are_heard() {
        for (text, lang) in [
            ("how many people are coming", "en"),
            ("can you send me the file", "en"),
            ("and where is the station", "en"),
            ("do you know him", "en"),
            ("what's the weather like", "en"),
            ("wie spät ist es", "de"),
            ("pouvez-vous m'aider", "fr"),
            ("por qué no vienes", "es"),
            ("onde fica a estação", "pt"),
            ("你叫什么", "zh"),
            ("元気ですか", "ja"),
        ] {
            assert!(asks(text, lang), "{text}");
        }
    }

    #[test]
    fn statements_are_not_questions() {
        for (text, lang) in [
            ("what i was saying is clear", "en"),
            ("when i was young we had no phone", "en"),
            ("have a nice day", "en"),
            ("do the dishes", "en"),
            ("what a day", "en"),
            ("wie gesagt kommen wir später", "de"),
            ("quand je suis arrivé il dormait", "fr"),
            ("que bonito es", "es"),
            ("我知道", "zh"),
        ] {
            assert!(!asks(text, lang), "{text}");
        }
    }
}
