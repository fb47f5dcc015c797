//! Pulls from the real sources. They need the network, so only the long run does them.

use bestbox::models::{Puller, State, Store};
use std::process::Command;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[test]
fn a_model_comes_from_its_real_source_and_two_processes_do_not_collide() {
    if std::env::var_os("BESTBOX_LONG").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pull = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bestbox"));
        command.args(["models", "pull", "tiny.en-q8_0", "tiny.en"]).env("BESTBOX_CACHE", folder.path());
        command.spawn().unwrap()
    };
    // The first is killed on its way; two more finish the work side by side.
    let mut first = pull();
    std::thread::sleep(Duration::from_secs(2));
    first.kill().unwrap();
    first.wait().unwrap();
    for mut child in [pull(), pull()] {
        assert!(child.wait().unwrap().success());
    }
    let store = Store::new(folder.path(), Vec::new());
    for name in ["tiny.en-q8_0", "tiny.en"] {
        let (_, state, _) = store.verify(name, &CancellationToken::new()).unwrap();
        assert_eq!(state, State::Checked);
    }
    assert!(Puller::new(&store, CancellationToken::new()).pull(&["tiny.en"], &|_| {}).unwrap()[0].present);
    let left: Vec<_> = std::fs::read_dir(folder.path().join("downloads")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
