//! What the servers will take in memory, against what is free, before anything is started.

use super::memory::{Memory, Pool};
use crate::config::{Config, LauncherKind, TierConfig};
use crate::models::gguf::{CacheType, Gguf};
use crate::outcome::Tier;
use comfy_table::Table;
use std::path::PathBuf;

/// A llama-server without a model: its program, libraries and buffers for requests. Measured: 60 to 100 MB.
const PROGRAM: u64 = 100 << 20;
/// What stays free for everything else.
const RESERVE: u64 = 256 << 20;
/// On a CPU most weights are packed anew for its kernels, beside the file, whose pages the system may drop. Measured with
/// llama.cpp's AMX kernels: 1.08 of the file.
const REPACKED: (u64, u64) = (11, 10);
/// Least context that is worth proposing.
const LEAST_CONTEXT: u32 = 1024;
/// Usual quantisations and their bits a weight (llama.cpp, tools/quantize/README.md).
const QUANTISATIONS: [(&str, f64); 6] =
    [("Q8_0", 8.5), ("Q6_K", 6.6), ("Q5_K_M", 5.7), ("Q4_K_M", 4.9), ("Q3_K_M", 4.0), ("Q2_K", 3.2)];

/// A tier that shall run.
#[derive(Clone)]
pub(super) struct Wanted {
    pub tier: Tier,
    pub path: PathBuf,
    pub model: Gguf,
    /// It runs already, so what it takes is not free any more.
    pub running: bool,
}

/// Bytes that a tier takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub weights: u64,
    /// Keys and values of all slots.
    pub cache: u64,
    pub compute: u64,
}

/// The plan for one tier.
pub(super) struct Row {
    pub wanted: Wanted,
    pub sizes: Sizes,
    /// Bytes of the graphics cards.
    pub gpu: u64,
    /// Bytes of the system.
    pub system: u64,
    /// Whether there is room for it beside all that runs, itself included.
    pub beside: bool,
    /// Why it does not fit, and which settings would.
    pub problem: Option<String>,
}

/// The plan.
pub(super) struct Plan {
    pub rows: Vec<Row>,
    memory: Memory,
}

/// Makes the plan: one tier after the other takes what is free, the first first.
pub(super) fn make(config: &Config, wanted: &[Wanted], memory: Memory) -> Plan {
    let mut left = Left::of(&memory);
    let mut rows: Vec<Row> = Vec::new();
    for one in wanted {
        let settings = config.tier(one.tier);
        let sizes = sizes(&one.model, settings);
        let (gpu, system) = share(&one.model, settings, sizes, &left);
        let beside = left.holds(gpu, system);
        let fits = one.running || beside;
        let problem = (!fits).then(|| {
            let first = rows.is_empty();
            advice(one, settings, &left, (gpu, system)) + alone(one.tier, first, wanted.len())
        });
        if !one.running && fits {
            left.take(gpu, system);
        }
        rows.push(Row { wanted: one.clone(), sizes, gpu, system, beside, problem });
    }
    Plan { rows, memory }
}

impl Plan {
    /// All problems as one text; none if everything fits.
    pub fn problems(&self) -> Option<String> {
        let all: Vec<&str> = self.rows.iter().filter_map(|row| row.problem.as_deref()).collect();
        (!all.is_empty()).then(|| all.join("\n"))
    }

    /// For people.
    pub fn table(&self, config: &Config) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["tier", "model", "launcher", "weights", "KV cache", "slots", "compute", "GPU", "system", ""]);
        for row in &self.rows {
            let tier = row.wanted.tier;
            let settings = config.tier(tier);
            let upper = if row.wanted.model.partial_memory { "at most " } else { "" };
            let verdict = match (&row.problem, row.wanted.running) {
                (_, true) => "runs already",
                (Some(_), _) => "DOES NOT FIT",
                (None, _) => "fits",
            };
            table.add_row([
                tier.name().to_owned(),
                row.wanted.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                launcher(config.up.tier(tier).launcher).to_owned(),
                size(row.sizes.weights),
                format!("{upper}{}", size(row.sizes.cache)),
                format!("{} x {}", settings.parallel, settings.context),
                size(row.sizes.compute),
                size(row.gpu),
                size(row.system),
                verdict.to_owned(),
            ]);
        }
        let pool = |pool: &Pool| format!("{}: {} free of {}", pool.name, size(pool.free), size(pool.total));
        let mut text = format!("{}\n\n{}", table.trim_fmt(), pool(&self.memory.system));
        match self.memory.gpus.as_slice() {
            [] => text.push_str("\nno GPU that says how much memory it has"),
            gpus => gpus.iter().for_each(|gpu| text.push_str(&format!("\n{}", pool(gpu)))),
        }
        text.push_str(
            "\nPrompts that leave their slots may take another 512 MiB of the system for each server (--cache-ram).",
        );
        for row in &self.rows {
            let trained = row.wanted.model.trained_context;
            let asked = config.tier(row.wanted.tier).context;
            if trained > 0 && asked > trained {
                let name = row.wanted.tier.name();
                text.push_str(&format!(
                    "\n{name}.context = {asked} is more than the {trained} that its model was trained on."
                ));
            }
        }
        text
    }
}

/// What is still free while the plan is made.
struct Left {
    system: u64,
    gpu: u64,
    has_gpu: bool,
}

impl Left {
    fn of(memory: &Memory) -> Self {
        Left {
            system: memory.system.free.saturating_sub(RESERVE),
            gpu: memory.gpus.iter().map(|gpu| gpu.free).sum(),
            has_gpu: !memory.gpus.is_empty(),
        }
    }

    fn holds(&self, gpu: u64, system: u64) -> bool {
        gpu <= self.gpu && system <= self.system
    }

    fn take(&mut self, gpu: u64, system: u64) {
        self.gpu = self.gpu.saturating_sub(gpu);
        self.system = self.system.saturating_sub(system);
    }
}

fn sizes(model: &Gguf, settings: &TierConfig) -> Sizes {
    let tokens = u64::from(settings.context) * u64::from(settings.parallel.max(1));
    // Each slot has cells of its own, rounded up.
    let slots = u64::from(settings.parallel.max(1));
    let (keys, values) = cache_types(&settings.extra_args);
    Sizes {
        weights: model.weights,
        cache: slots * model.cache_bytes(u64::from(settings.context), keys, values),
        compute: model.compute_bytes(tokens),
    }
}

/// Types of keys and values, as the further arguments set them.
fn cache_types(arguments: &[String]) -> (CacheType, CacheType) {
    let named = |short: &str, long: &str| {
        let at = arguments.iter().rposition(|word| word == short || word == long)?;
        CacheType::named(arguments.get(at + 1)?)
    };
    let of = |short, long| named(short, long).unwrap_or(CacheType::F16);
    (of("-ctk", "--cache-type-k"), of("-ctv", "--cache-type-v"))
}

/// Bytes of the graphics cards and of the system.
fn share(model: &Gguf, settings: &TierConfig, sizes: Sizes, left: &Left) -> (u64, u64) {
    let movable = sizes.weights + sizes.cache;
    // One more than the layers: the output counts as one.
    let (numerator, denominator) = match u64::try_from(settings.gpu_layers) {
        _ if !left.has_gpu => (0, 1),
        Ok(count) => (count.min(u64::from(model.layers) + 1), u64::from(model.layers) + 1),
        // Automatic: as much as fits.
        Err(_) => {
            let room = left.gpu.saturating_sub(sizes.compute);
            (room.min(movable), movable.max(1))
        }
    };
    let part = |bytes: u64| (u128::from(bytes) * u128::from(numerator) / u128::from(denominator)) as u64;
    let (weights, cache) = (part(sizes.weights), part(sizes.cache));
    let gpu = if numerator > 0 { weights + cache + sizes.compute } else { 0 };
    let rest = sizes.weights - weights;
    let compute = if numerator == denominator { 0 } else { sizes.compute };
    let system = rest / REPACKED.1 * REPACKED.0 + (sizes.cache - cache) + compute + PROGRAM;
    (gpu, system)
}

/// One sentence, and the settings that would make it fit, each tried.
fn advice(one: &Wanted, settings: &TierConfig, left: &Left, needs: (u64, u64)) -> String {
    let name = one.tier.name();
    let fits = |model: &Gguf, settings: &TierConfig| {
        let (gpu, system) = share(model, settings, sizes(model, settings), left);
        left.holds(gpu, system)
    };
    let mut ways = Vec::new();
    let trained = if one.model.trained_context > 0 { one.model.trained_context } else { u32::MAX };
    let most = settings.context.min(trained.saturating_add(1));
    let steps = (LEAST_CONTEXT / 256..most.div_ceil(256)).rev().map(|step| step * 256);
    let smaller = |context| TierConfig { context, ..settings.clone() };
    // Memory grows with the context: the first one from above that fits is the largest.
    if let Some(context) = steps.clone().find(|context| fits(&one.model, &smaller(*context))) {
        ways.push(format!("{name}.context={context}"));
    }
    let fewer = |parallel| TierConfig { parallel, ..settings.clone() };
    if let Some(slots) = (1..settings.parallel).rev().find(|slots| fits(&one.model, &fewer(*slots))) {
        ways.push(format!("{name}.parallel={slots}"));
    }
    let words = ["-ctk", "q8_0", "-ctv", "q8_0"].map(str::to_owned);
    let mut quantised = settings.clone();
    quantised.extra_args.extend(words.clone());
    if cache_types(&settings.extra_args) == (CacheType::F16, CacheType::F16) {
        if fits(&one.model, &quantised) {
            ways.push(format!("{name}.extra_args={}", words.join(",")));
        }
        let both = |context| TierConfig { context, parallel: 1, ..quantised.clone() };
        if ways.is_empty()
            && let Some(context) = steps.clone().find(|context| fits(&one.model, &both(*context)))
        {
            ways.push(format!(
                "{name}.context={context} {name}.parallel=1 {name}.extra_args={} together",
                words.join(",")
            ));
        }
    }
    let bits = one.model.weights as f64 * 8.0 / one.model.parameters.max(1) as f64;
    let at = |bits: f64| Gguf { weights: (one.model.parameters as f64 * bits / 8.0) as u64, ..one.model.clone() };
    let smaller = QUANTISATIONS.iter().find(|(_, of)| *of < bits * 0.95 && fits(&at(*of), settings));
    if let Some((quantisation, of)) = smaller {
        ways.push(format!("the same model as {quantisation} (about {})", size(at(*of).weights)));
    }
    let needs = match needs {
        (0, system) => format!("{} of memory and {} are left", size(system), size(left.system)),
        (gpu, system) => format!(
            "{} of the GPU's memory ({} are left) and {} of the system's ({} are left)",
            size(gpu),
            size(left.gpu),
            size(system),
            size(left.system)
        ),
    };
    let ways = if ways.is_empty() {
        let most = left.system.max(left.gpu) / REPACKED.0 * REPACKED.1;
        format!("no setting makes it fit; choose a model of less than {}", size(most))
    } else {
        format!("what would fit: {}", ways.join("; or "))
    };
    format!("the {name} server needs {needs}; {ways}")
}

/// The switch that goes without the other tier.
fn alone(tier: Tier, first: bool, tiers: usize) -> &'static str {
    match tier {
        Tier::Heavy if !first && tiers > 1 => "; or tiers=light-only",
        _ => "",
    }
}

fn launcher(kind: LauncherKind) -> &'static str {
    match kind {
        LauncherKind::Native => "native",
        LauncherKind::Docker => "docker",
    }
}

/// Bytes for people, in the units of llama.cpp's log.
pub(in crate::app) fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if bytes == 0 {
        "-".to_owned()
    } else if mib < 1000.0 {
        format!("{mib:.0} MiB")
    } else {
        format!("{:.1} GiB", mib / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Qwen2.5-14B as Q4_K_M.
    fn model() -> Gguf {
        Gguf {
            architecture: "qwen2".into(),
            weights: 8_980_000_000,
            parameters: 14_770_000_000,
            layers: 48,
            kv_heads: vec![8; 48],
            key_length: 128,
            value_length: 128,
            embedding: 5120,
            feed_forward: 13824,
            trained_context: 32768,
            vocabulary: 152_064,
            partial_memory: false,
        }
    }

    fn wanted(tier: Tier) -> Wanted {
        Wanted { tier, path: "/m/qwen2.5-14b.gguf".into(), model: model(), running: false }
    }

    fn memory(system: u64, gpu: Option<u64>) -> Memory {
        let pool = |name: &str, free| Pool { name: name.into(), total: free, free };
        Memory { system: pool("system", system), gpus: gpu.map(|free| pool("Vulkan0", free)).into_iter().collect() }
    }

    fn config() -> Config {
        let heavy = TierConfig { context: 8192, parallel: 2, ..TierConfig::default() };
        Config { heavy, ..Config::default() }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_settings_that_do() {
        let config = config();
        // 48 layers of 8 heads of 128 + 128 numbers of 2 bytes: 192 KiB a token.
        let plan = make(&config, &[wanted(Tier::Heavy)], memory(64 << 30, None));
        assert_eq!(plan.rows[0].sizes.cache, 2 * 8192 * (192 << 10));
        assert!(plan.problems().is_none());
        let need = plan.rows[0].system + RESERVE;
        assert!(make(&config, &[wanted(Tier::Heavy)], memory(need, None)).problems().is_none());
        let problem =
            make(&config, &[wanted(Tier::Heavy)], memory(need - (1 << 30), None)).problems().expect("too little");
        for way in ["heavy.context=", "heavy.parallel=1", "heavy.extra_args=-ctk,q8_0,-ctv,q8_0", "as Q3_K_M"] {
            assert!(problem.contains(way), "{way} in: {problem}");
        }
        // What it proposes does fit, and one step more does not.
        let at = problem.split("heavy.context=").nth(1).and_then(|rest| rest.split(';').next()).expect("a context");
        let mut smaller = config.clone();
        smaller.heavy.context = at.parse().expect("a number");
        assert!(make(&smaller, &[wanted(Tier::Heavy)], memory(need - (1 << 30), None)).problems().is_none());
        smaller.heavy.context += 256;
        assert!(make(&smaller, &[wanted(Tier::Heavy)], memory(need - (1 << 30), None)).problems().is_some());
        let hopeless = make(&config, &[wanted(Tier::Heavy)], memory(2 << 30, None)).problems().expect("too little");
        assert!(hopeless.contains("no setting makes it fit; choose a model of less than"), "{hopeless}");
    }

    #[test]
    fn tiers_take_one_after_the_other_and_gpus_first() {
        let mut config = config();
        config.light = TierConfig { context: 4096, parallel: 1, ..TierConfig::default() };
        let both = [wanted(Tier::Light), wanted(Tier::Heavy)];
        let problem = make(&config, &both, memory(16 << 30, None)).problems().expect("only one fits");
        assert!(problem.starts_with("the heavy server") && problem.ends_with("or tiers=light-only"), "{problem}");
        let plan = make(&config, &both[1..], memory(2 << 30, Some(24 << 30)));
        assert!(plan.problems().is_none());
        assert!(plan.rows[0].gpu > 11 << 30 && plan.rows[0].system == PROGRAM, "{}", plan.rows[0].system);
        // Automatic: what does not fit the card goes to the system.
        let plan = make(&config, &both[1..], memory(32 << 30, Some(6 << 30)));
        assert!(plan.problems().is_none() && plan.rows[0].gpu <= 6 << 30 && plan.rows[0].system > 5 << 30);
        // All layers asked for: refused.
        config.heavy.gpu_layers = 99;
        assert!(make(&config, &both[1..], memory(32 << 30, Some(6 << 30))).problems().expect("").contains("GPU"));
        // None: the card is left alone.
        config.heavy.gpu_layers = 0;
        let plan = make(&config, &both[1..], memory(32 << 30, Some(6 << 30)));
        assert!(plan.problems().is_none() && plan.rows[0].gpu == 0);
        let running = Wanted { running: true, ..wanted(Tier::Heavy) };
        assert!(make(&config, &[running], memory(1 << 20, None)).problems().is_none());
    }
}
