//! English number words to digits: the rules of OpenAI's `EnglishNumberNormalizer`.
//! `twenty one` and `21`, `nineteen ninety` and `1990`, `two point five million` and `2500000`, `five dollars` and
//! `$5` come out the same; `one` stays a word, as it is one most of the time.

use super::number_words::{MULTIPLIERS, Meaning, meaning};
use super::pattern;
use regex::{Captures, Regex};
use std::sync::LazyLock;

/// The text (lower case, no symbols but those of numbers) with its numbers in digits.
pub(super) fn standardize(text: &str) -> String {
    let text = before(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    after(&Reader::default().read(&words).join(" "))
}

/// A number as far as it was read: still one to add to, or digits to append to.
#[derive(Clone)]
enum Value {
    Number(u128),
    Digits(String),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Value::Number(n) => n.to_string(),
            Value::Digits(digits) => digits.clone(),
        }
    }

    /// Times `by`, where that is a whole number.
    fn times(&self, by: u128) -> Option<u128> {
        match self {
            Value::Number(n) if *n == 0 => Some(0),
            // "two thousand three hundred": only what is below the last thousand is multiplied.
            Value::Number(n) => (n % 1000).checked_mul(by)?.checked_add(n / 1000 * 1000),
            Value::Digits(digits) => {
                let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
                let fraction = fraction.trim_end_matches('0');
                let scale = 10u128.checked_pow(fraction.len().try_into().ok()?)?;
                let scaled: u128 = format!("0{whole}{fraction}").parse().ok()?;
                let product = scaled.checked_mul(by)?;
                (product % scale == 0).then_some(product / scale)
            }
        }
    }
}

#[derive(Default)]
struct Reader {
    prefix: Option<char>,
    value: Option<Value>,
    out: Vec<String>,
}

impl Reader {
    fn read(mut self, words: &[&str]) -> Vec<String> {
        let mut at = 0;
        while at < words.len() {
            let previous = if at == 0 { Meaning::Other } else { meaning(words[at - 1]) };
            let next = words.get(at + 1).copied();
            at += if self.word(previous, words[at], next) { 2 } else { 1 };
        }
        self.flush();
        self.out
    }

    /// Writes `text` behind the sign that waits for it.
    fn emit(&mut self, text: String) {
        let prefix = self.prefix.take().map(String::from).unwrap_or_default();
        self.out.push(prefix + &text);
        self.value = None;
    }

    fn flush(&mut self) {
        if let Some(value) = self.value.take() {
            self.emit(value.text());
        }
    }

    /// Digits so far; zero counts as none, as in the original.
    fn digits(&self) -> String {
        match &self.value {
            None | Some(Value::Number(0)) => String::new(),
            Some(value) => value.text(),
        }
    }

    /// Takes one word; true when the next one is used up too.
    fn word(&mut self, previous: Meaning, word: &str, next: Option<&str>) -> bool {
        let next_meaning = next.map_or(Meaning::Other, meaning);
        let next_counts = next.is_some_and(is_numeric) || next_meaning != Meaning::Other;
        let sign = word.chars().next().filter(|c| "-+£€$¢".contains(*c));
        let bare = sign.map_or(word, |sign| &word[sign.len_utf8()..]);
        if is_numeric(bare) {
            self.arabic(word, bare, sign);
            return false;
        }
        match meaning(word) {
            Meaning::Other => {
                self.flush();
                self.emit(word.to_owned());
            }
            Meaning::Zero => self.value = Some(Value::Digits(self.digits() + "0")),
            Meaning::Ones(n) => self.value = Some(self.with_ones(previous, n)),
            Meaning::OnesEnding(n, ending) => {
                let value = self.with_ones(previous, n);
                self.emit(value.text() + ending);
            }
            Meaning::Tens(n) => self.value = Some(self.with_tens(n)),
            Meaning::TensEnding(n, ending) => {
                let value = self.with_tens(n);
                self.emit(value.text() + ending);
            }
            Meaning::Multiplier(n) => self.value = Some(Value::Number(self.multiplied(n))),
            Meaning::MultiplierEnding(n, ending) => {
                let value = self.multiplied(n);
                self.emit(value.to_string() + ending);
            }
            Meaning::Sign(sign) => {
                self.flush();
                if next_counts {
                    self.prefix = Some(sign);
                } else {
                    self.emit(word.to_owned());
                }
            }
            Meaning::Currency(sign) => match self.value.take() {
                Some(value) => {
                    self.prefix = Some(sign);
                    self.emit(value.text());
                }
                None => self.emit(word.to_owned()),
            },
            Meaning::Percent | Meaning::Per => return self.percent(word, next),
            Meaning::And | Meaning::Repeat(_) | Meaning::Point if !next_counts => {
                self.flush();
                self.emit(word.to_owned());
            }
            Meaning::And => {
                // "two hundred and five" is one number, "two and five" are two.
                if !matches!(previous, Meaning::Multiplier(_)) {
                    self.flush();
                    self.emit(word.to_owned());
                }
            }
            Meaning::Repeat(times) => {
                let digit = match next_meaning {
                    Meaning::Ones(n) => n,
                    Meaning::Zero => 0,
                    _ => {
                        self.flush();
                        self.emit(word.to_owned());
                        return false;
                    }
                };
                self.value = Some(Value::Digits(self.digits() + &digit.to_string().repeat(times)));
                return true;
            }
            Meaning::Point => {
                let decimal = matches!(next_meaning, Meaning::Ones(_) | Meaning::Tens(_) | Meaning::Zero);
                if decimal || next.is_some_and(is_numeric) {
                    self.value = Some(Value::Digits(self.digits() + "."));
                }
            }
        }
        false
    }

    fn arabic(&mut self, word: &str, bare: &str, sign: Option<char>) {
        match &mut self.value {
            // Decimals after "point", parts of an address.
            Some(Value::Digits(digits)) if digits.ends_with('.') => {
                digits.push_str(word);
                return;
            }
            Some(_) => self.flush(),
            None => {}
        }
        self.prefix = sign.or(self.prefix);
        let whole = match bare.split_once('.') {
            Some((whole, fraction)) => fraction.bytes().all(|b| b == b'0').then_some(whole),
            None => Some(bare),
        };
        self.value = Some(match whole.map(str::parse) {
            Some(Ok(number)) => Value::Number(number),
            _ => Value::Digits(bare.to_owned()),
        });
    }

    fn with_ones(&self, previous: Meaning, n: u128) -> Value {
        let base = if n < 10 { 10 } else { 100 };
        match &self.value {
            None => Value::Number(n),
            Some(Value::Digits(digits)) => match digits.strip_suffix('0') {
                // "nineteen ninety nine": the nine takes the place of the zero.
                Some(rest) if n < 10 && matches!(previous, Meaning::Tens(_)) => Value::Digits(format!("{rest}{n}")),
                _ => Value::Digits(format!("{digits}{n}")),
            },
            Some(Value::Number(number)) if number % base == 0 && !matches!(previous, Meaning::Ones(_)) => {
                number.checked_add(n).map_or_else(|| Value::Digits(format!("{number}{n}")), Value::Number)
            }
            Some(Value::Number(number)) => Value::Digits(format!("{number}{n}")),
        }
    }

    fn with_tens(&self, n: u128) -> Value {
        match &self.value {
            None => Value::Number(n),
            Some(Value::Number(number)) if number % 100 == 0 => {
                number.checked_add(n).map_or_else(|| Value::Digits(format!("{number}{n}")), Value::Number)
            }
            Some(value) => Value::Digits(value.text() + &n.to_string()),
        }
    }

    /// The number so far times `by`; where that is no whole number it is written out and `by` starts a new one.
    fn multiplied(&mut self, by: u128) -> u128 {
        match self.value.as_ref().map(|value| value.times(by)) {
            None => by,
            Some(Some(product)) => product,
            Some(None) => {
                self.flush();
                by
            }
        }
    }

    fn percent(&mut self, word: &str, next: Option<&str>) -> bool {
        let Some(value) = self.value.take() else {
            self.emit(word.to_owned());
            return false;
        };
        let two_words = word == "per";
        if two_words && next != Some("cent") {
            self.emit(value.text());
            self.emit(word.to_owned());
            return false;
        }
        self.emit(value.text() + "%");
        two_words
    }
}

/// `12` or `12.5`.
fn is_numeric(word: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match word.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(word),
    }
}

static AND_A_HALF: LazyLock<Regex> = LazyLock::new(|| pattern(r"\band\s+a\s+half\b"));
static HALF_A: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"\b(?:a\s+half\s+|half\s+(?:a\s+)?)({})\b", MULTIPLIERS.join("|"))));
static LETTER_DIGIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"([a-z])([0-9])"));
static DIGIT_LETTER: LazyLock<Regex> = LazyLock::new(|| pattern(r"([0-9])([a-z])"));
static SUFFIX: LazyLock<Regex> = LazyLock::new(|| pattern(r"([0-9])\s+(st|nd|rd|th|s)\b"));
static WITH_CENTS: LazyLock<Regex> = LazyLock::new(|| pattern(r"([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})\b"));
static ONLY_CENTS: LazyLock<Regex> = LazyLock::new(|| pattern(r"[€£$]0.([0-9]{1,2})\b"));
static ONE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b1(s?)\b"));

fn before(text: &str) -> String {
    let pieces: Vec<&str> = AND_A_HALF.split(text).collect();
    let mut parts: Vec<&str> = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        let Some(last) = piece.split_whitespace().next_back() else { continue };
        parts.push(piece);
        if i + 1 < pieces.len() {
            let counts =
                matches!(meaning(last), Meaning::Ones(_) | Meaning::Tens(_) | Meaning::Zero | Meaning::Multiplier(_));
            parts.push(if counts { "point five" } else { "and a half" });
        }
    }
    let text = parts.join(" ");
    let text = HALF_A.replace_all(&text, "0.5 ${1}");
    let text = LETTER_DIGIT.replace_all(&text, "${1} ${2}");
    let text = DIGIT_LETTER.replace_all(&text, "${1} ${2}");
    SUFFIX.replace_all(&text, "${1}${2}").into_owned()
}

fn after(text: &str) -> String {
    let number = |digits: &str| digits.parse::<u32>().unwrap_or_default();
    let text = WITH_CENTS.replace_all(text, |c: &Captures| format!("{}{}.{:02}", &c[1], &c[2], number(&c[3])));
    let text = ONLY_CENTS.replace_all(&text, |c: &Captures| format!("¢{}", number(&c[1])));
    ONE.replace_all(&text, "one${1}").into_owned()
}
