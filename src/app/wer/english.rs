//! Rules of OpenAI's `EnglishTextNormalizer`, in its order; without the table of British spellings.

use super::{numbers, pattern, without_remarks};
use regex::Regex;
use std::sync::LazyLock;
use unicode_normalization::UnicodeNormalization;

/// The text with every way to say the same thing said one way.
pub(super) fn normalize(text: &str) -> String {
    let mut text = without_remarks(&text.to_lowercase());
    for (pattern, replacement) in RULES.iter() {
        text = pattern.replace_all(&text, *replacement).into_owned();
    }
    text = numbers::standardize(&plain(&text));
    for (pattern, replacement) in SYMBOL_RULES.iter() {
        text = pattern.replace_all(&text, *replacement).into_owned();
    }
    text
}

/// Symbols to spaces, diacritics off; what belongs to numbers stays.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.nfkd() {
        match c {
            '.' | '%' | '$' | '¢' | '€' | '£' => out.push(c),
            // Letters that decomposition does not take apart.
            'œ' => out.push_str("oe"),
            'ø' => out.push('o'),
            'æ' => out.push_str("ae"),
            'ß' => out.push_str("ss"),
            'đ' | 'ð' => out.push('d'),
            'þ' => out.push_str("th"),
            'ł' => out.push('l'),
            c if c.is_ascii_alphanumeric() || c.is_ascii_whitespace() => out.push(c),
            c => {
                let mut buffer = [0; 4];
                let one = &*c.encode_utf8(&mut buffer);
                if !NONSPACING.is_match(one) {
                    out.push_str(if SYMBOL.is_match(one) { " " } else { one });
                }
            }
        }
    }
    out
}

static NONSPACING: LazyLock<Regex> = LazyLock::new(|| pattern(r"\p{Mn}"));
static SYMBOL: LazyLock<Regex> = LazyLock::new(|| pattern(r"[\p{M}\p{S}\p{P}]"));

type Rules = Vec<(Regex, &'static str)>;

fn rules(list: &[(&str, &'static str)]) -> Rules {
    list.iter().map(|(text, replacement)| (pattern(text), *replacement)).collect()
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    rules(&[
        // Fillers.
        (r"\b(hmm|mm|mhm|mmm|uh|um)\b", ""),
        (r"\s+'", "'"),
        // Contractions with a form of their own.
        (r"\bwon't\b", "will not"),
        (r"\bcan't\b", "can not"),
        (r"\blet's\b", "let us"),
        (r"\bain't\b", "aint"),
        (r"\by'all\b", "you all"),
        (r"\bwanna\b", "want to"),
        (r"\bgotta\b", "got to"),
        (r"\bgonna\b", "going to"),
        (r"\bi'ma\b", "i am going to"),
        (r"\bimma\b", "i am going to"),
        (r"\bwoulda\b", "would have"),
        (r"\bcoulda\b", "could have"),
        (r"\bshoulda\b", "should have"),
        (r"\bma'am\b", "madam"),
        // Titles.
        (r"\bmr\b", "mister "),
        (r"\bmrs\b", "missus "),
        (r"\bst\b", "saint "),
        (r"\bdr\b", "doctor "),
        (r"\bprof\b", "professor "),
        (r"\bcapt\b", "captain "),
        (r"\bgov\b", "governor "),
        (r"\bald\b", "alderman "),
        (r"\bgen\b", "general "),
        (r"\bsen\b", "senator "),
        (r"\brep\b", "representative "),
        (r"\bpres\b", "president "),
        (r"\brev\b", "reverend "),
        (r"\bhon\b", "honorable "),
        (r"\basst\b", "assistant "),
        (r"\bassoc\b", "associate "),
        (r"\blt\b", "lieutenant "),
        (r"\bcol\b", "colonel "),
        (r"\bjr\b", "junior "),
        (r"\bsr\b", "senior "),
        (r"\besq\b", "esquire "),
        // Perfect tenses, before the general rules take 's for "is" and 'd for "would".
        (r"'d been\b", " had been"),
        (r"'s been\b", " has been"),
        (r"'d gone\b", " had gone"),
        (r"'s gone\b", " has gone"),
        (r"'d done\b", " had done"),
        (r"'s got\b", " has got"),
        // Contractions in general.
        (r"n't\b", " not"),
        (r"'re\b", " are"),
        (r"'s\b", " is"),
        (r"'d\b", " would"),
        (r"'ll\b", " will"),
        (r"'t\b", " not"),
        (r"'ve\b", " have"),
        (r"'m\b", " am"),
        // Commas inside numbers; full stops that belong to none.
        (r"(\d),(\d)", "${1}${2}"),
        (r"\.([^0-9]|$)", " ${1}"),
    ])
});

static SYMBOL_RULES: LazyLock<Rules> = LazyLock::new(|| {
    rules(&[
        (r"([$¢€£])\s+([0-9])", "${1}${2}"),
        (r"([0-9])\s+%", "${1}%"),
        // Signs without a number.
        (r"[.$¢€£]([^0-9])", " ${1}"),
        (r"([^0-9])%", "${1} "),
    ])
});

#[cfg(test)]
mod tests {
    /// Expected values: what OpenAI's own code gives for these sentences.
    #[test]
    fn says_what_openais_normaliser_says() {
        let cases = [
            ("Mr. Smith can't pay twenty-three dollars and five cents.", "mister smith can not pay $23.05"),
            (
                "He's been there, she'd gone, they've got it, and we'd go.",
                "he has been there she had gone they have got it and we would go",
            ),
            (
                "I won't; you ain't; y'all gonna wanna, gotta, shoulda.",
                "i will not you aint you all going to want to got to should have",
            ),
            ("Um, uh, hmm: well (laughs) [noise] yes <unk>.", "well yes"),
            ("Twenty one, nineteen ninety nine, two thousand and five.", "2119992005"),
            ("two thousand twenty four and one hundred and one", "2024 and 101"),
            ("three hundred forty-five thousand six hundred seventy eight", "345678"),
            ("2.5 million people, 20,000 cars", "2500000 people 20000 cars"),
            ("two point five million and two and a half million", "2500002500000"),
            ("half a million, a half billion", "500000 500000000"),
            ("the twenty-first century, the first, second and third", "the 21st century the 1st 2nd and 3rd"),
            ("the 1960s and the nineteen sixties, his thirties", "the 1960s and the 1960s his 30s"),
            ("fifty percent, five per cent, 20 %, 12.5%", "50% 5% 20% 12.5%"),
            ("$20 million, £3.50, five euros, 99 cents", "$20000000 €3.505 ¢99"),
            ("one oh one, double seven, triple zero", "10177000"),
            ("minus ten degrees, plus five, negative", "-10 degrees +5 negative"),
            ("Dr. Jones lives at 221b Baker St.", "doctor jones lives at 221 b baker saint"),
            ("It is 10.30, or 3:45 p.m.", "it is 10.30 or 3 45 p m"),
            ("naïve café, Ærøskøbing, Straße", "naive cafe aeroskobing strasse"),
            ("one of the ones", "one of the ones"),
            ("$2 and 7 cents, zero point five", "$2.07 0.5"),
            ("seven eight nine ten eleven", "7891011"),
            ("a hundred, hundreds of thousands, two hundredth", "a 10000s of 1000s 200th"),
            ("4th of July, the 22 nd, 1 st", "4th of july the 22nd one saint"),
            ("and so my fellow Americans, ask not", "and so my fellow americans ask not"),
            ("five and six and seven hundred and eight", "5 and 6 and 708"),
            ("o two, oh dear, per person", "020 dear per person"),
            ("point taken, point five, three point one four", "point taken .53.14"),
            ("the cat's mat isn't Bob's", "the cat is mat is not bob is"),
            ("twenty twenty, twenty ten, ten twenty", "202020101020"),
            ("1.0 and 007 and 3.10", "one and 7 and 3.10"),
            ("U.S.A. vs. U.K.", "u s a vs u k"),
            ("two dozen, three quarters", "2 dozen 3 quarters"),
            ("one hundred percent", "100%"),
            ("thirteen hundred, fifteen hundredths", "1315 hundredths"),
            ("zero, zero hundred, million", "0"),
        ];
        for (given, expected) in cases {
            let words: Vec<_> = super::normalize(given).split_whitespace().map(str::to_owned).collect();
            assert_eq!(words.join(" "), expected, "for '{given}'");
        }
    }
}
