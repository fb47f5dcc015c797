//! Private PulseAudio of the test desktop: a microphone that hears what is played into the sink "room", and loudspeakers
//! of their own, so that the program's own sounds are not heard by the microphone.

use super::process::Process;
use super::{Desktop, wait_until};
use std::path::Path;

const SCRIPT: &str = "\
load-module module-native-protocol-unix auth-anonymous=1 socket=SOCKET
load-module module-null-sink sink_name=speaker
load-module module-null-sink sink_name=room rate=48000 channels=1
load-module module-always-sink
set-default-sink speaker
";
const MICROPHONE: [&str; 4] = ["module-remap-source", "master=room.monitor", "source_name=microphone", "remix=no"];

/// A second one, which hears the same.
const HEADSET: [&str; 4] = ["module-remap-source", "master=room.monitor", "source_name=headset", "remix=no"];

/// ALSA's "default" is PulseAudio, whatever the machine's own configuration says.
const ALSA: &str = "\
</usr/share/alsa/alsa.conf>
pcm.!default { type pulse hint { show on description \"Microphone of the test desktop\" } }
pcm.headset { type pulse device \"headset\" fallback \"nothing\" hint { show on description \"Headset of the test desktop\" } }
ctl.!default { type pulse }
";

/// Whether the microphone is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugged {
    In,
    Out,
}

/// The sound server.
pub struct Sound {
    /// Number of the module that is the microphone.
    microphone: Option<String>,
    /// Of the one that is the headset.
    headset: Option<String>,
    _server: Process,
}

impl Sound {
    pub(super) fn start(desktop: &Desktop) -> Sound {
        let (folder, run) = (desktop.folder(), desktop.run_dir());
        let socket = run.join("pulse.sock");
        let script = folder.join("pulse.pa");
        std::fs::write(&script, SCRIPT.replace("SOCKET", &socket.display().to_string())).expect("script");
        std::fs::write(folder.join("alsa.conf"), ALSA).expect("alsa.conf");
        let mut command = desktop.command("pulseaudio");
        command.args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes", "-F"]);
        let server = Process::start(command.arg(&script), folder.join("pulseaudio.log"));
        wait_until("PulseAudio", || socket.exists());
        let mut sound = Sound { microphone: None, headset: None, _server: server };
        sound.set(desktop, Plugged::In);
        sound
    }

    /// Added to the desktop's environment.
    pub(super) fn env(&self, folder: &Path) -> [(&'static str, String); 2] {
        [
            ("PULSE_SERVER", format!("unix:{}", folder.join("run/pulse.sock").display())),
            ("ALSA_CONFIG_PATH", folder.join("alsa.conf").display().to_string()),
        ]
    }

    #[track_caller]
    pub(super) fn play(&self, desktop: &Desktop, wav: &Path) {
        let mut command = desktop.command("timeout");
        command.env("PULSE_SERVER", &self.env(desktop.folder())[0].1);
        let ran = command.args(["300", "paplay", "--device=room", "--latency-msec=50"]).arg(wav).output();
        let ran = ran.expect("paplay");
        assert!(ran.status.success(), "paplay: {}", String::from_utf8_lossy(&ran.stderr));
    }

    #[track_caller]
    pub(super) fn set(&mut self, desktop: &Desktop, plugged: Plugged) {
        match (plugged, self.microphone.take()) {
            (Plugged::In, None) => {
                let mut args = vec!["load-module"];
                args.extend(MICROPHONE);
                self.microphone = Some(self.pactl(desktop, &args));
                self.pactl(desktop, &["set-default-source", "microphone"]);
            }
            (Plugged::Out, Some(module)) => {
                self.pactl(desktop, &["unload-module", &module]);
            }
            (_, as_it_is) => self.microphone = as_it_is,
        }
    }

    #[track_caller]
    pub(super) fn set_headset(&mut self, desktop: &Desktop, plugged: Plugged) {
        match (plugged, self.headset.take()) {
            (Plugged::In, None) => self.headset = Some(self.pactl(desktop, &[&["load-module"], &HEADSET[..]].concat())),
            (Plugged::Out, Some(module)) => drop(self.pactl(desktop, &["unload-module", &module])),
            (_, as_it_is) => self.headset = as_it_is,
        }
    }

    #[track_caller]
    fn pactl(&self, desktop: &Desktop, args: &[&str]) -> String {
        let mut command = desktop.command("timeout");
        command.env("PULSE_SERVER", &self.env(desktop.folder())[0].1);
        let ran = command.args(["10", "pactl"]).args(args).output().expect("pactl");
        assert!(ran.status.success(), "pactl {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("UTF-8").trim().to_owned()
    }
}
