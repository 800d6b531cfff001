//! `casemate run`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use bundle::Manifest;
use clap::Args;
use pipeline::host_document::SignedHost;
use pipeline::programs::ToolsTree;
use pipeline::trees::ToolsKind;
use tools::{Failure, Progress, ResultExt as _, failure::HintExt as _};
use vm::guest::{
    Console, Event, Guest, Ports, Seen, SshKey, Start, accelerator_text, ended, make_disk, tail, until_settled,
};
use vm::{Accelerator, Machine, Outbound};

use crate::context::Context;
use crate::guest::{WorkDir, check_ports, for_trying};
use crate::output;

mod welcome;

use welcome::Welcome;

/// Longest time to health; emulation on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(1800);
/// A usual disk; it takes no more room than what is written.
const DISK_BYTES: u64 = 16 << 30;
/// How long a host may take to power off in good order.
const POWER_OFF: Duration = Duration::from_secs(120);
const HINT_OUTPUT: &str = "name the output directory of a build, e.g. out/webhost";

/// Starts an image in a virtual machine, personalised, and says what to open when it is healthy. Ctrl-C ends it.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The image's output directory, e.g. out/webhost
    #[arg(value_name = "OUTPUT")]
    output: PathBuf,
    /// The host's document [default: the image's example, with an ssh key made for this host]
    #[arg(long, value_name = "HOST_TOML")]
    host: Option<PathBuf>,
    /// The operator's private key [default: an existing signature beside the document; else the development key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Port of 127.0.0.1 that leads to the host's HTTPS
    #[arg(long, default_value_t = 8443, value_name = "PORT")]
    https_port: u16,
    /// Port of 127.0.0.1 that leads to the host's HTTP
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    http_port: u16,
    /// Port of 127.0.0.1 that leads to the host's ssh
    #[arg(long, default_value_t = 8022, value_name = "PORT")]
    ssh_port: u16,
    /// Memory of the virtual machine in MiB
    #[arg(long, default_value_t = 2048, value_name = "MIB", value_parser = clap::value_parser!(u32).range(512..))]
    memory: u32,
    /// Keep disk and keys in this directory and go on with them the next time
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// End as soon as the host is healthy
    #[arg(long)]
    until_healthy: bool,
}

impl RunArgs {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let output = fs_err::canonicalize(&self.output).or_refuse(HINT_OUTPUT)?;
        let ports = Ports { https: self.https_port, http: self.http_port, ssh: self.ssh_port };
        check_ports(ports)?;
        let manifest = fs_err::read(output.join(bundle::MANIFEST_FILE)).or_refuse(HINT_OUTPUT)?;
        self.check_signer(&Manifest::parse_unverified(&manifest)?)?;
        let builder = context.builder();
        let tree = builder.tools_tree(ToolsKind::Run)?;
        let work = match &self.keep {
            Some(dir) => WorkDir::kept(dir)?,
            None => WorkDir::scratch(&context.cache().join("guests"))?,
        };
        let (signed, key) = self.document(context, &tree, &output, work.path())?;
        let disk = disk(builder.progress(), &output, &manifest, work.path())?;
        builder.personalise(&disk, &signed, None)?;
        let guest = Guest {
            output,
            tree: tree.root().to_owned(),
            dir: work.path().to_owned(),
            disk,
            ports,
            memory: self.memory,
            outbound: Outbound::Allowed,
        };
        self.live(context, &guest, &signed, key.as_ref(), &work)
    }

    /// A host that knows no key of ours would wait for ever.
    fn check_signer(&self, manifest: &Manifest) -> Result<()> {
        let signed = self.host.as_ref().is_some_and(|host| pipeline::host_document::signature_path(host).exists());
        if manifest.development || self.key.is_some() || signed {
            return Ok(());
        }
        Err(Failure::refused(
            "the image was not built with development keys, so its host needs a document that its operator has signed",
        )
        .hint("give the operator's private key with `--key FILE`")
        .into())
    }

    /// The document that was named, or the image's example with a key of its own.
    fn document(
        &self,
        context: &Context,
        tree: &ToolsTree,
        output: &Path,
        dir: &Path,
    ) -> Result<(SignedHost, Option<SshKey>)> {
        let builder = context.builder();
        if let Some(host) = &self.host {
            return Ok((builder.sign_host(host, self.key.as_deref())?, None));
        }
        let key = SshKey::in_dir(tree.root(), &dir.join("client"), "id_ed25519")?;
        let document = dir.join("host.toml");
        if !document.exists() {
            let example = output.join("host.example.toml");
            let example = example.exists().then(|| fs_err::read_to_string(example)).transpose()?;
            tools::write_atomic(&document, for_trying(example.as_deref(), &key.public)?.as_bytes(), 0o644)
                .remedied()?;
        }
        Ok((builder.sign_host(&document, self.key.as_deref())?, Some(key)))
    }

    /// From power-on to the end.
    fn live(
        &self,
        context: &Context,
        guest: &Guest,
        signed: &SignedHost,
        key: Option<&SshKey>,
        work: &WorkDir,
    ) -> Result<()> {
        let progress = context.builder().progress();
        let verdict = Accelerator::probe(&guest.tree, &guest.output.join("linux"));
        progress.note(&format!("the machine runs by {}", accelerator_text(verdict)));
        let stage = progress.stage("boot");
        let mut machine = guest.start(Start::Firmware, "boot")?;
        let mut console = Console::default();
        let seen = until_settled(&mut machine, &mut console, PATIENCE, &|event| {
            progress.note(&event.text());
        })?;
        stage.done();
        let log = guest.log_dir("boot").join("serial.log");
        if self.until_healthy {
            must_be_healthy(&seen, &machine)?;
        }
        let welcome = Welcome {
            config: &signed.config,
            seen: &seen,
            ports: guest.ports,
            key,
            log: &log,
            kept: (!work.is_scratch()).then_some(work.path()),
        };
        output::print(
            context.json(),
            &welcome.as_json(&verdict.accelerator.to_string()),
            &welcome.text(self.until_healthy),
        )?;
        if !self.until_healthy {
            return stay(&mut machine, &mut console, progress);
        }
        if !work.is_scratch() && machine.power_off(POWER_OFF).is_err() {
            progress.note("the host did not power off in time and was cut off, which it survives");
        }
        Ok(())
    }
}

/// The disk of the last time, or a new copy of the image.
fn disk(progress: &Progress, output: &Path, manifest: &[u8], dir: &Path) -> Result<PathBuf> {
    let (disk, origin) = (dir.join("disk.raw"), dir.join(bundle::MANIFEST_FILE));
    if disk.exists() {
        if fs_err::read(&origin).ok().as_deref() != Some(manifest) {
            progress.note(&format!(
                "the disk in {} was made from another build and is used as it is; remove it to begin afresh",
                dir.display()
            ));
        }
        return Ok(disk);
    }
    let stage = progress.stage("disk");
    tools::write_atomic(&origin, manifest, 0o644).remedied()?;
    make_disk(&output.join("disk.raw"), &disk, DISK_BYTES)?;
    stage.done();
    Ok(disk)
}

fn must_be_healthy(seen: &Seen, machine: &Machine) -> Result<()> {
    if seen.is_healthy() {
        return Ok(());
    }
    let text = machine.serial().text().remedied()?;
    Err(Failure::refused(format!(
        "the host is not healthy: {}; the console ends with{}",
        seen.unhealthy.join("; "),
        tail(&text)
    ))
    .hint("start it again without `--until-healthy` and look at its journal over ssh")
    .into())
}

/// Shows what the agent says until the machine ends; a panic is a failure, a power-off is not.
fn stay(machine: &mut Machine, console: &mut Console, progress: &Progress) -> Result<()> {
    loop {
        let ended = ended(machine, Duration::from_secs(1))?;
        let text = machine.serial().text().remedied()?;
        for event in console.read(&text) {
            progress.note(&event.text());
            if let Event::Panic(line) = event {
                return Err(Failure::refused(format!(
                    "the kernel of the guest gave up: {line}; the console ends with{}",
                    tail(&text)
                ))
                .into());
            }
        }
        match ended {
            None => {}
            Some(0) => {
                progress.note("the host has powered off");
                return Ok(());
            }
            Some(status) => {
                return Err(Failure::environment(format!(
                    "the machine ended with status {status}; the console ends with{}",
                    tail(&text)
                ))
                .into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn parse(words: &[&str]) -> Result<RunArgs, clap::Error> {
        Line::try_parse_from(["run", "out/webhost"].iter().chain(words)).map(|line| line.run)
    }

    #[test]
    fn ports_and_memory_have_usable_defaults_and_senseless_ones_are_refused() {
        let args = parse(&[]).unwrap();
        assert_eq!((args.https_port, args.http_port, args.ssh_port, args.memory), (8443, 8080, 8022, 2048));
        for bad in [["--https-port", "70000"], ["--memory", "64"], ["--memory", "much"]] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_image_for_real_hosts_needs_the_operators_key() {
        let manifest = |development: bool| {
            let text = serde_json::json!({
                "schema": 1, "image": "minimal", "version": "0.1.0", "architecture": "x86-64", "development": development, "source_date_epoch": 1,
                "root_hash": "1".repeat(64), "kernel": "6.12.0-amd64", "disk": null, "parts": {},
            });
            serde_json::from_value::<Manifest>(text).unwrap()
        };
        parse(&[]).unwrap().check_signer(&manifest(true)).unwrap();
        parse(&["--key", "operator.key"]).unwrap().check_signer(&manifest(false)).unwrap();
        let text = tools::failure::render(
            &parse(&["--host", "/no/such"]).unwrap().check_signer(&manifest(false)).unwrap_err(),
        );
        assert!(text.contains("--key FILE"), "{text}");
    }

    #[test]
    fn a_kept_disk_is_used_again_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (output, kept) = (dir.path().join("out"), dir.path().join("kept"));
        fs_err::create_dir_all(&output).unwrap();
        fs_err::create_dir_all(&kept).unwrap();
        fs_err::write(output.join("disk.raw"), "image").unwrap();
        let progress = Progress::new(tools::ProgressMode::Quiet);
        let path = disk(&progress, &output, b"one", &kept).unwrap();
        fs_err::write(&path, "state").unwrap();
        assert_eq!(disk(&progress, &output, b"two", &kept).unwrap(), path);
        assert_eq!(fs_err::read_to_string(path).unwrap(), "state");
    }
}
