//! What a site may use of the host: the `limits` of a site in `host.toml`.
//!
//! The kernel keeps them for all processes of the site together; those on mail are kept by the mail server.

use serde::Serialize;

use crate::document::Section;
use crate::size::ByteSize;

/// Processes and threads of a site, where the document does not say.
const TASKS: u32 = 64;
/// Percent of one core, where the document does not say.
const CPU_PERCENT: u32 = 200;
/// Messages in an hour, where the document does not say: what a site tells its people, and too little for whoever sends advertisements.
const MAIL_PER_HOUR: u32 = 60;
/// Memory where the document does not say: eight PHP processes at work.
const MEMORY: &str = "512M";
/// Less and PHP does not start.
const SMALLEST_MEMORY: &str = "64M";

/// Limits of one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Memory of all processes; the one that asks for more is killed.
    pub memory: ByteSize,
    /// Processes and threads.
    pub tasks: u32,
    /// Processor time, in percent of one core.
    pub cpu_percent: u32,
    /// Room on the disk for the site's files; absent: as much as there is.
    pub disk: Option<ByteSize>,
    /// Messages that it may send in an hour.
    pub mail_per_hour: u32,
}

/// Reads `limits`; what is not said is as usual.
pub(crate) fn read_limits(section: Option<&Section<'_, '_>>) -> Option<Limits> {
    let usual = MEMORY.parse().ok()?;
    let Some(section) = section else {
        return Some(Limits {
            memory: usual,
            tasks: TASKS,
            cpu_percent: CPU_PERCENT,
            disk: None,
            mail_per_hour: MAIL_PER_HOUR,
        });
    };
    section.allow(&["memory", "tasks", "cpu_percent", "disk", "mail_per_hour"]);
    let memory = if section.has("memory") { section.text("memory") } else { Some(usual) };
    if let (Some(memory), Ok(smallest)) = (memory, SMALLEST_MEMORY.parse::<ByteSize>())
        && memory < smallest
    {
        section
            .note(section.spot_of("memory"), format!("`memory` is `{memory}`: PHP needs at least `{SMALLEST_MEMORY}`"));
    }
    let number = |key: &str, range, usual| match section.optional_integer(key, range) {
        Some(number) => u32::try_from(number).ok(),
        None => Some(usual),
    };
    let tasks = number("tasks", 10..=4096, TASKS);
    let cpu_percent = number("cpu_percent", 5..=6400, CPU_PERCENT);
    let mail_per_hour = number("mail_per_hour", 1..=10_000, MAIL_PER_HOUR);
    let disk = section.optional_text("disk");
    Some(Limits { memory: memory?, tasks: tasks?, cpu_percent: cpu_percent?, disk, mail_per_hour: mail_per_hour? })
}
