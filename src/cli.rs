//! clap types only: what may be typed. No logic.

pub use crate::app::batch::Text;
use crate::config::{LauncherKind, Profile, Tiers};
use crate::outcome::{ChannelUse, RouteChoice, Style, Tier};
use crate::output::Format;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Speech in; clean text, its intent and an answer out. Everything runs on this machine.
#[derive(Debug, Parser)]
#[command(name = "bestbox", version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 flags or configuration; 3 input cannot be read or decoded; \
    4 model or server missing; 5 result cannot be written; 6 some inputs failed; 130 interrupted.";

/// Flags that every command takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Configuration file instead of ./bestbox.toml and the one in the platform's config folder
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set of defaults to start from
    #[arg(long, global = true, value_enum)]
    pub profile: Option<Profile>,
    /// Set any configuration key, such as --set light.port=9001 (repeatable)
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// No progress, no notices; errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// More about what happens (-v: info, -vv: debug); BESTBOX_LOG takes a filter such as bestbox=debug
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Transcribe recordings: raw and clean text, translation, intent and answer
    Transcribe(TranscribeArgs),
    /// The same on text that is already there
    Text(TextArgs),
    /// Folders of recordings in, transcripts out; nothing is done twice
    Batch(BatchArgs),
    /// The HTTP service: OpenAI's audio API, the whole pipeline, and a web page
    Serve(ServeArgs),
    /// Run and watch the language model servers; clients of any make may use their ports
    Up(UpArgs),
    /// How the language model servers are: state, model, slots, speed, cache, memory
    Status(StatusArgs),
    /// Push-to-talk: hold a key, speak, release, and the text is there
    Dictate(DictateArgs),
    /// Drive a running `bestbox dictate`, from a key binding, a script or a pedal
    Ctl(CtlArgs),
    /// What was dictated: list, search, copy, make anew, delete
    History(HistoryArgs),
    /// Keys of the HTTP service's users: make one, hash one
    Keys(KeysArgs),
    /// Speech and language models: list, fetch, import, check
    Models(ModelsArgs),
    /// Put text into the window that has the keyboard focus, as dictation does
    Insert(InsertArgs),
    /// Check this machine: models, servers, microphone, keys, windows, CPU, disk; says what to do
    Doctor(DoctorArgs),
    /// List audio input devices
    Devices,
    /// The tools of the agent: what there is, what is allowed, whether it works
    Agent(AgentArgs),
    /// Show, create or locate the configuration
    Config(ConfigArgs),
    /// Decide what texts are for, and explain each decision
    Route(RouteArgs),
    /// Measure speed and accuracy on this machine
    Bench(BenchArgs),
    /// Measure how good a configuration is on your own recordings and texts; fit the intent; compare two
    Eval(EvalArgs),
    /// Print the manual page
    #[command(hide = true)]
    Man,
    /// Print completions for a shell
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// What happens with the words; shared by all front ends.
#[derive(Debug, Args, Default)]
pub struct PlanArgs {
    /// How far cleanup may go [default: punctuate]
    #[arg(long, value_enum)]
    pub cleanup: Option<Style>,
    /// Translate into this language (code or English name)
    #[arg(long, value_name = "LANG")]
    pub to: Option<String>,
    /// text, intent (decide only), auto (the intent decides), agent, or a route by its name, such as agent/calendar
    /// [default: auto; batch: text]
    #[arg(long, value_name = "ROUTE")]
    pub route: Option<RouteChoice>,
    /// A route that is likely, by its name; weaker than --route
    #[arg(long, value_name = "NAME")]
    pub hint: Option<String>,
    /// File with names and jargon, one a line
    #[arg(long, value_name = "FILE")]
    pub vocabulary: Option<PathBuf>,
    /// Language spoken: auto, a code or an English name [default: auto]
    #[arg(short, long, value_name = "LANG")]
    pub language: Option<String>,
    /// Which language model tiers to use
    #[arg(long, value_enum)]
    pub tiers: Option<Tiers>,
}

/// What is made of a recording's channels; shared by `transcribe` and `batch`.
#[derive(Debug, Args, Default)]
pub struct ChannelArgs {
    /// Average the channels, or transcribe each on its own with speaker labels (calls) [default: average]
    #[arg(long, value_enum)]
    pub channels: Option<ChannelUse>,
    /// Labels of the channels, in order, for --channels split [default: Speaker 1,Speaker 2]
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub speakers: Vec<String>,
}

/// Where the result goes; shared by `transcribe` and `text`.
#[derive(Debug, Args, Default)]
pub struct OutputArgs {
    /// Form of the result [default: view on a terminal, text otherwise]
    #[arg(short, long, value_enum)]
    pub format: Option<Format>,
    /// Write to this file, or into this folder under each input's name
    #[arg(short, long, value_name = "FILE|DIR")]
    pub output: Option<PathBuf>,
    /// Which text the formats hold
    #[arg(long, value_enum, default_value_t)]
    pub text: crate::output::TextChoice,
}

#[derive(Debug, Args)]
pub struct TranscribeArgs {
    /// Recordings, in any format; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub plan: PlanArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Speech model: catalogue name or path of a ggml file
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,
    /// English text whatever is spoken (Whisper's own translation)
    #[arg(long)]
    pub translate_to_english: bool,
    /// Text before the recording, for Whisper: names, spelling, style
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Times for every word
    #[arg(long)]
    pub words: bool,
    /// Use only this channel, counted from 1 (default: the average of all)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "channels")]
    pub channel: Option<u16>,
    #[command(flatten)]
    pub channels: ChannelArgs,
    /// Threads of a recogniser
    #[arg(short, long, value_name = "N")]
    pub threads: Option<u32>,
}

#[derive(Debug, Args)]
pub struct TextArgs {
    /// Text file; - is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub file: PathBuf,
    /// Every line is an utterance of its own; the result is JSON lines unless --format says otherwise
    #[arg(long)]
    pub lines: bool,
    #[command(flatten)]
    pub plan: PlanArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct AgentArgs {
    #[command(subcommand)]
    pub command: AgentCommand,
}

#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// List all tools with their state: allowed, asks before each call, or not allowed
    Tools {
        /// As JSON, with descriptions and schemas
        #[arg(long)]
        json: bool,
    },
    /// Start every server and check that the configuration fits what it offers
    Check,
}

#[derive(Debug, Args)]
pub struct BatchArgs {
    /// Folder with recordings (or one file); existing transcripts (txt, srt, vtt, json) are taken up too
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// Folder for transcripts, manifest and report [default: beside the recordings, in IN]
    #[arg(value_name = "OUT")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Files to write for each recording: any of txt, md, json, jsonl, srt, vtt, tsv, csv, lrc
    #[arg(long, value_delimiter = ',', default_value = "txt,srt,json", value_name = "A,B,C")]
    pub formats: Vec<Format>,
    /// Texts to write: any of raw, cleaned, translated [default: cleaned, and translated with --to]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "A,B,C")]
    pub texts: Vec<Text>,
    /// Decide each recording's route and write it down, without answering
    #[arg(long, conflicts_with = "route")]
    pub intent: bool,
    /// Speech model: catalogue name or path of a ggml file
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Text before each recording, for Whisper: names, spelling, style
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Times for every word
    #[arg(long)]
    pub words: bool,
    #[command(flatten)]
    pub channels: ChannelArgs,
    /// Recognisers working side by side
    #[arg(long, value_name = "N")]
    pub recognizers: Option<u32>,
    /// Threads of a recogniser
    #[arg(short, long, value_name = "N")]
    pub threads: Option<u32>,
    #[command(flatten)]
    pub select: SelectArgs,
    /// Do everything again, whatever is known
    #[arg(long)]
    pub force: bool,
    /// Try again what failed before, and what a missing model server left half done
    #[arg(long)]
    pub retry_failed: bool,
    /// Only say what would be done: files, hours, estimated time
    #[arg(long)]
    pub dry_run: bool,
    /// Replace files that bestbox did not write, or that were edited since
    #[arg(long)]
    pub overwrite: bool,
    /// Command for each finished file; {} is the recording, {txt}, {srt}, … what was written. Run without a shell
    #[arg(long, value_name = "CMD")]
    pub then: Option<String>,
    /// Seconds that the command of --then may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    pub then_timeout: f64,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t)]
    pub progress: ProgressMode,
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// Which files of a folder.
#[derive(Debug, Args, Default)]
pub struct SelectArgs {
    /// Only files that match (repeatable); a glob without / is about the name, one with / about the path below IN
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// No files or folders that match (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Not the folders below IN
    #[arg(long)]
    pub no_recursive: bool,
    /// Also files without a known extension that begin like a recording
    #[arg(long)]
    pub all: bool,
    /// What to take up
    #[arg(long, value_enum, default_value_t)]
    pub inputs: TakeUp,
}

/// What is taken up from a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TakeUp {
    /// Recordings, and transcripts that have no recording of the same name beside them
    #[default]
    Auto,
    /// Recordings
    Audio,
    /// Transcripts
    Transcripts,
    /// Both, whatever stands beside them
    Both,
}

/// Staying with a folder.
#[derive(Debug, Args, Default)]
pub struct WatchArgs {
    /// Go on for ever: take up new and changed files once they have stopped growing
    #[arg(long, conflicts_with = "dry_run")]
    pub watch: bool,
    /// Look at the folder every so many seconds: for network folders, which tell of no changes
    #[arg(long, value_name = "SECONDS", requires = "watch")]
    pub poll: Option<f64>,
    /// Seconds that a file must have stood still
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub settle: f64,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// Bars on a terminal, lines elsewhere
    #[default]
    Auto,
    /// Bars
    Bar,
    /// A line for each finished file
    Plain,
    /// JSON lines on standard output
    Json,
    /// Nothing; failures only
    None,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address to listen on; anything but this machine itself needs keys (see `bestbox keys new`) [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<String>,
    /// Port to listen on; 0 is any free one [default: 8000]
    #[arg(short, long)]
    pub port: Option<u16>,
    /// Let anybody who reaches the port use the service without a key
    #[arg(long)]
    pub insecure: bool,
    /// Speech model that requests use when they name none of ours
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,
}

/// Which servers `bestbox up` runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TierChoice {
    /// The one for cleanup, translation and intent
    Light,
    /// The one for answers
    Heavy,
    /// Both, the light one first
    #[default]
    Both,
}

impl TierChoice {
    /// Its tiers, in the order of their start.
    pub fn tiers(self) -> &'static [Tier] {
        match self {
            TierChoice::Light => &[Tier::Light],
            TierChoice::Heavy => &[Tier::Heavy],
            TierChoice::Both => &[Tier::Light, Tier::Heavy],
        }
    }
}

/// A launcher for one tier or for all.
#[derive(Clone, Copy, Debug)]
pub struct LauncherArg {
    /// None: all that are run.
    pub tier: Option<Tier>,
    /// What runs it.
    pub kind: LauncherKind,
}

impl std::str::FromStr for LauncherArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (tier, kind) = match text.split_once('=') {
            Some(("light", kind)) => (Some(Tier::Light), kind),
            Some(("heavy", kind)) => (Some(Tier::Heavy), kind),
            Some((other, _)) => return Err(format!("there is no tier '{other}'; write light=docker or heavy=docker")),
            None => (None, text),
        };
        let kind =
            LauncherKind::from_str(kind, false).map_err(|_| "write native, docker or light=docker".to_owned())?;
        Ok(LauncherArg { tier, kind })
    }
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Which servers to run
    #[arg(long, value_enum, default_value_t)]
    pub tiers: TierChoice,
    /// What runs them: native or docker; light=docker is for one of them (repeatable) [default: native]
    #[arg(long, value_name = "[TIER=]LAUNCHER")]
    pub launcher: Vec<LauncherArg>,
    /// Key that clients send: none (this machine only), or the file that holds it [default: run/up.key in the cache]
    #[arg(long, value_name = "none|FILE")]
    pub key: Option<String>,
    /// Give a server's memory back after so many minutes without a request; the next request starts it again
    #[arg(long, value_name = "MINUTES")]
    pub idle_minutes: Option<f64>,
    /// Only say what would be run and what memory it takes
    #[arg(long)]
    pub dry_run: bool,
    /// Start even what does not fit into memory
    #[arg(long)]
    pub force: bool,
    /// Ask a running `bestbox up` to read its configuration again; no request is lost
    #[arg(long, conflicts_with_all = ["dry_run", "force"])]
    pub reload: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Again every so many seconds, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2")]
    pub watch: Option<f64>,
}

#[derive(Debug, Args)]
pub struct DictateArgs {
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Where text goes: insert, clipboard, stdout, file:PATH or command:PROGRAM [default: insert]
    #[arg(short, long, value_name = "WHERE")]
    pub output: Option<String>,
    /// Microphone: its name or a part of it; pulse:NAME is a source of PulseAudio [default: the system's]
    #[arg(long, value_name = "NAME")]
    pub microphone: Option<String>,
    /// Keep the microphone open, so that nothing before the key is lost
    #[arg(long)]
    pub warm: bool,
    /// Keep nothing: no audio, no text
    #[arg(long)]
    pub private: bool,
    /// Hear a recording in real time instead of the microphone, from its beginning with every take: file:PATH
    #[arg(long, value_name = "file:PATH", value_parser = recording_source)]
    pub source: Option<PathBuf>,
    /// Take over from a dictation that is running
    #[arg(long)]
    pub replace: bool,
    /// Make text of what a crash has left, print it, and end
    #[arg(long)]
    pub recover: bool,
}

fn recording_source(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("file:").filter(|path| !path.is_empty());
    path.map(PathBuf::from).ok_or_else(|| "write it as file:PATH".to_owned())
}

#[derive(Debug, Args)]
pub struct CtlArgs {
    #[command(subcommand)]
    pub command: CtlCommand,
}

#[derive(Debug, Subcommand)]
pub enum CtlCommand {
    /// Begin to record
    Start {
        /// Whose plan is followed [default: the first]
        #[arg(long, value_name = "NAME")]
        binding: Option<String>,
    },
    /// Stop and make text of it
    Stop {
        /// Wait for the text and print it
        #[arg(long)]
        wait: bool,
    },
    /// Start or stop
    Toggle {
        /// Whose plan is followed [default: the first]
        #[arg(long, value_name = "NAME")]
        binding: Option<String>,
    },
    /// The key of a binding went down: hold, toggle or auto, as the binding says
    Press {
        /// Name of the binding [default: the first]
        #[arg(long, value_name = "NAME")]
        binding: Option<String>,
    },
    /// The key of a binding went up
    Release {
        /// Name of the binding [default: the first]
        #[arg(long, value_name = "NAME")]
        binding: Option<String>,
    },
    /// Give the recording up, or what is being made of it
    Cancel,
    /// Make text of what was cancelled last
    Recover,
    /// Deliver the last text once more
    Again,
    /// Allow the call of a tool that the last answer waits for
    Confirm,
    /// Refuse it
    Deny,
    /// Print the last text
    Last {
        /// The cleaned text, where it came too late for the delivery
        #[arg(long, conflicts_with = "raw")]
        cleaned: bool,
        /// As it was recognised
        #[arg(long)]
        raw: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what dictation is doing
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what happens, as it happens
    Follow {
        /// As JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Keep nothing from now on, or keep it again
    Private {
        /// on or off
        #[arg(value_parser = ["on", "off"])]
        switch: String,
    },
    /// End `bestbox dictate`
    Quit,
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    #[command(subcommand)]
    pub command: HistoryCommand,
}

#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// The newest takes first
    List {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: u32,
        /// As JSON lines
        #[arg(long)]
        json: bool,
    },
    /// Takes with all of these words
    Search {
        /// Words, in any case
        #[arg(required = true)]
        words: Vec<String>,
        /// As JSON lines
        #[arg(long)]
        json: bool,
    },
    /// All that is known of a take
    Show {
        /// Its number in the list (1 is the newest) or its id
        take: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy a take's text to the clipboard
    Copy {
        /// Its number in the list (1 is the newest) or its id
        #[arg(default_value = "1")]
        take: String,
    },
    /// Print where the audio of a take is
    Audio {
        /// Its number in the list (1 is the newest) or its id
        #[arg(default_value = "1")]
        take: String,
    },
    /// Make the text of a take anew with other settings, and print it
    Reprocess {
        /// Its number in the list (1 is the newest) or its id
        #[arg(default_value = "1")]
        take: String,
        #[command(flatten)]
        plan: PlanArgs,
        /// Speech model: catalogue name or path of a ggml file
        #[arg(short, long, value_name = "MODEL")]
        model: Option<String>,
        /// Keep the new text in the history instead of the old one
        #[arg(long)]
        save: bool,
    },
    /// Delete takes, text and audio
    Delete {
        /// Their numbers in the list (1 is the newest) or their ids
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        takes: Vec<String>,
        /// Everything
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    pub command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key: prints it once, and the lines of the configuration that let it in
    New {
        /// Whose key; stands in the log
        name: String,
        /// Requests a minute; 0 is no limit
        #[arg(long, value_name = "N", default_value_t = 0)]
        requests_per_minute: u32,
        /// Requests with audio at once; 0 is no limit of its own
        #[arg(long, value_name = "N", default_value_t = 0)]
        concurrent: u32,
    },
    /// Read a key from standard input and print what stands in the configuration for it
    Hash,
}

#[derive(Debug, Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    pub command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// The catalogue, and what is on this machine
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch models; without a name, those of the configuration
    Pull {
        /// Catalogue names
        names: Vec<String>,
    },
    /// Make a ggml model out of a faster-whisper (CTranslate2) folder
    Import {
        /// Folder with model.bin, config.json and a vocabulary
        dir: PathBuf,
        /// Name to give it [default: the folder's name]
        #[arg(long)]
        name: Option<String>,
        /// Number format of the weights
        #[arg(long = "type", value_name = "f16|q8_0", default_value_t = crate::models::Precision::Q8_0)]
        kind: crate::models::Precision,
    },
    /// Check models against their pinned SHA-256; without a name, all that are here
    Verify {
        /// Catalogue names
        names: Vec<String>,
    },
    /// Delete models
    Rm {
        /// Catalogue names
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Print where a model is; without a name, the model folder
    Path {
        /// Catalogue name
        name: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Also record two seconds, recognise them, and paste and type into a window of its own (Wayland: this terminal)
    #[arg(long)]
    pub self_test: bool,
}

#[derive(Debug, Args)]
pub struct InsertArgs {
    /// The text; - or nothing: from standard input
    #[arg(value_name = "TEXT", conflicts_with = "focus")]
    pub text: Option<String>,
    /// How to deliver it, whatever the rules say
    #[arg(long, value_enum)]
    pub method: Option<crate::output::insert::Method>,
    /// Press keys with this tool (repeatable, in the order to try)
    #[arg(long, value_enum)]
    pub tool: Vec<crate::output::insert::Tool>,
    /// Press Enter after the text
    #[arg(long)]
    pub submit: bool,
    /// A space after the text
    #[arg(long)]
    pub trailing_space: bool,
    /// Seconds to wait before, to get to the window
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub after: f64,
    /// Only into this window (a number that --focus shows); if another has the focus, into the clipboard
    #[arg(long, value_name = "NUMBER")]
    pub window: Option<u64>,
    /// Print how it was delivered, as JSON
    #[arg(long)]
    pub json: bool,
    /// Only show which window has the focus and what holds for it
    #[arg(long)]
    pub focus: bool,
}

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// The configuration in force and where each value comes from
    Show,
    /// Write a commented bestbox.toml here, or in the platform's config folder
    Init {
        /// In the platform's config folder instead of the current one
        #[arg(long)]
        user: bool,
    },
    /// The files that are read, in rising order of precedence
    Path,
}

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchPart {
    /// Recognition against whisper.cpp's defaults and faster-whisper
    Speech,
    /// Cleanup and intent latency, and the overhead of bestbox itself
    Text,
    /// Peak memory on a long file
    Memory,
    /// From the release of the key to the text, beside recognition alone by faster-whisper and whisper.cpp
    Dictate,
    /// One model for everything, as the original did and with our router, against two tiers
    Tiers,
}

#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Manifests (JSON lines with "audio", "language", "text", "route"; paths beside the manifest)
    #[arg(default_values = ["samples/manifest.jsonl", "samples/intent-heldout.jsonl"], value_name = "FILE")]
    pub manifests: Vec<PathBuf>,
    #[command(flatten)]
    pub plan: PlanArgs,
    /// A second configuration on the same lines: this one with KEY set to VALUE (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub against: Vec<String>,
    /// Fit the intent to the light model: on lines with "split": "fit", else on half of them; only the others are reported
    #[arg(long)]
    pub fit: bool,
    /// Where fitted routes go [default: the routes in use, else beside the user's configuration]
    #[arg(long, value_name = "FILE", requires = "fit")]
    pub fit_output: Option<PathBuf>,
    /// Also write a report with confusion matrix and reliability plot
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RouteArgs {
    /// Texts, each as somebody would say it; - reads one a line from standard input
    #[arg(value_name = "TEXT", required_unless_present = "shadow_report")]
    pub texts: Vec<String>,
    /// The texts are one conversation: each is seen with those before it
    #[arg(long)]
    pub conversation: bool,
    /// Take this route whatever is said, by its name or path
    #[arg(long, value_name = "NAME")]
    pub force: Option<String>,
    /// A route that is likely, by its name or path
    #[arg(long, value_name = "NAME")]
    pub hint: Option<String>,
    /// Which language model tiers to use
    #[arg(long, value_enum)]
    pub tiers: Option<Tiers>,
    /// As JSON lines
    #[arg(long)]
    pub json: bool,
    /// Decide nothing: sum up what the shadow in this log of decisions would have done (see intent.shadow)
    #[arg(long, value_name = "LOG", conflicts_with_all = ["texts", "conversation", "force", "hint", "tiers"])]
    pub shadow_report: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Parts to run [default: all but dictate and tiers, which take minutes]
    #[arg(value_enum)]
    pub parts: Vec<BenchPart>,
    /// Repetitions; medians are reported
    #[arg(long, default_value_t = 5)]
    pub repeat: usize,
    /// Manifest of recordings (JSON lines)
    #[arg(long, default_value = "samples/manifest.jsonl", value_name = "FILE")]
    pub manifest: PathBuf,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// tiers: labelled utterances that are in no prompt (JSON lines with "text" and "label")
    #[arg(long, default_value = "samples/intent-heldout.jsonl", value_name = "FILE")]
    pub held_out: PathBuf,
    /// tiers: utterances timed in each set-up and repetition
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub utterances: u32,
    /// tiers: held-out utterances that the JSON router decides too, spread evenly; it takes seconds for each
    #[arg(long, default_value_t = 24, value_name = "N")]
    pub json_sample: u32,
    /// tiers: limit on the tokens of an answer, the same in every set-up
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub answer_tokens: u32,
    /// tiers: also write a report with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Measure nothing: word errors of the texts in FILE, as JSON lines. Each of its lines is a JSON object with
    /// `reference`, `hypothesis` and `language` (a code)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["parts", "json"])]
    pub wer: Option<PathBuf>,
}
