//! A host in a container, with its state and a wire to its neighbour: what scenarios at native speed stand on.
//!
//! There is no initrd here, so this does its part: an empty `/var`, and a machine id that lasts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use tools::{Access, Bind, ResultExt as _, Tool};
use vm::guest::{Client, Seen};
use vm::netns::Port;
use vm::{Container, ContainerSpec, MachineId, NetworkNamespace, RootImage};

use crate::artifacts::{Artifacts, Image, say};
use crate::host::{PATIENCE, credential};

/// The end of the wire as the scenario leaves it; the host's document does not know this address.
const UNNAMED: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The host's own address: only its document names it.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 20);
/// Who looks at it from outside.
pub(crate) const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The same of IPv6 (RFC 4193).
pub(crate) const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x20);
pub(crate) const NEIGHBOUR6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2);

/// The neighbour's end of the wire.
pub(crate) const WIRE: &str = "wire0";

/// A root, its state, and the wire to its neighbour.
pub(crate) struct ContainerHost<'a> {
    artifacts: &'a Artifacts,
    dir: PathBuf,
    root: RootImage,
    state: tools::mount::Mount,
    document: String,
    machine_id: &'a str,
    pub(crate) neighbour: NetworkNamespace,
    /// The host's own.
    pub(crate) network: NetworkNamespace,
    starts: u32,
}

impl<'a> ContainerHost<'a> {
    /// A host of the image `webhost` in `dir`; `document` gets the network that this wire needs.
    pub(crate) fn new(artifacts: &'a Artifacts, dir: &Path, document: &str, machine_id: &'a str) -> Result<Self> {
        Self::of(artifacts, &artifacts.image(Image::Webhost).join("root.erofs"), dir, document, machine_id)
    }

    /// The same with the root of any image.
    pub(crate) fn of(
        artifacts: &'a Artifacts,
        root: &Path,
        dir: &Path,
        document: &str,
        machine_id: &'a str,
    ) -> Result<Self> {
        let root = RootImage::mount(root, "erofs", &dir.join("root"))?;
        let state = dir.join("var");
        fs::create_dir_all(state.join("lib/casemate"))?;
        // As the initrd leaves it.
        fs::write(state.join("lib/casemate/machine-id"), format!("{machine_id}\n"))?;
        let state = tools::mount::bind_as_state(&state, &state).remedied()?;
        let document = with_network(document);
        let (network, neighbour) = (NetworkNamespace::new()?, NetworkNamespace::new()?);
        let (here, there) =
            (Port { interface: "host0", address: UNNAMED }, Port { interface: WIRE, address: NEIGHBOUR });
        network.connect(&here, &neighbour, &there).context("cannot lay the wire")?;
        neighbour.add_address(WIRE, NEIGHBOUR6.into())?;
        let dir = dir.to_owned();
        Ok(Self { artifacts, dir, root, state, document, machine_id, neighbour, network, starts: 0 })
    }

    /// One more address at the neighbour's end of the wire: somebody else, for curl's `--interface`.
    pub(crate) fn add_neighbour(&self, address: impl Into<IpAddr>) -> Result<()> {
        Ok(self.neighbour.add_address(WIRE, address.into())?)
    }

    /// The document of the starts that follow.
    pub(crate) fn give(&mut self, document: &str) {
        self.document = with_network(document);
    }

    /// The root of the starts that follow, over the same state: an update, as far as a container shows one.
    pub(crate) fn give_root(&mut self, root: &Path) -> Result<()> {
        self.root = RootImage::mount(root, "erofs", &self.dir.join("next-root"))?;
        Ok(())
    }

    /// A client at the neighbour's end of the wire.
    pub(crate) fn client(&self) -> Client {
        Client::inside(self.artifacts.run_tree(), &self.dir, &self.neighbour, ADDRESS)
    }

    /// Starts the container and waits until it is healthy; returns its console too.
    pub(crate) fn boot(&mut self) -> Result<(Container, Seen, String)> {
        self.starts += 1;
        let id: MachineId = self.machine_id.parse()?;
        let mut spec = ContainerSpec::new(self.root.path(), id);
        spec.binds =
            vec![Bind { source: self.state.path().to_owned(), target: "/var".into(), access: Access::Writable }];
        spec.network = Some(self.network.path());
        spec.credentials = vec![
            credential("casemate.host", self.document.clone().into_bytes())?,
            credential("casemate.host.sig", self.artifacts.sign_as_operator(self.document.as_bytes())?)?,
        ];
        let log = self.dir.join(format!("start-{}", self.starts));
        let mut container = Container::start(&spec, self.artifacts.run_tree(), &log, PATIENCE)?;
        say(&format!("container: started, log in {}", log.display()));
        container.wait_for_console("casemate: personalised as ", PATIENCE)?;
        // Both ends of the wait hold this word; whoever is not healthy then does not become it.
        container.wait_for_console("healthy", PATIENCE).context("the host does not become healthy")?;
        let screen = container.console().text()?;
        ensure!(!screen.contains("unhealthy"), "the host is not healthy:\n{screen}");
        container.wait_for_console("casemate: healthy", PATIENCE).context("the host does not become healthy")?;
        say(&format!("container: healthy after {:.0} s", container.uptime().as_secs_f64()));
        let console = container.console().text()?;
        Ok((container, Seen::of(&console), console))
    }
}

/// What a script of root's says; it must succeed.
pub(crate) fn shell(container: &Container, script: &str) -> Result<String> {
    Ok(container.exec(&Tool::new("sh").args(["-c", script])).remedied()?.stdout_text())
}

/// Lets one address ask as much as it likes, of an Apache whose modules count all the same: for scenarios in which one stands for many.
pub(crate) fn lift_measures(container: &Container) -> Result<()> {
    shell(
        container,
        "set -eu\n\
         conf=/etc/apache2/casemate.d/flood.conf\n\
         sed -e 's/^\\(DOS[A-Z][a-z]*Count\\) .*/\\1 1000000/' -e 's/^\\(QS_ClientEventLimitCount\\) [0-9]* [0-9]* /\\1 65000 1 /' $conf > /run/flood.conf\n\
         mount --bind /run/flood.conf $conf\n\
         systemctl restart apache2.service",
    )
    .map(drop)
}

/// Puts a file where it is said, for the owner of the folder that it comes into; that folder may be new.
pub(crate) fn put_file(container: &Container, path: &str, content: &str) -> Result<()> {
    const PUT: &str = "folder=$(dirname \"$0\") && above=$(dirname \"$folder\") && \
                       if ! [ -d \"$folder\" ]; then mkdir \"$folder\" && chown --reference=\"$above\" \"$folder\"; fi && \
                       printf '%s' \"$1\" > \"$0\" && chown --reference=\"$folder\" \"$0\"";
    container.exec(&Tool::new("sh").args(["-c", PUT, path, content])).remedied().map(drop)
}

/// A document with the network of this wire, and what it says of the network itself.
fn with_network(document: &str) -> String {
    const SECTION: &str = "[network]\n";
    let (before, after) = document.split_once(SECTION).unwrap_or((document, ""));
    format!(
        "{before}\n{SECTION}interface = \"host0\"\naddress = [\"{ADDRESS}/24\", \"{ADDRESS6}/64\"]\ngateway = [\"{NEIGHBOUR}\", \"{NEIGHBOUR6}\"]\ndns = [\"{NEIGHBOUR}\"]\n{after}"
    )
}
