//! Cleanup against a real llama-server with the embedded models.

use bestbox::outcome::{Cue, Style, Tier};
use bestbox::text::clean::*;
use bestbox::text::llm::*;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

#[tokio::test]
#[ignore]
async fn try_out() {
    let url = std::env::var("TRY_URL").unwrap();
    let client = Client::new(Endpoint {
        tier: Tier::Light,
        base_url: url,
        model: None,
        key: None,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(60),
    })
    .unwrap();
    let style = match std::env::var("TRY_STYLE").as_deref() {
        Ok("tidy") => Style::Tidy,
        Ok("rewrite") => Style::Rewrite,
        _ => Style::Punctuate,
    };
    let cleaner = Cleaner::new(Some(client.clone()), CleanSettings::default());
    let cancel = CancellationToken::new();
    let text = std::fs::read_to_string(std::env::var("TRY_FILE").unwrap()).unwrap();
    let mut warmed = None;
    for line in text.lines() {
        let (lang, said) = line.split_once('\t').unwrap();
        let lang = lang.parse().unwrap();
        if warmed != Some(lang) {
            client.warm_up(&Cleaner::static_prefix(style, lang), None, &cancel).await.unwrap();
            warmed = Some(lang);
        }
        let cue = Cue { start: 0.0, end: 1.0, text: said.into(), paragraph: false };
        let t = Instant::now();
        let (c, w) = cleaner
            .clean(&CleanRequest { cues: &[cue], lang, style, before: None, more_follows: MoreFollows::No }, &cancel)
            .await;
        println!(
            "{:5.0} ms {:3} words {:?} {}\n   {}\n   {:?}",
            t.elapsed().as_secs_f64() * 1e3,
            said.split(' ').count(),
            c.engine,
            said,
            c.track.text,
            w
        );
    }
}
