//! `casemate test` and `casemate flash` with keys of one's own: the report that `flash` asks for, made by three boots, the last one with
//! a changed bit in sshd's first block; then a real block device, and devices that must not be written.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use fs_err as fs;
use tools::ResultExt as _;
use vm::RootImage;

use crate::artifacts::{Artifacts, Image};
use crate::flash;
use crate::operator::{Facts, Operator};
use crate::seed;

/// Larger than the image and than the smallest disk.
const DISK_BYTES: u64 = 9 << 30;
const SMALL_BYTES: u64 = 64 << 20;
const HOSTNAME: &str = "flashed.example.org";
/// Not a disk, so the only reason against it must be that, once the image is proven.
const NO_DISK: &str = "/dev/null";

pub(crate) fn only_a_proven_image_gets_a_report_and_onto_a_disk(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let subject = Subject::build(artifacts, dir)?;
    subject.has_no_report_at_first()?;
    subject.is_not_proven_by_other_keys()?;
    subject.is_proven()?;
    subject.needs_its_own_report()?;
    subject.goes_onto_a_disk()
}

/// An image that was built with keys of `casemate keys init`.
struct Subject<'a> {
    artifacts: &'a Artifacts,
    dir: PathBuf,
    keys: PathBuf,
    output: PathBuf,
}

impl<'a> Subject<'a> {
    fn build(artifacts: &'a Artifacts, dir: &Path) -> Result<Self> {
        let dir = dir.to_owned();
        let (keys, output) = (dir.join("keys"), dir.join("minimal"));
        artifacts.casemate(&["keys", "init", &keys.to_string_lossy()], 0)?;
        let subject = Self { artifacts, dir, keys, output };
        let definition = artifacts.definition(Image::Minimal);
        let told = subject.run("build", &[&definition.to_string_lossy()], &["--output", &subject.shown(), "--keys"])?;
        ensure!(
            !told.contains("DEVELOPMENT"),
            "an image with keys of its own calls itself a development image:\n{told}"
        );
        Ok(subject)
    }

    fn shown(&self) -> String {
        self.output.to_string_lossy().into_owned()
    }

    fn key(&self, name: &str) -> String {
        self.keys.join(name).to_string_lossy().into_owned()
    }

    /// A command that ends in the folder of the keys and must succeed.
    fn run(&self, verb: &str, words: &[&str], options: &[&str]) -> Result<String> {
        let keys = self.keys.to_string_lossy();
        self.artifacts.casemate(&[&[verb], words, options, &[&keys]].concat(), 0)
    }

    /// `casemate flash` without a document.
    fn flash(&self, output: &str, device: &str, expected: i32) -> Result<String> {
        let key = self.key("release.pub");
        self.artifacts.casemate(&["flash", output, device, "--yes", "--release-key", &key], expected)
    }

    fn has_no_report_at_first(&self) -> Result<()> {
        let refused = self.flash(&self.shown(), NO_DISK, 1)?;
        for reason in ["there is no test report", "not a block device"] {
            ensure!(refused.contains(reason), "the reason `{reason}` is not named:\n{refused}");
        }
        Ok(())
    }

    /// The development keys did not sign this image, so they cannot vouch for it, nor can it be flashed in their name.
    fn is_not_proven_by_other_keys(&self) -> Result<()> {
        let told = self.artifacts.casemate(&["test", &self.shown()], 1)?;
        ensure!(told.contains("every_signature_digest_and_block_is_good"), "not the signature is at fault:\n{told}");
        let refused = self.flash(&self.shown(), NO_DISK, 1)?;
        ensure!(refused.contains("proof: "), "a report of other keys is accepted:\n{refused}");
        let refused = self.artifacts.casemate(&["flash", &self.shown(), NO_DISK, "--yes"], 1)?;
        ensure!(refused.contains("image: "), "the development key vouches for the image:\n{refused}");
        Ok(())
    }

    fn is_proven(&self) -> Result<()> {
        let told = self.run("test", &[&self.shown()], &["--json", "--keys"])?;
        for claim in [
            "first_boot_by_firmware_is_personalised_and_healthy",
            "second_boot_is_the_same_host",
            "one_changed_bit_ends_in_panic_and_restart",
        ] {
            ensure!(told.contains(claim), "`casemate test` says nothing of `{claim}`:\n{told}");
        }
        let refused = self.flash(&self.shown(), NO_DISK, 1)?;
        ensure!(!refused.contains("proof: "), "the report is not accepted:\n{refused}");
        Ok(())
    }

    /// A report is for one image: changed, it proves nothing.
    fn needs_its_own_report(&self) -> Result<()> {
        let copy = self.dir.join("changed");
        fs::create_dir_all(&copy)?;
        for file in fs::read_dir(&self.output)? {
            let file = file?;
            if file.file_type()?.is_file() {
                fs::hard_link(file.path(), copy.join(file.file_name()))?;
            }
        }
        let report = fs::read_to_string(copy.join("test-report.json"))?;
        fs::remove_file(copy.join("test-report.json"))?;
        fs::write(copy.join("test-report.json"), report.replacen("true", "true ", 1))?;
        let refused = self.flash(&copy.to_string_lossy(), NO_DISK, 1)?;
        ensure!(refused.contains("proof: the signature"), "a changed report is accepted:\n{refused}");
        Ok(())
    }

    fn goes_onto_a_disk(&self) -> Result<()> {
        let small = flash::device(self.artifacts, &self.dir.join("small.raw"), SMALL_BYTES)?;
        let refused = self.flash(&self.shown(), &small.path().to_string_lossy(), 1)?;
        ensure!(refused.contains("it has 64 MiB"), "a disk of 64 MiB is not refused for its size:\n{refused}");
        drop(small);

        let disk = self.dir.join("disk.raw");
        let document = self.flash_with_document(&disk)?;
        flash::slot_is_that_of(&self.output.join("disk.raw"), &disk)?;
        let there = seed::read_from_esp(self.artifacts, &disk, "/casemate/host.toml")?;
        ensure!(there == document, "the ESP holds another document:\n{}", String::from_utf8_lossy(&there));
        let signature = seed::read_from_esp(self.artifacts, &disk, "/casemate/host.toml.sig")?;
        ensure!(!signature.is_empty(), "the ESP holds no signature");
        self.is_not_flashed_over_what_is_in_use(&disk)
    }

    /// Flashes an old disk and returns the document that was given.
    fn flash_with_document(&self, disk: &Path) -> Result<Vec<u8>> {
        let device = flash::device(self.artifacts, disk, DISK_BYTES)?;
        let operator = Operator::new(self.artifacts, &self.dir, "administrator")?;
        let facts = Facts { hostname: HOSTNAME, serial: 1, wordpress: None };
        let document = operator.document(&self.dir, &facts)?;
        let (output, device) = (self.shown(), device.path().to_string_lossy());
        let (release, key) = (self.key("release.pub"), self.key("operator.key"));
        let host = document.to_string_lossy();
        let words = ["flash", &output, &*device, "--release-key", &release, "--host", &*host, "--key", &key];
        let told = self.artifacts.casemate(&[&words[..], &["--yes", "--json"]].concat(), 0)?;
        for part in [r#""tested": true"#, r#""development": false"#, HOSTNAME] {
            ensure!(told.contains(part), "`casemate flash` does not say `{part}`:\n{told}");
        }
        Ok(fs::read(document)?)
    }

    fn is_not_flashed_over_what_is_in_use(&self, disk: &Path) -> Result<()> {
        let device = flash::attach(self.artifacts, disk)?;
        let held = flash::claim(device.path())?;
        let refused = self.flash(&self.shown(), &device.path().to_string_lossy(), 1)?;
        ensure!(refused.contains("the kernel says that it is busy"), "a disk that is held is not refused:\n{refused}");
        drop(held);
        let slot = device.partition(2).remedied()?;
        ensure!(slot.exists(), "the kernel makes no `{}` of the flashed disk", slot.display());
        let refused = self.flash(&self.shown(), &slot.to_string_lossy(), 1)?;
        ensure!(refused.contains("it is a partition"), "a partition is not refused:\n{refused}");
        let mounted = RootImage::mount(&slot, "erofs", &self.dir.join("mounted"))?;
        ensure!(mounted.path().join("usr/lib/os-release").exists(), "slot A of the flashed disk holds no root");
        let refused = self.flash(&self.shown(), &device.path().to_string_lossy(), 1)?;
        ensure!(refused.contains("is mounted at"), "a disk with a mounted partition is not refused:\n{refused}");
        Ok(())
    }
}
