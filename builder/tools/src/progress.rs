//! Progress of long work: one line per stage with its seconds, bars where a person watches.
//!
//! Everything goes to standard error; standard output belongs to data. The clock is read here for display
//! only and never reaches a stage.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

/// Version of the JSON lines; raised when a field changes its meaning.
const JSON_VERSION: u32 = 1;
/// Shortest time between two JSON lines about the bytes of one stage.
const JSON_INTERVAL: Duration = Duration::from_millis(250);

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProgressMode {
    /// Bars on a terminal, plain lines otherwise.
    #[default]
    Auto,
    /// One line when a stage is done.
    Plain,
    /// One JSON object per line, with a version.
    Json,
    /// Nothing.
    Quiet,
}

impl std::str::FromStr for ProgressMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "plain" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            "quiet" => Ok(Self::Quiet),
            other => Err(format!("unknown progress mode `{other}`, use `auto`, `plain`, `json` or `quiet`")),
        }
    }
}

/// The place where stages report; clones report to the same place.
#[derive(Clone)]
pub struct Progress(Arc<Shape>);

enum Shape {
    Bars(MultiProgress),
    Plain(Mutex<Box<dyn Write + Send>>),
    Json(Mutex<Box<dyn Write + Send>>),
    Quiet,
}

impl Progress {
    /// Reports to standard error.
    pub fn new(mode: ProgressMode) -> Self {
        match mode {
            ProgressMode::Auto if io::stderr().is_terminal() => Self(Arc::new(Shape::Bars(MultiProgress::new()))),
            ProgressMode::Auto | ProgressMode::Plain => Self::plain_to(io::stderr()),
            ProgressMode::Json => Self::json_to(io::stderr()),
            ProgressMode::Quiet => Self(Arc::new(Shape::Quiet)),
        }
    }

    /// Plain lines to any writer.
    pub fn plain_to(writer: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Shape::Plain(Mutex::new(Box::new(writer)))))
    }

    /// JSON lines to any writer.
    pub fn json_to(writer: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Shape::Json(Mutex::new(Box::new(writer)))))
    }

    /// Begins a stage.
    pub fn stage(&self, name: impl Into<String>) -> Stage {
        let name = name.into();
        let bar = if let Shape::Bars(bars) = &*self.0 { Some(new_bar(bars, &name)) } else { None };
        self.json(&Event::of("start", &name));
        let now = Instant::now();
        let state = Mutex::new(Count { done: 0, total: None, shown: now });
        Stage { progress: self.clone(), name, bar, started: now, state, ended: false }
    }

    /// Says something that is no stage, such as a loud warning.
    pub fn note(&self, text: &str) {
        self.line(text);
        self.json(&Event { message: Some(text), ..Event::of("note", "") });
    }

    fn line(&self, text: &str) {
        match &*self.0 {
            Shape::Bars(bars) => drop(bars.println(text)),
            Shape::Plain(writer) => write_line(writer, text),
            Shape::Json(_) | Shape::Quiet => {}
        }
    }

    fn json(&self, event: &Event<'_>) {
        if let (Shape::Json(writer), Ok(line)) = (&*self.0, serde_json::to_string(event)) {
            write_line(writer, &line);
        }
    }
}

/// One piece of work; says "failed" when it is dropped before [`Stage::done`].
pub struct Stage {
    progress: Progress,
    name: String,
    bar: Option<ProgressBar>,
    started: Instant,
    state: Mutex<Count>,
    ended: bool,
}

struct Count {
    done: u64,
    total: Option<u64>,
    shown: Instant,
}

impl Stage {
    /// Sets how many bytes the whole stage has.
    pub fn total_bytes(&self, total: u64) {
        self.count().total = Some(total);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_style(bar_style());
        }
    }

    /// Counts bytes that are done; may be called from several threads.
    pub fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
        let mut count = self.count();
        count.done += bytes;
        if count.shown.elapsed() >= JSON_INTERVAL {
            count.shown = Instant::now();
            let (done, total) = (Some(count.done), count.total);
            self.progress.json(&Event { done, total, ..Event::of("bytes", &self.name) });
        }
    }

    /// Shows what the stage is busy with; terminals only.
    pub fn message(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// Ends the stage as done.
    pub fn done(self) {
        self.end("done", "");
    }

    /// Ends the stage as done, with a short result such as a size.
    pub fn done_with(self, result: &str) {
        self.end("done", result);
    }

    /// Ends the stage as not needed: its result was there already.
    pub fn cached(self) {
        self.end("cached", "");
    }

    fn end(mut self, outcome: &'static str, result: &str) {
        self.ended = true;
        self.conclude(outcome, result);
    }

    fn conclude(&self, outcome: &'static str, result: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let elapsed = self.started.elapsed();
        let detail = if result.is_empty() { String::new() } else { format!(": {result}") };
        let text = match outcome {
            "done" => format!("{} done in {:.1} s{detail}", self.name, elapsed.as_secs_f64()),
            "failed" => format!("{} failed after {:.1} s", self.name, elapsed.as_secs_f64()),
            other => format!("{} {other}", self.name),
        };
        self.progress.line(&text);
        let milliseconds = u64::try_from(elapsed.as_millis()).ok();
        let message = Some(result).filter(|text| !text.is_empty());
        self.progress.json(&Event { milliseconds, message, ..Event::of(outcome, &self.name) });
    }

    fn count(&self) -> std::sync::MutexGuard<'_, Count> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.ended {
            self.conclude("failed", "");
        }
    }
}

/// One JSON line.
#[derive(Default, Serialize)]
struct Event<'a> {
    version: u32,
    #[serde(rename = "event")]
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    stage: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl<'a> Event<'a> {
    fn of(kind: &'a str, stage: &'a str) -> Self {
        Self { version: JSON_VERSION, kind, stage, ..Self::default() }
    }
}

fn write_line(writer: &Mutex<Box<dyn Write + Send>>, line: &str) {
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    // Progress nobody can read is no reason to stop the work.
    let _ = writeln!(writer, "{line}");
}

fn new_bar(bars: &MultiProgress, name: &str) -> ProgressBar {
    let bar = bars.add(ProgressBar::new_spinner());
    bar.set_prefix(name.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

fn bar_style() -> ProgressStyle {
    let template = "{spinner} {prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {wide_msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn plain_says_one_line_per_finished_stage() {
        let out = Shared::default();
        let progress = Progress::plain_to(out.clone());
        progress.stage("fetch").done();
        progress.stage("seal").done_with("3 MiB");
        progress.stage("uki").cached();
        drop(progress.stage("disk"));
        let expected = "fetch done in 0.0 s\nseal done in 0.0 s: 3 MiB\nuki cached\ndisk failed after 0.0 s\n";
        assert_eq!(out.text(), expected);
    }

    #[test]
    fn json_lines_carry_version_event_and_stage() {
        let out = Shared::default();
        let progress = Progress::json_to(out.clone());
        let stage = progress.stage("fetch");
        stage.total_bytes(10);
        std::thread::sleep(JSON_INTERVAL);
        stage.advance(4);
        stage.done();
        let events: Vec<serde_json::Value> =
            out.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(names, ["start", "bytes", "done"]);
        assert!(events.iter().all(|event| event["version"] == 1 && event["stage"] == "fetch"));
        assert_eq!((&events[1]["done"], &events[1]["total"]), (&4.into(), &10.into()));
    }

    #[test]
    fn refuses_an_unknown_mode_and_names_the_known() {
        assert!("jsn".parse::<ProgressMode>().unwrap_err().contains("`json`"));
    }
}
