//! Yes and no, by strict lists: whether a person agrees is never a model's judgement.

/// What an utterance that is nothing but a yes or a no says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Do it.
    Yes,
    /// Do not.
    No,
}

/// Languages: English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Turkish, Russian, Chinese, Japanese.
const YES: &str = "yes|yes please|yes do it|yeah|yep|do it|go ahead|confirm|confirmed|i confirm|approve|approved|\
ja|ja bitte|ja mach das|mach das|bestätigt|bestätige|jawohl|oui|oui vas-y|vas-y|d'accord|confirmé|je confirme|\
sí|si|sí por favor|hazlo|adelante|confirmo|confirmado|sì|sì grazie|procedi|confermo|confermato|sim|sim por favor|\
pode fazer|ja graag|doe het|bevestigd|ik bevestig|tak|tak proszę|potwierdzam|evet|onaylıyorum|да|подтверждаю|давай|\
是|是的|好|好的|可以|确认|はい|お願いします|確認";
const NO: &str = "no|no thanks|no don't|nope|don't|don't do it|do not|do not do it|cancel|cancel it|deny|denied|stop|\
nein|nein danke|lass das|nicht|abbrechen|non|non merci|annule|annuler|no gracias|cancela|cancelar|no grazie|annulla|\
não|não obrigado|não obrigada|nee|nee bedankt|annuleer|niet doen|nie|nie dziękuję|anuluj|hayır|iptal|нет|отмена|\
не надо|不|不要|不是|取消|いいえ|やめて|キャンセル";

/// What `text` says; none for everything that is more than a plain yes or no.
pub fn consent(text: &str) -> Option<Consent> {
    let lower = text.to_lowercase().replace('’', "'");
    let kept: String =
        lower.chars().map(|c| if c.is_alphanumeric() || c == '\'' || c == '-' { c } else { ' ' }).collect();
    let said = kept.split_whitespace().collect::<Vec<_>>().join(" ");
    let among = |list: &str| !said.is_empty() && list.split('|').any(|entry| entry == said);
    match (among(YES), among(NO)) {
        (true, false) => Some(Consent::Yes),
        (false, true) => Some(Consent::No),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_is_a_yes() {
        for yes in ["Yes.", " yes, please!", "Ja.", "Oui !", "Sí.", "да", "はい。", "Do it"] {
            assert_eq!(consent(yes), Some(Consent::Yes), "{yes}");
        }
        for no in ["No.", "Don’t do it!", "Nein, danke.", "取消", "нет", "stop"] {
            assert_eq!(consent(no), Some(Consent::No), "{no}");
        }
        for neither in ["", "...", "yes but not that file", "yes no", "maybe", "yesterday", "not yes", "okay then what"]
        {
            assert_eq!(consent(neither), None, "{neither}");
        }
    }

    #[test]
    fn no_word_is_both() {
        assert!(YES.split('|').all(|yes| !NO.split('|').any(|no| no == yes)));
    }
}
