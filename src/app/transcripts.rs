//! Where the agent finds what the user said before: the history of dictation, and folders of transcripts. Reads only.

use super::dictate;
use crate::agent::tools::{Found, Transcripts};
use crate::config::Config;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

/// Most files of one search, and the largest that is read, bytes: a wrong folder must not hold an answer up.
const MAX_FILES: usize = 5000;
const MAX_BYTES: u64 = 4 << 20;
/// How deep folders are looked into.
const MAX_DEPTH: usize = 8;

struct Own {
    history: PathBuf,
    folders: Vec<PathBuf>,
}

/// The transcripts of this configuration's user.
pub(super) fn of(config: &Config) -> Arc<dyn Transcripts> {
    Arc::new(Own { history: dictate::data_dir(config), folders: config.agent.transcripts.clone() })
}

impl Transcripts for Own {
    fn search<'a>(
        &'a self,
        words: &'a [String],
        limit: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Found>, String>> + Send + 'a>> {
        Box::pin(async move {
            let mut found = dictate::search_history(&self.history, words, limit).await?;
            let (folders, words) = (self.folders.clone(), words.to_vec());
            let left = limit.saturating_sub(found.len());
            let files = tokio::task::spawn_blocking(move || search_folders(&folders, &words, left)).await;
            found.extend(files.map_err(|error| format!("the transcripts cannot be searched: {error}"))?);
            Ok(found)
        })
    }
}

/// Newest first.
fn search_folders(folders: &[PathBuf], words: &[String], limit: usize) -> Vec<Found> {
    let mut files: Vec<(SystemTime, PathBuf)> =
        folders.iter().flat_map(|folder| texts(folder)).take(MAX_FILES).collect();
    files.sort_unstable_by(|a, b| b.cmp(a));
    let hit = |(_, path): (SystemTime, PathBuf)| {
        let text = std::fs::read_to_string(&path).ok()?;
        let lower = text.to_lowercase();
        let place = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        words.iter().all(|word| lower.contains(word)).then_some(Found { place, text })
    };
    files.into_iter().filter_map(hit).take(limit).collect()
}

fn texts(folder: &Path) -> impl Iterator<Item = (SystemTime, PathBuf)> + use<> {
    let visible =
        |entry: &walkdir::DirEntry| !entry.file_name().to_string_lossy().starts_with('.') || entry.depth() == 0;
    walkdir::WalkDir::new(folder).max_depth(MAX_DEPTH).into_iter().filter_entry(visible).flatten().filter_map(|entry| {
        let text = entry.path().extension().is_some_and(|kind| kind == "txt" || kind == "md");
        let about = entry.metadata().ok().filter(|about| text && about.is_file() && about.len() <= MAX_BYTES)?;
        Some((about.modified().ok()?, entry.into_path()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn folders_are_searched_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out/deep");
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(out.join("talk.txt"), "The Budget is fine.").unwrap();
        std::fs::write(out.join("talk.json"), "the budget is fine").unwrap();
        std::fs::create_dir(out.join(".bestbox")).unwrap();
        std::fs::write(out.join(".bestbox/hidden.txt"), "budget fine").unwrap();
        let history = folder.path().join("history");
        let own = Own { history: history.clone(), folders: vec![folder.path().join("out"), "/nowhere".into()] };
        let found = own.search(&["budget".into(), "fine".into()], 8).await.unwrap();
        assert_eq!(found, [Found { place: "talk.txt".into(), text: "The Budget is fine.".into() }]);
        assert!(own.search(&["unicorn".into()], 8).await.unwrap().is_empty());
        assert!(!history.exists());
    }
}
