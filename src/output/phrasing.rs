//! How good a place between two words is for a line break or the end of a subtitle.

use super::atoms::is_unspaced;
use crate::language::Lang;

/// Cost of a break between two neighbouring atoms, 0 (end of a sentence) to 4 (between an article and its noun).
/// The order follows the BBC and Netflix guides: sentence, clause, before a conjunction or preposition, anywhere else,
/// never after a word that leans on the next.
pub(super) fn break_cost(before: &str, after: &str, language: Option<Lang>) -> f64 {
    if ends_sentence(before, language) {
        return 0.0;
    }
    let last = before.trim_end_matches(is_closing).chars().next_back().unwrap_or(' ');
    if ",;:–—،、，；：".contains(last) {
        return 0.7;
    }
    if joins_words(before, after) {
        return unspaced_cost(before, after);
    }
    let Some(words) = language.and_then(function_words) else { return 2.2 };
    if is_listed(words.leaning, before) || is_listed(words.opening, before) {
        4.0
    } else if is_listed(words.opening, after) {
        1.2
    } else {
        2.2
    }
}

/// Whether a sentence ends with this atom.
pub(super) fn ends_sentence(atom: &str, language: Option<Lang>) -> bool {
    let bare = atom.trim_end_matches(is_closing);
    match bare.chars().next_back() {
        Some('.') => !is_abbreviation(bare, language),
        Some(c) => "!?…。！？؟۔।։".contains(c),
        None => false,
    }
}

fn is_closing(c: char) -> bool {
    "\"'”’»›)]}」』）】》〉".contains(c)
}

/// `Dr.`, `z.B.`, `J.`: a full stop that ends no sentence.
fn is_abbreviation(bare: &str, language: Option<Lang>) -> bool {
    let word = bare.trim_end_matches('.').trim_start_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let one_letter = word.chars().count() == 1 && word.chars().all(char::is_alphabetic) && word != "i";
    let listed = match language.map(Lang::code) {
        Some("en") => " mr mrs ms dr prof st jr sr vs etc e.g i.e no ",
        Some("de") => " hr fr dr prof str nr z.b d.h u.a bzw ca usw evtl ",
        Some("fr") => " m mm mme mlle dr pr st ste etc p.ex ",
        Some("es") => " sr sra srta dr dra d p.ej etc ud uds ",
        Some("pt") => " sr sra dr dra prof etc p.ex ",
        _ => "",
    };
    one_letter || is_listed(listed, &word)
}

fn joins_words(before: &str, after: &str) -> bool {
    before.chars().next_back().is_some_and(is_unspaced) || after.chars().next().is_some_and(is_unspaced)
}

/// Unspaced scripts: a Japanese phrase ends with its particles, that is where hiragana gives way to another script;
/// a Chinese one ends with 的 or 了, or before a conjunction.
fn unspaced_cost(before: &str, after: &str) -> f64 {
    let (Some(left), Some(right)) = (before.chars().next_back(), after.chars().next()) else { return 2.2 };
    let hiragana = |c: char| ('\u{3041}'..='\u{309f}').contains(&c);
    let katakana = |c: char| ('\u{30a0}'..='\u{30ff}').contains(&c);
    match (left, right) {
        (left, right) if katakana(left) && katakana(right) => 4.0,
        (left, right) if hiragana(left) && !hiragana(right) => 1.2,
        (_, '但' | '而' | '和' | '或' | '所' | '因' | '如' | '然' | '并' | '且') => 1.4,
        ('的' | '了' | '吗' | '呢' | '吧', _) => 1.6,
        (left, right) if is_unspaced(left) != is_unspaced(right) => 1.8,
        _ => 2.6,
    }
}

/// Words, lower case, with a space on either side of each.
struct FunctionWords {
    /// Conjunctions and prepositions: a line may start with them, none may end with them.
    opening: &'static str,
    /// Articles, possessives, auxiliaries: they lean on the next word.
    leaning: &'static str,
}

fn function_words(language: Lang) -> Option<FunctionWords> {
    let (opening, leaning) = match language.code() {
        "en" => (
            " and but or nor so because that which who whom whose when where while if unless although though than until \
             since whether as in on at to of for with from by about into onto over under after before between through \
             during without within against across behind beyond near toward towards upon ",
            " the a an my your his her its our their this these those no not very is are was were be been will would \
             can could shall should may might must do does did has have had i we you they he she it ",
        ),
        "de" => (
            " und oder aber denn sondern weil dass daß wenn ob als wie obwohl damit bevor nachdem während bis sowie \
             in im an am auf aus bei beim mit nach seit von vom zu zum zur für durch gegen ohne um unter über vor hinter \
             neben zwischen trotz wegen ",
            " der die das den dem des ein eine einen einem einer eines kein keine keinen mein dein sein ihr unser euer \
             dieser diese dieses diesen nicht sehr ich du er sie es wir ",
        ),
        "fr" => (
            " et ou mais donc car ni que qui dont où quand lorsque puisque parce comme si pour à de en dans par sur sous \
             avec sans chez vers entre depuis pendant avant après contre malgré afin au aux du ",
            " le la les un une des ce cet cette ces mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs ne \
             pas très je tu il elle on nous vous ils elles se me te ",
        ),
        "es" => (
            " y e o u pero sino porque que quien cual donde cuando mientras si aunque como pues a de en con por para sin \
             sobre entre hasta desde hacia contra durante según ante bajo tras al del ",
            " el la los las un una unos unas mi tu su mis tus sus este esta estos estas ese esa esos esas no muy se me \
             te nos le les lo yo él ella ",
        ),
        "pt" => (
            " e ou mas porém porque que quem qual onde quando enquanto se embora como pois a de em com por para sem \
             sobre entre até desde contra durante conforme ante sob após ao aos do da dos das no na nos nas pelo pela ",
            " o os as um uma uns umas meu minha seu sua nosso nossa este esta estes estas esse essa não muito eu ele \
             ela nós eles elas lhe me te ",
        ),
        _ => return None,
    };
    Some(FunctionWords { opening, leaning })
}

fn is_listed(list: &str, word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    !word.is_empty() && list.split_ascii_whitespace().any(|listed| listed == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lang(code: &str) -> Option<Lang> {
        code.parse().ok()
    }

    #[test]
    fn breaks_rank_as_the_subtitle_guides_rank_them() {
        let en = |before, after| break_cost(before, after, lang("en"));
        assert!(en("done.", "Then") < en("done,", "then"));
        assert!(en("done,", "then") < en("house", "because"));
        assert!(en("house", "because") < en("big", "house"));
        assert!(en("big", "house") < en("the", "house"));
        assert!(en("big", "house") < en("of", "houses"));
    }

    #[test]
    fn each_listed_language_breaks_before_its_conjunctions() {
        for (code, conjunction, article) in
            [("en", "and", "the"), ("de", "und", "der"), ("fr", "et", "le"), ("es", "pero", "el"), ("pt", "mas", "o")]
        {
            assert!(break_cost("x1", conjunction, lang(code)) < break_cost("x1", "x2", lang(code)), "{code}");
            assert!(break_cost(article, "x2", lang(code)) > break_cost("x1", "x2", lang(code)), "{code}");
        }
        assert!(break_cost("東京に", "行", lang("ja")) < break_cost("コ", "ン", lang("ja")));
    }

    #[test]
    fn abbreviations_end_no_sentence() {
        assert!(!ends_sentence("Dr.", lang("en")) && !ends_sentence("(z.B.", lang("de")) && !ends_sentence("J.", None));
        assert!(ends_sentence("end.”", lang("en")) && ends_sentence("好。", lang("zh")) && ends_sentence("¿Sí?", None));
    }
}
