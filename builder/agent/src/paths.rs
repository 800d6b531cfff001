//! Every path that the agent reads or writes, computed from one root.
//!
//! On a host the root is `/`; a test or `--root DIR` gives another, and nothing of the agent reaches outside of it.

use std::path::Path;
use std::path::PathBuf;

/// The tree the agent works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    root: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self::new(Path::new("/"))
    }
}

impl Paths {
    /// Takes the directory that stands for `/`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The directory that stands for `/`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The place of an absolute path of the host (`/etc/passwd`) in this tree.
    pub fn at(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// What the image says of itself.
    pub fn image_definition(&self) -> PathBuf {
        self.at("/usr/lib/casemate/image.toml")
    }

    /// One folder for each overlay in the image.
    pub fn overlays(&self) -> PathBuf {
        self.at("/usr/lib/casemate/overlays")
    }

    /// Public keys of those who may sign `host.toml`.
    pub fn operator_keys(&self) -> PathBuf {
        self.at("/usr/lib/casemate/keys/operator")
    }

    /// The user table of the image.
    pub fn passwd(&self) -> PathBuf {
        self.at("/etc/passwd")
    }

    /// The group table of the image.
    pub fn group(&self) -> PathBuf {
        self.at("/etc/group")
    }

    /// Whose time is that of the image.
    pub fn clock_epoch(&self) -> PathBuf {
        self.at("/usr/lib/clock-epoch")
    }

    /// The firmware's variables.
    pub fn firmware_variables(&self) -> PathBuf {
        self.at("/sys/firmware/efi/efivars")
    }

    /// In which formats the state of this version is (`docs/formats/artifacts.md`).
    pub fn state_formats(&self) -> PathBuf {
        self.at("/usr/lib/casemate/state-formats.toml")
    }

    /// Everything of ours that outlives a slot.
    pub fn state(&self) -> PathBuf {
        self.at("/var/lib/casemate")
    }

    /// Link to the folder of the accepted document: `history/<serial>-<digest>`.
    pub fn accepted(&self) -> PathBuf {
        self.state().join("accepted")
    }

    /// One folder for each document that was ever accepted.
    pub fn history(&self) -> PathBuf {
        self.state().join("history")
    }

    /// The highest serial ever accepted, in decimal.
    pub fn serial(&self) -> PathBuf {
        self.state().join("serial")
    }

    /// The id that a source gave to this host.
    pub fn host_id(&self) -> PathBuf {
        self.state().join("host-id")
    }

    /// Which site has which account of the pool.
    pub fn sites(&self) -> PathBuf {
        self.state().join("sites.toml")
    }

    /// Files of the sites, one folder for each account.
    pub fn site(&self, id: &str) -> PathBuf {
        self.state().join("sites").join(id)
    }

    /// Snapshots of the sites, one folder for each account.
    pub fn snapshots(&self) -> PathBuf {
        self.state().join("snapshots")
    }

    /// Files of the database server, one folder for each database.
    pub fn databases(&self) -> PathBuf {
        self.at("/var/lib/mysql/data")
    }

    /// Keys and passwords that were made on this host.
    pub fn keys(&self) -> PathBuf {
        self.state().join("keys")
    }

    /// The host keys of sshd.
    pub fn ssh_keys(&self) -> PathBuf {
        self.keys().join("ssh")
    }

    /// The TLS key and certificate.
    pub fn tls(&self) -> PathBuf {
        self.keys().join("tls")
    }

    /// What is made afresh at each boot.
    pub fn run(&self) -> PathBuf {
        self.at("/run/casemate")
    }

    /// The rendered configuration that the links in `/etc` point into.
    pub fn rendered(&self) -> PathBuf {
        self.run().join("etc")
    }

    /// Units among it: systemd looks for some in `/etc/systemd/system.control` (systemd.unit(5)).
    pub fn rendered_units(&self) -> PathBuf {
        self.rendered().join("systemd/system.control")
    }

    /// Where the next configuration is put together.
    pub fn rendering(&self) -> PathBuf {
        self.run().join("etc.new")
    }

    /// The last status, for machines.
    pub fn status(&self) -> PathBuf {
        self.run().join("status.json")
    }

    /// The text that stands on the consoles, to print it again only when it changes.
    pub fn screen(&self) -> PathBuf {
        self.run().join("screen.txt")
    }

    /// The questions of the health gate.
    pub fn probes(&self) -> PathBuf {
        self.run().join("probes.json")
    }

    /// One file for each ban, by `Fail2Ban`'s action.
    pub fn banned(&self) -> PathBuf {
        self.run().join("banned")
    }

    /// The trust root that is sealed in the image; its signatures are in `.sig` beside it.
    pub fn trust_root(&self) -> PathBuf {
        self.at("/usr/share/casemate/trust-root.json")
    }

    /// What is remembered of updates.
    pub fn update(&self) -> PathBuf {
        self.state().join("update")
    }

    /// Held by the one agent that writes a spare slot.
    pub fn update_lock(&self) -> PathBuf {
        self.at("/run/casemate-update.lock")
    }

    /// What the kernel was started with.
    pub fn command_line(&self) -> PathBuf {
        self.at("/proc/cmdline")
    }

    /// There as soon as a time server has set the clock (systemd-timesyncd.service(8)).
    pub fn clock_is_set(&self) -> PathBuf {
        self.at("/run/systemd/timesync/synchronized")
    }

    /// What the document says of updates.
    pub fn update_settings(&self) -> PathBuf {
        self.rendered().join("casemate/update.json")
    }

    /// Where the fetcher is asked.
    pub fn fetcher(&self) -> PathBuf {
        self.at("/run/casemate-fetch.socket")
    }

    /// There while the running version is on trial.
    pub fn on_trial(&self) -> PathBuf {
        self.at("/run/casemate-on-trial")
    }

    /// Held by the one agent that changes the host.
    pub fn lock(&self) -> PathBuf {
        self.at("/run/casemate-agent.lock")
    }

    /// The locks of single sites; units that are kept out of the rest of `/run` have this as their runtime directory.
    pub fn site_locks(&self) -> PathBuf {
        self.at("/run/casemate-sites")
    }

    /// Held by whoever changes one site.
    pub fn site_lock(&self, id: &str) -> PathBuf {
        self.site_locks().join(format!("{id}.lock"))
    }

    /// Private mount points of the sources.
    pub fn mounts(&self) -> PathBuf {
        self.at("/run/casemate-sources")
    }

    /// Credentials that systemd took from SMBIOS or `fw_cfg`.
    pub fn credentials(&self) -> PathBuf {
        self.at("/run/credentials/casemate-personalise.service")
    }

    /// Block devices as the kernel lists them.
    pub fn block_devices(&self) -> PathBuf {
        self.at("/sys/class/block")
    }

    /// The device nodes.
    pub fn devices(&self) -> PathBuf {
        self.at("/dev")
    }

    /// Names of the active consoles.
    pub fn active_consoles(&self) -> PathBuf {
        self.at("/sys/class/tty/console/active")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_absolute_paths_below_the_root() {
        let paths = Paths::new(Path::new("/tmp/tree"));
        assert_eq!(paths.at("/etc/passwd"), Path::new("/tmp/tree/etc/passwd"));
        assert_eq!(paths.rendered(), Path::new("/tmp/tree/run/casemate/etc"));
    }

    #[test]
    fn names_the_real_places_on_a_host() {
        assert_eq!(Paths::default().status(), Path::new("/run/casemate/status.json"));
    }
}
