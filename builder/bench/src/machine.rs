//! The machine that was measured on, without its name.

use anyhow::{Context as _, Result};

/// One line: processors, memory, kernel.
pub fn describe() -> Result<String> {
    let read = |path: &str| fs_err::read_to_string(path);
    let info = read("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let memory = read("/proc/meminfo")?;
    let kib: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .context("the machine does not tell its memory")?;
    let cores = std::thread::available_parallelism()?;
    let kernel = read("/proc/sys/kernel/osrelease")?;
    // What a distribution appends may name a place.
    let kernel = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    Ok(format!(
        "{cores} × {}, {} GiB memory, Linux {kernel}",
        model.unwrap_or("unknown processor"),
        kib.div_ceil(1 << 20)
    ))
}

/// Today, as year-month-day.
pub fn today() -> Result<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?.as_secs();
    let text = debian::date::UnixTime(now).to_string();
    Ok(text.get(..10).unwrap_or(&text).to_owned())
}
