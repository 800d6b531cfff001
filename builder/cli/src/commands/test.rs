//! `casemate test`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use bundle::Manifest;
use clap::Args;
use pipeline::keys::KeyRing;
use pipeline::trees::ToolsKind;
use tools::{Failure, failure::HintExt as _};
use vm::Accelerator;
use vm::guest::accelerator_text;

use crate::acceptance::{self, Proof, Recorder, Row, Subject, prove};
use crate::context::Context;
use crate::guest::WorkDir;
use crate::output;

/// Proves an image in virtual machines and writes a report, signed by the release key, that `flash` asks for.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The image's output directory, e.g. out/webhost
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,
    /// The keys that the image was built with [default: the development keys]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Memory of the virtual machine in MiB
    #[arg(long, default_value_t = 2048, value_name = "MIB", value_parser = clap::value_parser!(u32).range(512..))]
    memory: u32,
}

impl TestArgs {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let output =
            fs_err::canonicalize(&self.output).or_refuse("name the output directory of a build, e.g. out/webhost")?;
        let keys = open_keys(self.keys.as_deref(), context.cache())?;
        let release = keys.release()?;
        let manifest = Manifest::parse_unverified(
            &fs_err::read(output.join(bundle::MANIFEST_FILE))
                .or_refuse("name the output directory of a build, e.g. out/webhost")?,
        )?;
        let digest = acceptance::manifest_digest(&output)?;
        let builder = context.builder();
        let tree = builder.tools_tree(ToolsKind::Run)?;
        let verdict = Accelerator::probe(tree.root(), &output.join("linux"));
        builder.progress().note(&format!("machines run by {}", accelerator_text(verdict)));
        let work = WorkDir::scratch(&context.cache().join("guests"))?;
        acceptance::remove(&output)?;

        let mut recorder = Recorder::new(builder.progress());
        let subject =
            Subject { builder, output: &output, keys: &keys, tree: &tree, dir: work.path(), memory: self.memory };
        prove(&subject, &mut recorder)?;
        let rows = recorder.into_rows();
        let proof = Proof { manifest: &manifest, digest, accelerator: verdict.accelerator.to_string() };
        let report = acceptance::write(&output, proof, &rows, &release)?;
        let passed = report.check_passed(acceptance::manifest_digest(&output)?);
        let logs = if passed.is_err() {
            Some(keep_logs(work.path(), &context.cache().join("test-logs").join(report.image.as_str()))?)
        } else {
            None
        };
        show(context, &output, &report, &rows, passed.is_ok())?;
        passed.map_err(|error| refused(&error.to_string(), logs.as_deref()))
    }
}

/// The keys that were named, or those of the cache; before anything is tried, for the test signs with two of them.
fn open_keys(given: Option<&Path>, cache: &Path) -> Result<KeyRing> {
    let keys = match given {
        Some(dir) => KeyRing::open(dir)?,
        None => KeyRing::open(&cache.join("development-keys")).or_refuse(
            "name the keys that the image was built with: `--keys DIR`; a build without keys makes development keys",
        )?,
    };
    keys.operator().or_refuse(format!(
        "the test signs a document of its own: have `operator.key` in `{}` while it runs",
        keys.dir().display()
    ))?;
    Ok(keys)
}

fn show(context: &Context, output: &Path, report: &bundle::TestReport, rows: &[Row], passed: bool) -> Result<()> {
    let path = output.join("test-report.json");
    let scenarios: Vec<serde_json::Value> = rows.iter().map(as_json).collect();
    let value = serde_json::json!({
        "image": report.image, "version": report.version, "passed": passed, "accelerator": report.accelerator, "report": path, "scenarios": scenarios,
    });
    let lines: String = rows.iter().map(as_line).collect();
    let text = format!(
        "{} {} ({})\n{lines}signed report: {}",
        report.image,
        report.version,
        report.accelerator,
        path.display()
    );
    output::print(context.json(), &value, &text)
}

fn as_json(row: &Row) -> serde_json::Value {
    serde_json::json!({ "name": row.result.name, "passed": row.result.passed, "seconds": seconds(row), "detail": row.detail.trim_end() })
}

fn as_line(row: &Row) -> String {
    let outcome = if row.result.passed { "passed" } else { "FAILED" };
    // The causes of a failure were shown when it happened.
    let detail = row.detail.lines().next().unwrap_or_default();
    format!("  {outcome} {:6.1} s  {}: {detail}\n", seconds(row), row.result.name)
}

fn seconds(row: &Row) -> f64 {
    std::time::Duration::from_millis(row.result.milliseconds).as_secs_f64()
}

/// Copies the logs of all machines to a place that stays, replacing those of the last failure.
fn keep_logs(work: &Path, target: &Path) -> Result<PathBuf> {
    if target.exists() {
        fs_err::remove_dir_all(target)?;
    }
    fs_err::create_dir_all(target)?;
    for entry in fs_err::read_dir(work)? {
        let dir = entry?.path();
        for name in ["serial.log", "qemu.log"] {
            let (from, start) = (dir.join(name), dir.file_name().unwrap_or_default().to_string_lossy());
            if from.is_file() {
                fs_err::copy(from, target.join(format!("{start}-{name}")))?;
            }
        }
    }
    Ok(target.to_owned())
}

fn refused(message: &str, logs: Option<&Path>) -> anyhow::Error {
    let hint = logs
        .map_or_else(|| "see above".to_owned(), |logs| format!("the logs of the machines are in {}", logs.display()));
    Failure::refused(message).hint(hint).into()
}

#[cfg(test)]
mod tests {
    use bundle::ScenarioResult;

    use super::*;

    fn row(passed: bool, detail: &str) -> Row {
        Row {
            result: ScenarioResult { name: "second_boot".to_owned(), passed, milliseconds: 61_500 },
            detail: detail.to_owned(),
        }
    }

    #[test]
    fn a_row_shows_outcome_seconds_and_the_first_line_of_its_detail() {
        assert_eq!(as_line(&row(true, "healthy")), "  passed   61.5 s  second_boot: healthy\n");
        assert_eq!(
            as_line(&row(false, "error: lost\n  caused by: x\n")),
            "  FAILED   61.5 s  second_boot: error: lost\n"
        );
        let value = as_json(&row(false, "error: lost\n  caused by: x\n"));
        assert_eq!(
            (value["seconds"].as_f64(), value["detail"].as_str()),
            (Some(61.5), Some("error: lost\n  caused by: x"))
        );
    }

    #[test]
    fn missing_keys_are_refused_with_what_to_name_before_anything_is_tried() {
        let dir = tempfile::tempdir().unwrap();
        let text = tools::failure::render(&open_keys(None, dir.path()).unwrap_err());
        assert!(text.contains("--keys DIR"), "{text}");
        fs_err::create_dir(dir.path().join("secureboot")).unwrap();
        for name in ["release.key", "release.pub", "operator.pub", "secureboot/db.key", "secureboot/db.crt"] {
            fs_err::write(dir.path().join(name), "").unwrap();
        }
        let text = tools::failure::render(&open_keys(Some(dir.path()), dir.path()).unwrap_err());
        assert!(text.contains("hint: the test signs a document of its own"), "{text}");
    }

    #[test]
    fn logs_of_every_machine_are_kept_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let (work, target) = (dir.path().join("work"), dir.path().join("logs"));
        for boot in ["first-boot", "second-boot"] {
            fs_err::create_dir_all(work.join(boot)).unwrap();
            fs_err::write(work.join(boot).join("serial.log"), boot).unwrap();
        }
        fs_err::write(work.join("disk.raw"), "large").unwrap();
        fs_err::create_dir(&target).unwrap();
        fs_err::write(target.join("old"), "").unwrap();
        keep_logs(&work, &target).unwrap();
        let mut names: Vec<_> = fs_err::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["first-boot-serial.log", "second-boot-serial.log"]);
    }
}
