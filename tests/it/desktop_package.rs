//! What the Debian package and the tarball are made of; without a release build.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const MADE: &str = "target/package/";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Source, destination and mode of each entry of the list in Cargo.toml.
fn assets() -> Vec<[String; 3]> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("a list").clone();
    let text = |value: &toml::Value| value.as_str().expect("text").to_owned();
    assets.iter().map(|asset| [0, 1, 2].map(|index| text(&asset[index]))).collect()
}

fn run(program: &str, args: &[&Path]) -> std::process::Output {
    Command::new("timeout").args(["60", program]).args(args).output().expect(program)
}

/// Whether a program is there. A check that needs one that is not is left out.
fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[test]
fn every_file_of_the_package_exists_or_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = root().join("scripts/package-files");
    let bestbox = Path::new(env!("CARGO_BIN_EXE_bestbox"));
    let ran = run(&script.display().to_string(), &[bestbox, folder.path()]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let made = |name: &str| std::fs::read(folder.path().join(name)).unwrap_or_default();
    let mut places = BTreeSet::new();
    for [source, destination, mode] in assets() {
        let program = ["bestbox", "llama-server"].iter().any(|name| source == format!("{MADE}{name}"));
        assert_eq!(mode, if program { "755" } else { "644" }, "{source}");
        assert!(!destination.starts_with('/'), "{destination}");
        match source.strip_prefix(MADE) {
            // The build itself.
            Some("bestbox" | "llama-server") => {}
            Some(name) => assert!(!made(name).is_empty(), "{name} is not made"),
            None if source.contains('*') => {
                assert!(root().join("docs").read_dir().is_ok_and(|mut all| all.next().is_some()))
            }
            None => assert!(root().join(&source).is_file(), "{source} does not exist"),
        }
        if destination.ends_with('/') && !source.contains('*') {
            let name = source.rsplit('/').next().expect("a name");
            assert!(places.insert(format!("{destination}{name}")), "{name} is there twice");
        }
    }
    for place in ["usr/bin/bestbox", "usr/lib/bestbox/llama-server", "usr/share/man/man1/bestbox.1.gz"] {
        assert!(places.contains(place), "{place}");
    }
    let mut page = String::new();
    let bytes = made("bestbox.1.gz");
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut page).expect("gzip");
    for command in ["transcribe", "dictate", "ctl", "doctor"] {
        assert!(page.contains(&format!(".SH \"BESTBOX {}\"", command.to_uppercase())), "{command}");
    }
    let groff = folder.path().join("page.1");
    std::fs::write(&groff, page).expect("a page");
    if have("groff") {
        let ran = run(
            "groff",
            &[Path::new("-Kutf8"), Path::new("-man"), Path::new("-Tutf8"), Path::new("-ww"), Path::new("-z"), &groff],
        );
        assert!(ran.status.success() && ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    let ran = run("bash", &[Path::new("-n"), &folder.path().join("bestbox.bash")]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn the_desktop_entry_and_the_unit_are_what_they_claim() {
    let entry = root().join("deploy/org.bestbox.BestBox.desktop");
    let text = std::fs::read_to_string(&entry).expect("the entry");
    for line in ["Exec=bestbox dictate", "Icon=org.bestbox.BestBox", "Exec=bestbox ctl toggle"] {
        assert!(text.lines().any(|have| have == line), "{line}");
    }
    // Every command line that it names is one.
    for command in text.lines().filter_map(|line| line.strip_prefix("Exec=bestbox ")) {
        let mut help: Vec<&Path> = command.split(' ').map(Path::new).collect();
        help.push(Path::new("--help"));
        assert!(run(env!("CARGO_BIN_EXE_bestbox"), &help).status.success(), "{command}");
    }
    if have("desktop-file-validate") {
        let ran = run("desktop-file-validate", &[&entry]);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    }
    let icon = std::fs::read_to_string(root().join("deploy/org.bestbox.BestBox.svg")).expect("the icon");
    assert!(icon.contains("<svg"));
    let unit = std::fs::read_to_string(root().join("deploy/bestbox-dictate.service")).expect("the unit");
    assert!(unit.lines().any(|line| line == "ExecStart=/usr/bin/bestbox dictate"));
    if have("systemd-analyze") {
        // The program is where the tests have it.
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join("bestbox-dictate.service");
        std::fs::write(&copy, unit.replace("/usr/bin/bestbox", env!("CARGO_BIN_EXE_bestbox"))).expect("a copy");
        let ran = run("systemd-analyze", &[Path::new("verify"), Path::new("--user"), Path::new("--man=no"), &copy]);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        let about = said.lines().filter(|line| line.contains("bestbox-dictate"));
        assert_eq!(about.collect::<Vec<_>>(), Vec::<&str>::new(), "{said}");
    }
}
