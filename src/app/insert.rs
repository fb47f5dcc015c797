//! `bestbox insert`: text into the window that has the keyboard focus, as dictation does it; to try it out and for
//! scripts.

use crate::cli::InsertArgs;
use crate::error::Error;
use crate::output::insert::{Because, How, InsertConfig, Inserted, Target, focus, hand_over, insert};
use std::io::Read;
use std::time::Duration;

/// Runs the command with the settings of `[dictate.insert]`.
pub async fn run(mut config: InsertConfig, args: InsertArgs) -> Result<(), Error> {
    apply(&args, &mut config);
    if args.focus {
        return show_focus(&config).await;
    }
    let text = match args.text.as_deref() {
        Some("-") | None => read_text()?,
        Some(text) => text.to_owned(),
    };
    if args.after > 0.0 {
        tokio::time::sleep(Duration::try_from_secs_f64(args.after).unwrap_or_default()).await;
    }
    let inserted = insert(&text, &target(&args).await, &config).await;
    // Also after a failure: then the text is in the clipboard.
    hand_over().await;
    tell(&inserted.map_err(|error| Error::Insert(error.to_string()))?, &args)
}

/// Flags win over rules as well.
fn apply(args: &InsertArgs, config: &mut InsertConfig) {
    if let Some(method) = args.method {
        config.method = method;
        config.rules.iter_mut().for_each(|rule| rule.method = None);
    }
    if !args.tool.is_empty() {
        config.tools.clone_from(&args.tool);
    }
    if args.submit {
        config.submit = true;
        config.rules.iter_mut().for_each(|rule| rule.submit = None);
    }
    if args.trailing_space {
        config.trailing_space = true;
        config.rules.iter_mut().for_each(|rule| rule.trailing_space = None);
    }
}

/// The window with the focus and what holds for it; to write rules by.
async fn show_focus(config: &InsertConfig) -> Result<(), Error> {
    let target =
        focus().await.ok_or_else(|| Error::Insert("the desktop does not tell which window has the focus".into()))?;
    let manner = config.manner(&target.application);
    let shown = serde_json::json!({ "target": target, "manner": manner });
    println!("{shown:#}");
    Ok(())
}

/// The window that has the focus, or that should have it.
async fn target(args: &InsertArgs) -> Target {
    let focused = focus().await.unwrap_or_default();
    match args.window {
        Some(window) if focused.window != Some(window) => Target { window: Some(window), ..Target::default() },
        _ => focused,
    }
}

fn read_text() -> Result<String, Error> {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|source| Error::Read { path: "standard input".into(), source })?;
    Ok(text)
}

fn tell(inserted: &Inserted, args: &InsertArgs) -> Result<(), Error> {
    if args.json {
        let json = serde_json::to_string(inserted).map_err(|error| Error::Insert(error.to_string()))?;
        println!("{json}");
    }
    match (&inserted.because, inserted.how) {
        (None | Some(Because::Asked), _) => {}
        (Some(because), How::Clipboard) => {
            crate::app::say(&format!("bestbox: {because}; the text is in the clipboard"))
        }
        (Some(because), _) => crate::app::say(&format!("bestbox: {because}")),
    }
    Ok(())
}
