//! Inverse text normalisation for English: what is said in words, written as a person would type it.

use super::super::fidelity;
use super::super::units::{Unit, join, parse};
use super::number_words::{Read, below_hundred, cardinal, digit, ordinal, scale, year};

/// `text` with numbers, ordinals, years, decimals, percent, money, times, dates and telephone numbers in digits.
/// Single numbers below ten and ordinals below "tenth" stay words, as good style has it.
pub fn write_digits(text: &str) -> String {
    let units = parse(text);
    // Hyphens inside number words ("twenty-five") are spaces to the reader below.
    let words: Vec<String> = units.iter().map(|unit| fidelity::words(&unit.core).concat()).collect();
    let mut out: Vec<Unit> = Vec::with_capacity(units.len());
    let mut changed = false;
    let mut at = 0;
    while at < units.len() {
        // A number ends where a mark stands: "twenty, thirty".
        let marked = units[at..].iter().position(|unit| !unit.trail.is_empty()).map_or(units.len(), |end| at + end + 1);
        let phrase = Phrase::new(&words[at..marked], at.checked_sub(1).map(|before| words[before].as_str()));
        match phrase.read() {
            Some((written, used)) => {
                let last = at + used - 1;
                let mut unit = Unit { core: written, ..units[at].clone() };
                unit.trail = units[last].trail.clone();
                if unit.core.ends_with('.') && unit.trail.starts_with('.') {
                    unit.trail.remove(0);
                }
                out.push(unit);
                changed = true;
                at += used;
            }
            None => {
                out.push(units[at].clone());
                at += 1;
            }
        }
    }
    if changed { join(&out) } else { text.to_owned() }
}

/// Words up to the next mark, hyphenated numbers taken apart.
struct Phrase<'a> {
    words: Vec<&'a str>,
    /// For each of `words`, how many units are read once it is.
    units: Vec<usize>,
    before: Option<&'a str>,
}

/// Reads one kind of number at the start of a phrase: how it is written, and how many words it takes.
type Reader<'a> = fn(&Phrase<'a>) -> Option<(String, usize)>;

impl<'a> Phrase<'a> {
    fn new(spoken: &'a [String], before: Option<&'a str>) -> Self {
        let mut words = Vec::new();
        let mut units = Vec::new();
        for (at, word) in spoken.iter().enumerate() {
            let parts: Vec<&str> = word.split('-').collect();
            let number = parts.len() == 2
                && (below_hundred(&parts).is_some_and(|read| read.used == 2)
                    || ordinal(&parts).is_some_and(|read| read.used == 2));
            if number {
                words.extend(&parts);
                units.extend([usize::MAX, at + 1]);
            } else {
                words.push(word.as_str());
                units.push(at + 1);
            }
        }
        Phrase { words, units, before }
    }

    /// What stands at the start, written, and how many units that takes.
    fn read(&self) -> Option<(String, usize)> {
        let readers: [Reader<'a>; 8] = [
            Self::date,
            Self::time,
            Self::money,
            Self::telephone,
            Self::decimal_or_percent,
            Self::spoken_year,
            Self::high_ordinal,
            Self::number,
        ];
        let (written, used) = readers.iter().find_map(|reader| reader(self))?;
        // Half of a hyphenated word cannot be taken.
        Some((written, *self.units.get(used - 1)?)).filter(|(_, units)| *units != usize::MAX)
    }

    fn word(&self, at: usize) -> &str {
        self.words.get(at).copied().unwrap_or_default()
    }

    fn from(&self, at: usize) -> &[&'a str] {
        &self.words[at.min(self.words.len())..]
    }

    /// "may fifth (twenty twenty four)", "the fifth of may" keeps its order.
    fn date(&self) -> Option<(String, usize)> {
        if let Some(month) = month(self.word(0)) {
            let the = usize::from(self.word(1) == "the");
            let day = ordinal(self.from(1 + the)).or_else(|| {
                // "march ten" may be anything; "january ten" is a date.
                (!matches!(month, "March" | "May" | "August")).then(|| cardinal(self.from(1))).flatten()
            })?;
            let day = Some(day).filter(|day| (1..=31).contains(&day.value))?;
            let used = 1 + the + day.used;
            return Some(match year(self.from(used)) {
                Some(year) => (format!("{month} {}, {}", day.value, year.value), used + year.used),
                None => (format!("{month} {}", day.value), used),
            });
        }
        let day = ordinal(&self.words).filter(|day| (1..=31).contains(&day.value))?;
        let of = Some(day.used).filter(|at| self.word(*at) == "of")?;
        let month = month(self.word(of + 1))?;
        let used = of + 2;
        let written = format!("{} of {month}", with_suffix(day.value));
        Some(match year(self.from(used)) {
            Some(year) => (format!("{written} {}", year.value), used + year.used),
            None => (written, used),
        })
    }

    /// "five thirty p m", "nine a.m.", "half past five", "quarter to six", "at five thirty".
    fn time(&self) -> Option<(String, usize)> {
        let hour_at = |at: usize| below_hundred(self.from(at)).filter(|hour| (1..=12).contains(&hour.value));
        let past = match (self.word(0), self.word(1)) {
            ("half", "past") => Some((30, true)),
            ("quarter", "past") => Some((15, true)),
            ("quarter", "to") => Some((15, false)),
            _ => None,
        };
        if let Some((minutes, is_past)) = past {
            let hour = hour_at(2)?;
            let (hour_value, minutes) =
                if is_past { (hour.value, minutes) } else { ((hour.value + 10) % 12 + 1, 60 - minutes) };
            let (half, used) = self.half_of_day(2 + hour.used);
            return Some((format!("{hour_value}:{minutes:02}{half}"), used));
        }
        let hour = hour_at(0)?;
        let rest = self.from(hour.used);
        let minutes = match rest {
            ["oh" | "o", unit, ..] => digit(unit).map(|value| Read { value, used: 2 }),
            _ => below_hundred(rest).filter(|minutes| (10..=59).contains(&minutes.value)),
        };
        let (half, used) = self.half_of_day(hour.used + minutes.map_or(0, |minutes| minutes.used));
        match minutes {
            // Without "p.m." only a preposition of time makes "five thirty" a time; "twenty thirty" is no hour.
            Some(minutes)
                if !half.is_empty() || matches!(self.before, Some("at" | "by" | "until" | "till" | "around")) =>
            {
                Some((format!("{}:{:02}{half}", hour.value, minutes.value), used))
            }
            None if !half.is_empty() => Some((format!("{}{half}", hour.value), used)),
            _ => None,
        }
    }

    /// " a.m." or " p.m." if it is said at `at`, and where the words go on.
    fn half_of_day(&self, at: usize) -> (&'static str, usize) {
        match (self.word(at), self.word(at + 1)) {
            ("am" | "a.m" | "a.m.", _) => (" a.m.", at + 1),
            ("pm" | "p.m" | "p.m.", _) => (" p.m.", at + 1),
            ("a", "m") => (" a.m.", at + 2),
            ("p", "m") => (" p.m.", at + 2),
            _ => ("", at),
        }
    }

    /// "five dollars (and fifty cents)", "two point five million euros", "twenty cents".
    fn money(&self) -> Option<(String, usize)> {
        let (amount, mut used) = self.amount()?;
        let sign = |word: &str| match word {
            "dollar" | "dollars" | "bucks" => Some("$"),
            "euro" | "euros" => Some("€"),
            "pound" | "pounds" => Some("£"),
            _ => None,
        };
        if matches!(self.word(used), "cent" | "cents") && !amount.contains(['.', ' ']) {
            return Some((format!("{amount} {}", self.word(used)), used + 1)).filter(|_| amount.len() > 1);
        }
        let sign = sign(self.word(used))?;
        // "pounds" may be weight.
        used += 1;
        let and = usize::from(self.word(used) == "and");
        let cents = below_hundred(self.from(used + and))
            .filter(|cents| matches!(self.word(used + and + cents.used), "cent" | "cents" | "pence"));
        match cents {
            Some(cents) if !amount.contains(['.', ' ']) => {
                Some((format!("{sign}{amount}.{:02}", cents.value), used + and + cents.used + 1))
            }
            _ => Some((format!("{sign}{amount}"), used)),
        }
    }

    /// A number with its decimals; large round ones keep their scale word: "2.5 million".
    fn amount(&self) -> Option<(String, usize)> {
        let whole = cardinal(&self.words)?;
        let mut used = whole.used;
        let mut written = grouped(whole.value);
        if self.word(used) == "point" {
            let digits: String = self.from(used + 1).iter().map_while(|word| spoken_digit(word)).collect();
            if !digits.is_empty() {
                used += 1 + digits.len();
                written = format!("{}.{digits}", grouped(whole.value));
                if scale(self.word(used)).is_some() {
                    written = format!("{written} {}", self.word(used));
                    used += 1;
                }
                return Some((written, used));
            }
        }
        for (name, size) in [("trillion", 1_000_000_000_000), ("billion", 1_000_000_000), ("million", 1_000_000)] {
            if whole.value >= size && whole.value % size == 0 {
                written = format!("{} {name}", whole.value / size);
                break;
            }
        }
        Some((written, used))
    }

    /// Three or more digits in a row, "double five" and "oh" included: "555-0123", "(area) three plus four" for ten.
    fn telephone(&self) -> Option<(String, usize)> {
        let mut digits = String::new();
        let mut used = 0;
        while used < self.words.len() {
            let times = match self.word(used) {
                "double" => 2,
                "triple" => 3,
                _ => 1,
            };
            let at = used + usize::from(times > 1);
            let Some(digit) = self.words.get(at).and_then(|word| spoken_digit(word)) else { break };
            digits.extend(std::iter::repeat_n(digit, times));
            used = at + 1;
        }
        // "one two hundred": the last digit belongs to another number.
        if used < self.words.len() && (self.word(used) == "hundred" || scale(self.word(used)).is_some()) {
            return None;
        }
        let written = match digits.len() {
            0..=2 => return None,
            7 => format!("{}-{}", &digits[..3], &digits[3..]),
            10 => format!("{}-{}-{}", &digits[..3], &digits[3..6], &digits[6..]),
            _ => digits,
        };
        Some((written, used))
    }

    fn decimal_or_percent(&self) -> Option<(String, usize)> {
        let minus = usize::from(matches!(self.word(0), "minus" | "negative"));
        let rest = Phrase { words: self.from(minus).to_vec(), units: Vec::new(), before: None };
        let (amount, used) = rest.amount()?;
        let sign = if minus == 1 { "-" } else { "" };
        let used = used + minus;
        match (self.word(used), self.word(used + 1)) {
            ("percent", _) => Some((format!("{sign}{amount}%"), used + 1)),
            ("per", "cent") => Some((format!("{sign}{amount}%"), used + 2)),
            _ if amount.contains('.') || minus == 1 => Some((format!("{sign}{amount}"), used)),
            _ => None,
        }
    }

    fn spoken_year(&self) -> Option<(String, usize)> {
        let year = year(&self.words)?;
        // "two thousand" and "eighteen hundred" alone may be amounts.
        let dated = matches!(
            self.before,
            Some("in" | "since" | "until" | "year" | "of" | "by" | "from" | "to" | "before" | "after")
        );
        (dated || year.value % 100 != 0).then(|| (year.value.to_string(), year.used))
    }

    fn high_ordinal(&self) -> Option<(String, usize)> {
        let read = ordinal(&self.words).filter(|read| read.value >= 10)?;
        Some((with_suffix(read.value), read.used))
    }

    fn number(&self) -> Option<(String, usize)> {
        let read = cardinal(&self.words).filter(|read| read.value >= 10)?;
        // "ten twenty": two numbers side by side are neither.
        let (written, used) = self.amount()?;
        (read.used == used).then_some((written, used))
    }
}

fn spoken_digit(word: &str) -> Option<char> {
    match word {
        "oh" | "o" => Some('0'),
        _ => digit(word).and_then(|value| char::from_digit(u32::try_from(value).ok()?, 10)),
    }
}

fn month(word: &str) -> Option<&'static str> {
    const MONTHS: &[&str] = &[
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    MONTHS.iter().find(|month| month.to_lowercase() == word).copied()
}

fn with_suffix(value: u64) -> String {
    let suffix = match (value % 10, value % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{value}{suffix}")
}

/// Thousands set off by commas from 10,000 on.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    if value < 10_000 {
        return digits;
    }
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::write_digits;

    #[test]
    fn written_as_a_person_would() {
        for (spoken, written) in [
            ("we need twenty five chairs", "we need 25 chairs"),
            ("we need twenty-five, maybe thirty-one.", "we need 25, maybe 31."),
            ("it costs five dollars and fifty cents", "it costs $5.50"),
            ("two point five million euros", "€2.5 million"),
            ("about three million dollars", "about $3 million"),
            ("up by twelve percent", "up by 12%"),
            ("three point one four one five", "3.1415"),
            ("meet me at five thirty", "meet me at 5:30"),
            ("at nine a m or five thirty p m.", "at 9 a.m. or 5:30 p.m."),
            ("half past six", "6:30"),
            ("quarter to one", "12:45"),
            ("on may fifth twenty twenty four", "on May 5, 2024"),
            ("the twenty first of june nineteen ninety nine", "the 21st of June 1999"),
            ("since nineteen ninety nine", "since 1999"),
            ("call five five five oh one two three", "call 555-0123"),
            ("the thirty second street", "the 32nd street"),
            ("minus five degrees", "-5 degrees"),
            ("one hundred and twenty thousand people", "120,000 people"),
            ("two thousand people", "2000 people"),
        ] {
            assert_eq!(write_digits(spoken), written);
        }
    }

    #[test]
    fn small_numbers_and_other_words_stay() {
        for text in [
            "one of us",
            "two or three",
            "the first time",
            "a second, please",
            "may I",
            "march on",
            "point taken",
            "five and six",
        ] {
            assert_eq!(write_digits(text), text);
        }
    }
}
