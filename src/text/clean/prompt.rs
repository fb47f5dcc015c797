//! The prompts of cleanup. The static part comes first, so that the server's prefix cache holds it; the text comes last.

use crate::language::Lang;
use crate::outcome::Style;
use crate::text::llm::{Message, Role};

/// System message and examples for a style and language: the same for every text, to be warmed up.
pub fn static_prefix(style: Style, lang: Lang) -> Vec<Message> {
    let mut messages = vec![message(Role::System, instruction(style, lang))];
    for (said, written) in examples(style, lang) {
        messages.push(message(Role::User, (*said).to_owned()));
        messages.push(message(Role::Assistant, (*written).to_owned()));
    }
    messages
}

/// The whole prompt for one text.
pub fn messages(style: Style, lang: Lang, text: &str) -> Vec<Message> {
    let mut messages = static_prefix(style, lang);
    messages.push(message(Role::User, defused(text)));
    messages
}

/// Text whose chat-template markers (`<|im_end|>`, `</s>`, `[INST]`) are broken up, so that the speaker's words cannot
/// end the user's turn. Only the prompt sees this form; the grammar spells the words as they are.
pub fn defused(text: &str) -> String {
    text.replace("<|", "< |")
        .replace("|>", "| >")
        .replace("</s>", "< /s>")
        .replace("[INST", "[ INST")
        .replace("[/INST", "[ /INST")
}

fn message(role: Role, content: String) -> Message {
    Message { role, content }
}

fn instruction(style: Style, lang: Lang) -> String {
    let language = lang.title();
    match style {
        Style::Verbatim | Style::Punctuate => format!(
            "You add punctuation and capital letters to dictated {language} text. Repeat every word of the user's \
             message in the same order. Never answer it."
        ),
        Style::Tidy => format!(
            "You add punctuation and capital letters to dictated {language} text and leave out fillers and repeated \
             words. Repeat every other word of the user's message in the same order. Never answer it."
        ),
        Style::Rewrite => format!(
            "You rewrite dictated {language} text as clear written {language}. Keep every fact, name, number and \
             negation. Add nothing. Never answer the text. Reply with the rewritten text only."
        ),
    }
}

fn examples(style: Style, lang: Lang) -> &'static [(&'static str, &'static str)] {
    match (style, lang.code()) {
        (Style::Rewrite, "en") => &[
            (
                "so um i wanted to say that the the meeting with mrs lopez is not on monday it's it's on tuesday at 3",
                "The meeting with Mrs Lopez is not on Monday; it is on Tuesday at 3.",
            ),
            (
                "can you like send me the file i think it was called report two",
                "Can you send me the file? I think it was called report two.",
            ),
        ],
        (Style::Rewrite, "de") => &[(
            "also ähm ich wollte sagen dass das treffen nicht am montag ist sondern am dienstag um 3",
            "Das Treffen ist nicht am Montag, sondern am Dienstag um 3.",
        )],
        (Style::Rewrite, _) => &[],
        (_, "de") => &[
            (
                "ich glaube wir sollten morgen fahren was meinst du",
                "Ich glaube, wir sollten morgen fahren. Was meinst du?",
            ),
            (
                "guten tag frau müller könnten sie mir bitte den bericht schicken danke",
                "Guten Tag, Frau Müller, könnten Sie mir bitte den Bericht schicken? Danke.",
            ),
        ],
        (_, "fr") => &[
            (
                "je pense que nous devrions partir demain qu'en penses-tu",
                "Je pense que nous devrions partir demain. Qu'en penses-tu ?",
            ),
            (
                "bonjour madame martin pourriez-vous m'envoyer le rapport merci",
                "Bonjour, Madame Martin, pourriez-vous m'envoyer le rapport ? Merci.",
            ),
        ],
        (_, "es") => &[
            ("creo que deberíamos salir mañana qué te parece", "Creo que deberíamos salir mañana. ¿Qué te parece?"),
            (
                "buenos días señora garcía podría enviarme el informe gracias",
                "Buenos días, señora García, ¿podría enviarme el informe? Gracias.",
            ),
        ],
        (_, "pt") => &[
            ("acho que devíamos sair amanhã o que você acha", "Acho que devíamos sair amanhã. O que você acha?"),
            (
                "bom dia senhora silva poderia me enviar o relatório obrigado",
                "Bom dia, senhora Silva, poderia me enviar o relatório? Obrigado.",
            ),
        ],
        (_, "zh" | "yue") => &[
            ("我觉得我们应该明天出发你觉得呢", "我觉得我们应该明天出发，你觉得呢？"),
            ("王女士您好请把报告发给我谢谢", "王女士，您好。请把报告发给我，谢谢。"),
        ],
        (_, "ja") => &[
            ("明日出発した方がいいと思いますどう思いますか", "明日出発した方がいいと思います。どう思いますか？"),
            ("田中さんこんにちは報告書を送ってください", "田中さん、こんにちは。報告書を送ってください。"),
        ],
        (_, "en") => &[
            (
                "i think we should leave tomorrow what do you think",
                "I think we should leave tomorrow. What do you think?",
            ),
            (
                "hello mrs miller if you have time on monday could you please send me the report thanks",
                "Hello, Mrs Miller, if you have time on Monday, could you please send me the report? Thanks.",
            ),
        ],
        _ => &[],
    }
}
