//! Spoken punctuation: "new line", "question mark", "comma".

use super::super::SpokenPunctuation;
use super::super::fidelity::words;
use super::super::rules::{begins_after, is_plain_word};
use super::super::script::{capitalised, is_mark};
use super::super::units::{Gap, Unit};
use crate::language::Lang;

/// What a phrase does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// A mark after the word before.
    Mark(&'static str),
    /// A quote or bracket before the word after.
    Open(&'static str),
    /// A quote or bracket after the word before.
    Close(&'static str),
    /// A break before the word after.
    Break(Gap),
    /// A full stop and a new paragraph ("punto y aparte").
    StopAndBreak,
}

/// Writes the marks that were spoken. A phrase stays words where it is clearly a noun: after an article or the like, or
/// before "of"; a decimal comma between numbers, too. Whisper's own marks around a spoken one give way to it.
/// Also gives the break that was spoken last, with no word after it yet.
pub fn write_marks(units: &[Unit], lang: Lang, how: SpokenPunctuation) -> (Vec<Unit>, Option<Gap>) {
    let table = Table::of(lang);
    let phrases: Vec<(Vec<String>, Does)> = table
        .phrases
        .iter()
        .filter(|(.., sure)| *sure == Sure::Yes || how == SpokenPunctuation::Always)
        .map(|(phrase, does, _)| (words(phrase), *does))
        .collect();
    let spoken: Vec<String> = units.iter().map(|unit| words(&unit.core).concat()).collect();
    let mut out: Vec<Unit> = Vec::with_capacity(units.len());
    let mut waiting = Waiting::default();
    let mut at = 0;
    while at < units.len() {
        let hit = phrases
            .iter()
            .filter(|(phrase, _)| spoken[at..].starts_with(phrase) && table.is_mark(&spoken, at, at + phrase.len()))
            .max_by_key(|(phrase, _)| phrase.len());
        match hit {
            Some((phrase, does)) if !out.is_empty() || matches!(does, Does::Open(_) | Does::Break(_)) => {
                apply(*does, &mut out, &mut waiting, units[at].gap);
                at += phrase.len();
            }
            _ => {
                out.push(waiting.give(&units[at], out.last()));
                at += 1;
            }
        }
    }
    (out, waiting.gap)
}

/// What the next word gets.
#[derive(Default)]
struct Waiting {
    lead: String,
    gap: Option<Gap>,
    sentence: bool,
}

impl Waiting {
    fn give(&mut self, unit: &Unit, before: Option<&Unit>) -> Unit {
        let mut unit = unit.clone();
        let broken = self.gap.is_some();
        if let Some(gap) = self.gap.take() {
            unit.gap = unit.gap.max(gap);
        }
        unit.lead.insert_str(0, &std::mem::take(&mut self.lead));
        let starts = std::mem::take(&mut self.sentence) && before.is_some_and(begins_after);
        if (starts || broken)
            && is_plain_word(&unit.core)
            && let Some(raised) = capitalised(&unit.core)
        {
            unit.core = raised;
        }
        unit
    }
}

fn apply(does: Does, out: &mut [Unit], waiting: &mut Waiting, gap: Gap) {
    let set = |out: &mut [Unit], mark: &str| {
        if let Some(last) = out.last_mut() {
            let kept: String = last.trail.chars().filter(|c| !is_mark(*c) && *c != '-').collect();
            last.trail = format!("{}{mark}", kept.trim_end());
        }
    };
    match does {
        Does::Mark(mark) => set(out, mark),
        Does::Close(quote) => {
            if let Some(last) = out.last_mut() {
                // A comma that Whisper set before the spoken quote is its pause, not the speaker's mark.
                last.trail = last.trail.trim_end_matches(',').to_owned() + quote;
            }
        }
        Does::Open(quote) => {
            waiting.lead.push_str(quote);
            waiting.gap = waiting.gap.or(Some(gap).filter(|gap| *gap > Gap::Space));
        }
        Does::Break(gap) => {
            if let Some(last) = out.last_mut()
                && last.trail == ","
                && waiting.gap.is_none()
                && !waiting.sentence
            {
                last.trail.clear();
            }
            waiting.gap = waiting.gap.max(Some(gap));
        }
        Does::StopAndBreak => {
            set(out, ".");
            waiting.gap = Some(Gap::Paragraph);
        }
    }
    waiting.sentence |= matches!(does, Does::Mark(_) | Does::StopAndBreak);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sure {
    /// Hardly ever a word of the message.
    Yes,
    /// A common word too.
    No,
}

struct Table {
    phrases: &'static [(&'static str, Does, Sure)],
    /// Before these words a phrase is a noun.
    nouns_after: &'static [&'static str],
    /// After these words a phrase is a noun.
    nouns_before: &'static [&'static str],
}

impl Table {
    fn is_mark(&self, spoken: &[String], start: usize, end: usize) -> bool {
        let before = start.checked_sub(1).map(|at| spoken[at].as_str());
        let after = spoken.get(end).map(String::as_str);
        let is_number = |word: Option<&str>| word.is_some_and(|word| word.chars().any(char::is_numeric));
        let is_noun = before.is_some_and(|word| self.nouns_before.contains(&word))
            || after.is_some_and(|word| self.nouns_after.contains(&word));
        let is_decimal = is_number(before) && is_number(after);
        !is_noun && !is_decimal
    }

    #[rustfmt::skip]
    fn of(lang: Lang) -> Table {
        use Does::{Break, Close, Mark, Open, StopAndBreak};
        use Sure::{No, Yes};
        const LINE: Does = Break(Gap::Line);
        const PARAGRAPH: Does = Break(Gap::Paragraph);
        match lang.code() {
            "en" => Table {
                phrases: &[
                    ("new line", LINE, Yes), ("newline", LINE, Yes), ("next line", LINE, No), ("new paragraph", PARAGRAPH, Yes),
                    ("next paragraph", PARAGRAPH, No), ("question mark", Mark("?"), Yes), ("exclamation mark", Mark("!"), Yes),
                    ("exclamation point", Mark("!"), Yes), ("full stop", Mark("."), Yes), ("comma", Mark(","), Yes),
                    ("semicolon", Mark(";"), Yes), ("period", Mark("."), No), ("colon", Mark(":"), No), ("dash", Mark(" –"), No),
                    ("ellipsis", Mark("…"), No), ("dot dot dot", Mark("…"), Yes), ("open quote", Open("\""), Yes),
                    ("open quotes", Open("\""), Yes), ("close quote", Close("\""), Yes), ("close quotes", Close("\""), Yes),
                    ("unquote", Close("\""), No), ("end quote", Close("\""), Yes), ("open bracket", Open("("), Yes),
                    ("open parenthesis", Open("("), Yes), ("close bracket", Close(")"), Yes), ("close parenthesis", Close(")"), Yes),
                ],
                nouns_after: &["of", "is", "was", "are", "were", "key", "character", "symbol", "in", "splice", "separated"],
                nouns_before: &["a", "an", "the", "this", "that", "these", "those", "of", "each", "every", "another", "my", "your",
                    "his", "her", "its", "our", "their", "no", "any", "some", "one", "first", "last", "whole", "entire", "same",
                    "oxford"],
            },
            "de" => Table {
                phrases: &[
                    ("neue Zeile", LINE, Yes), ("nächste Zeile", LINE, No), ("neuer Absatz", PARAGRAPH, Yes), ("Absatz", PARAGRAPH, No),
                    ("Fragezeichen", Mark("?"), Yes), ("Ausrufezeichen", Mark("!"), Yes), ("Komma", Mark(","), Yes),
                    ("Punkt", Mark("."), No), ("Doppelpunkt", Mark(":"), Yes), ("Semikolon", Mark(";"), Yes),
                    ("Strichpunkt", Mark(";"), Yes), ("Gedankenstrich", Mark(" –"), Yes),
                    ("Anführungszeichen auf", Open("„"), Yes), ("Anführungszeichen zu", Close("“"), Yes),
                    ("Klammer auf", Open("("), Yes), ("Klammer zu", Close(")"), Yes),
                ],
                nouns_after: &["ist", "war", "von", "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"],
                nouns_before: &["ein", "eine", "einen", "einem", "einer", "der", "die", "das", "den", "dem", "des", "kein", "keine",
                    "mein", "jeder", "jedes", "dieser", "diese", "dieses", "am", "im", "zum", "vom", "null"],
            },
            "fr" => Table {
                phrases: &[
                    ("nouvelle ligne", LINE, Yes), ("à la ligne", LINE, Yes), ("nouveau paragraphe", PARAGRAPH, Yes),
                    ("point d'interrogation", Mark(" ?"), Yes), ("point d'exclamation", Mark(" !"), Yes), ("virgule", Mark(","), Yes),
                    ("point virgule", Mark(" ;"), Yes), ("point-virgule", Mark(" ;"), Yes), ("deux points", Mark(" :"), No),
                    ("deux-points", Mark(" :"), Yes), ("point", Mark("."), No), ("point final", Mark("."), Yes),
                    ("points de suspension", Mark("…"), Yes), ("ouvrez les guillemets", Open("« "), Yes),
                    ("ouvrir les guillemets", Open("« "), Yes), ("fermez les guillemets", Close(" »"), Yes),
                    ("fermer les guillemets", Close(" »"), Yes), ("ouvrez la parenthèse", Open("("), Yes),
                    ("fermez la parenthèse", Close(")"), Yes),
                ],
                nouns_after: &["de", "est", "était", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "zéro"],
                nouns_before: &["un", "une", "le", "la", "les", "des", "du", "ce", "cette", "ces", "mon", "ma", "chaque", "aucun",
                    "aucune", "au", "de", "premier", "dernier"],
            },
            "es" => Table {
                phrases: &[
                    ("nueva línea", LINE, Yes), ("salto de línea", LINE, No), ("nuevo párrafo", PARAGRAPH, Yes),
                    ("punto y aparte", StopAndBreak, Yes), ("punto y seguido", Mark("."), Yes), ("punto final", Mark("."), No),
                    ("signo de interrogación", Mark("?"), Yes), ("cierra interrogación", Mark("?"), Yes),
                    ("abre interrogación", Open("¿"), Yes), ("abre exclamación", Open("¡"), Yes),
                    ("signo de exclamación", Mark("!"), Yes), ("cierra exclamación", Mark("!"), Yes), ("coma", Mark(","), No),
                    ("punto y coma", Mark(";"), Yes), ("dos puntos", Mark(":"), No), ("punto", Mark("."), No),
                    ("puntos suspensivos", Mark("…"), Yes), ("abre comillas", Open("\""), Yes), ("abrir comillas", Open("\""), Yes),
                    ("cierra comillas", Close("\""), Yes), ("cerrar comillas", Close("\""), Yes),
                    ("abre paréntesis", Open("("), Yes), ("cierra paréntesis", Close(")"), Yes),
                ],
                nouns_after: &["de", "es", "era", "está"],
                nouns_before: &["un", "una", "el", "la", "los", "las", "del", "al", "este", "ese", "cada", "mi", "su", "ningún", "en"],
            },
            "pt" => Table {
                phrases: &[
                    ("nova linha", LINE, Yes), ("novo parágrafo", PARAGRAPH, Yes), ("ponto parágrafo", StopAndBreak, Yes),
                    ("ponto de interrogação", Mark("?"), Yes), ("ponto de exclamação", Mark("!"), Yes), ("vírgula", Mark(","), Yes),
                    ("ponto e vírgula", Mark(";"), Yes), ("dois pontos", Mark(":"), No), ("ponto final", Mark("."), Yes),
                    ("ponto", Mark("."), No), ("reticências", Mark("…"), Yes), ("abre aspas", Open("\""), Yes),
                    ("abrir aspas", Open("\""), Yes), ("fecha aspas", Close("\""), Yes), ("fechar aspas", Close("\""), Yes),
                    ("abre parênteses", Open("("), Yes), ("fecha parênteses", Close(")"), Yes),
                ],
                nouns_after: &["de", "é", "era", "está", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove"],
                nouns_before: &["um", "uma", "o", "a", "os", "as", "do", "da", "no", "na", "ao", "este", "esse", "cada", "meu",
                    "nenhum", "nenhuma"],
            },
            "zh" | "yue" => Table {
                phrases: &[
                    ("换行", LINE, Yes), ("換行", LINE, Yes), ("另起一行", LINE, Yes), ("新段落", PARAGRAPH, Yes),
                    ("另起一段", PARAGRAPH, Yes), ("逗号", Mark("，"), Yes), ("逗號", Mark("，"), Yes), ("句号", Mark("。"), Yes),
                    ("句號", Mark("。"), Yes), ("问号", Mark("？"), Yes), ("問號", Mark("？"), Yes), ("感叹号", Mark("！"), Yes),
                    ("感嘆號", Mark("！"), Yes), ("冒号", Mark("："), Yes), ("冒號", Mark("："), Yes), ("分号", Mark("；"), Yes),
                    ("顿号", Mark("、"), Yes), ("省略号", Mark("…"), Yes), ("左引号", Open("“"), Yes), ("右引号", Close("”"), Yes),
                    ("左括号", Open("（"), Yes), ("右括号", Close("）"), Yes),
                ],
                nouns_after: &["是", "的", "有", "在"],
                nouns_before: &["个", "個", "的", "加", "用", "打", "是", "这", "那", "成"],
            },
            "ja" => Table {
                phrases: &[("改行", LINE, Yes), ("新しい段落", PARAGRAPH, Yes), ("読点", Mark("、"), Yes), ("句点", Mark("。"), Yes),
                    ("疑問符", Mark("？"), Yes), ("感嘆符", Mark("！"), Yes)],
                nouns_after: &["は", "が", "を", "の", "に", "で", "と", "し"],
                nouns_before: &["の"],
            },
            _ => Table { phrases: &[], nouns_after: &[], nouns_before: &[] },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::units::{join, parse};
    use super::*;

    fn written(text: &str, lang: &str, how: SpokenPunctuation) -> String {
        join(&write_marks(&parse(text), lang.parse().unwrap(), how).0)
    }

    #[test]
    fn marks_are_written_in_six_languages() {
        let done = |text, lang| written(text, lang, SpokenPunctuation::Conservative);
        assert_eq!(
            done("dear john comma new line how are you question mark i am fine", "en"),
            "dear john,\nHow are you? I am fine"
        );
        assert_eq!(done("Hello, comma, how are you? Question mark.", "en"), "Hello, how are you?");
        assert_eq!(done("he said open quote hello close quote and left", "en"), "he said \"hello\" and left");
        assert_eq!(done("hallo komma wie geht es fragezeichen neuer absatz gut", "de"), "hallo, wie geht es?\n\nGut");
        assert_eq!(done("bonjour virgule ça va point d'interrogation", "fr"), "bonjour, ça va ?");
        assert_eq!(done("hola punto y aparte adiós", "es"), "hola.\n\nAdiós");
        assert_eq!(done("olá vírgula tudo bem ponto de interrogação", "pt"), "olá, tudo bem?");
        assert_eq!(done("你好逗号世界句号", "zh"), "你好，世界。");
    }

    #[test]
    fn nouns_stay_words() {
        for text in [
            "the period of time",
            "a new line of products",
            "put a comma here",
            "the question mark is red",
            "come to a full stop",
        ] {
            assert_eq!(written(text, "en", SpokenPunctuation::Always), text);
        }
        assert_eq!(written("a trial period ends", "en", SpokenPunctuation::Conservative), "a trial period ends");
        assert_eq!(written("we are done period thanks", "en", SpokenPunctuation::Always), "we are done. Thanks");
        assert_eq!(written("3 komma 5", "de", SpokenPunctuation::Conservative), "3 komma 5");
    }

    #[test]
    fn a_mark_without_a_word_before_it_stays_a_word() {
        assert_eq!(written("comma", "en", SpokenPunctuation::Conservative), "comma");
        assert_eq!(written("new line", "en", SpokenPunctuation::Conservative), "");
    }
}
