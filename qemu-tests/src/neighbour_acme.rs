//! A certificate authority in a neighbour's network: pebble, with its own roots, asking the hosts that names lead to.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use fs_err as fs;
use serde_json::json;
use tools::{Launcher as _, Network, ResultExt as _, Runner as _, Running, Sandbox, SandboxRunner, Tool};
use vm::NetworkNamespace;

use crate::artifacts::Artifacts;
use crate::container_host::NEIGHBOUR;
use crate::neighbour_tls::make_identity;

/// Where the scenario's directory lies in the sandbox.
const INSIDE: &str = "/run/client";
/// Only for ourselves: where pebble shows the root of its chains.
const MANAGEMENT: &str = "127.0.0.1:15000";
const PATIENCE: Duration = Duration::from_secs(20);

/// What an authority is like.
pub(crate) struct Manner {
    /// Its name; a file of its log has it too.
    pub(crate) name: &'static str,
    /// For how long its certificates are good, in seconds.
    pub(crate) seconds: u32,
    /// Key id and secret of the one customer that it serves; without it, it serves everybody.
    pub(crate) customer: Option<(&'static str, &'static str)>,
}

/// A running authority; it ends with the value.
pub(crate) struct Authority {
    running: Running,
    /// Whom to trust when it is asked.
    pub(crate) own: String,
    /// The root of what it signs.
    pub(crate) root: String,
}

impl Authority {
    /// Serves on port 443 of all addresses in this network; asks the neighbour for names.
    pub(crate) fn start(
        artifacts: &Artifacts,
        network: &NetworkNamespace,
        dir: &Path,
        manner: &Manner,
    ) -> Result<Self> {
        let name = manner.name;
        let own = make_identity(artifacts.run_tree(), dir, name, &[name])?;
        let keys = manner.customer.map(|(id, secret)| json!({ id: secret })).unwrap_or_default();
        let config = json!({"pebble": {
            "listenAddress": "0.0.0.0:443", "managementListenAddress": MANAGEMENT,
            "certificate": format!("{INSIDE}/{name}.crt"), "privateKey": format!("{INSIDE}/{name}.key"),
            "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "",
            "externalAccountBindingRequired": manner.customer.is_some(), "externalAccountMACKeys": keys,
            "certificateValidityPeriod": manner.seconds,
        }});
        fs::write(dir.join(format!("{name}.json")), serde_json::to_vec(&config)?)?;
        let sandbox = || Network::Namespace(network.path());
        let tool = Tool::new("pebble")
            .args(["-config", &format!("{INSIDE}/{name}.json"), "-dnsserver", &format!("{NEIGHBOUR}:53")])
            // It would wait a few seconds before each look, as a real one does, and refuse one request in twenty.
            .env("PEBBLE_VA_NOSLEEP", "1");
        let running = SandboxRunner::new(Sandbox::new(artifacts.attack_tree()?).network(sandbox()).bind(dir, INSIDE))
            .launch(&tool, &dir.join(format!("{name}.log")))
            .remedied()?;
        let root = wait_for_root(&SandboxRunner::new(Sandbox::new(artifacts.run_tree()).network(sandbox())))?;
        Ok(Self { running, own, root })
    }

    /// The section of a host's document that names it.
    pub(crate) fn section(&self, name: &str) -> String {
        format!("\n[tls]\nmode = \"acme\"\ndirectory = \"https://{name}/dir\"\nroots = \"\"\"\n{}\"\"\"\n", self.own)
    }

    /// Ends it.
    pub(crate) fn stop(mut self) {
        self.running.kill();
    }
}

/// Waits until it answers.
fn wait_for_root(runner: &SandboxRunner) -> Result<String> {
    let started = Instant::now();
    let tool = Tool::new("curl").args(["--silent", "--insecure", "--fail", &format!("https://{MANAGEMENT}/roots/0")]);
    loop {
        let answer = runner.run(&tool.clone().accept(&[0, 7, 22, 28, 35])).remedied()?;
        if answer.status == 0 {
            return Ok(answer.stdout_text());
        }
        if started.elapsed() > PATIENCE {
            bail!("the authority does not answer");
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}
