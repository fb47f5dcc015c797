//! Memory that is free on this machine: of the system, and of its graphics cards.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// For llama-server to name its devices.
const LIMIT: Duration = Duration::from_secs(20);

/// Bytes of a memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    pub name: String,
    pub total: u64,
    pub free: u64,
}

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub system: Pool,
    /// As llama-server sees them, else as the kernel does.
    pub gpus: Vec<Pool>,
}

/// Looks at this machine; `program` is the llama-server that knows its own devices.
pub(super) async fn of_this_machine(program: Option<&Path>) -> Memory {
    let mut gpus = match program {
        Some(program) => devices(program).await,
        None => Vec::new(),
    };
    if gpus.is_empty() && program.is_none() {
        gpus = cards(Path::new("/sys/class/drm"));
    }
    Memory { system: system(Path::new("/")), gpus }
}

/// Resident bytes of a process (proc_pid_status(5)).
pub(in crate::app) fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// `MemAvailable`, and what a container or service may still take (cgroup v2), whichever is less.
fn system(root: &Path) -> Pool {
    let meminfo = std::fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    let mut pool = Pool {
        name: "system".to_owned(),
        total: kib("MemTotal").unwrap_or(u64::MAX),
        free: kib("MemAvailable").unwrap_or(u64::MAX),
    };
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let mut group = Some(Path::new(own));
    // Every group above has its say too.
    while let Some(path) = group {
        let folder = root.join("sys/fs/cgroup").join(path);
        let number = |file: &str| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
        if let (Some(limit), Some(used)) = (number("memory.max"), number("memory.current")) {
            // Pages of files in the cache can be given up.
            let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            let cached = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
            let left = limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0)));
            pool.total = pool.total.min(limit);
            pool.free = pool.free.min(left);
        }
        group = path.parent();
    }
    pool
}

/// `Vulkan0: AMD Radeon … (8192 MiB, 7000 MiB free)`, one line a device.
async fn devices(program: &Path) -> Vec<Pool> {
    let mut list = tokio::process::Command::new(program);
    list.arg("--list-devices").stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(LIMIT, list.output()).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).lines().filter_map(device).collect(),
        _ => Vec::new(),
    }
}

fn device(line: &str) -> Option<Pool> {
    let (name, rest) = line.trim().split_once(": ")?;
    let (_, sizes) = rest.strip_suffix(" free)")?.rsplit_once('(')?;
    let (total, free) = sizes.split_once(", ")?;
    let mib = |text: &str| text.strip_suffix(" MiB")?.trim().parse::<u64>().ok().map(|mib| mib << 20);
    Some(Pool { name: name.to_owned(), total: mib(total)?, free: mib(free)? })
}

/// AMD's driver says it in sysfs. Cards that share the system's memory count what the system lends them (GTT) as well.
fn cards(drm: &Path) -> Vec<Pool> {
    let mut found: Vec<Pool> = std::fs::read_dir(drm)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|card| {
            let name = card.file_name().to_string_lossy().into_owned();
            let digits = name.strip_prefix("card")?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
            let number = |file: &str| {
                let path = card.path().join("device").join(file);
                std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()
            };
            let (total, used) = (number("mem_info_vram_total")?, number("mem_info_vram_used")?);
            let lent = number("mem_info_gtt_total").zip(number("mem_info_gtt_used")).filter(|_| total < 4 << 30);
            let (more, taken) = lent.unwrap_or((0, 0));
            Some(Pool { name, total: total + more, free: (total + more).saturating_sub(used + taken) })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    #[test]
    fn a_group_of_processes_may_take_less_than_there_is() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), "proc/meminfo", "MemTotal:       1000 kB\nMemAvailable:    800 kB\n");
        assert_eq!(system(root.path()).free, 800 << 10);
        write(root.path(), "proc/self/cgroup", "0::/user/service\n");
        write(root.path(), "sys/fs/cgroup/user/memory.max", "512000\n");
        write(root.path(), "sys/fs/cgroup/user/memory.current", "300000\n");
        write(root.path(), "sys/fs/cgroup/user/memory.stat", "anon 1\ninactive_file 100000\n");
        write(root.path(), "sys/fs/cgroup/user/service/memory.max", "max\n");
        assert_eq!((system(root.path()).free, system(root.path()).total), (312_000, 512_000));
    }

    #[test]
    fn graphics_cards_are_read_where_the_kernel_or_llama_server_names_them() {
        let root = tempfile::tempdir().expect("a folder");
        for (file, text) in
            [("vram_total", "8589934592"), ("vram_used", "1073741824"), ("gtt_total", "99"), ("gtt_used", "9")]
        {
            write(root.path(), &format!("card1/device/mem_info_{file}"), text);
        }
        write(root.path(), "card1-HDMI-A-1/device/mem_info_vram_total", "1");
        let pools = cards(root.path());
        assert_eq!(pools, [Pool { name: "card1".into(), total: 8 << 30, free: 7 << 30 }]);
        let line = "  Vulkan0: AMD Radeon RX 7900 XTX (RADV NAVI31) (24560 MiB, 24001 MiB free)";
        assert_eq!(device(line), Some(Pool { name: "Vulkan0".into(), total: 24560 << 20, free: 24001 << 20 }));
        assert!(device("Available devices:").is_none() && device("  (none)").is_none());
    }
}
