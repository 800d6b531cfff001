//! Turns the description of a container into nspawn's command line and the sandbox that it runs in.

use std::path::Path;

use tools::{Access, Network, PathError, Sandbox, Tool};

use super::{ContainerSpec, RootMode};
use crate::credential::Credential;

/// Where the container's directory lies inside the sandbox.
const INSIDE: &str = "/run/container";
/// Where the root tree lies inside the sandbox.
const ROOT: &str = "/run/container/root";
/// Where credentials lie, in the container's directory and below [`INSIDE`].
const CREDENTIALS: &str = "credentials";

/// Writes the credentials into the container's directory, where the sandbox sees them.
pub(super) fn hand_over(credentials: &[Credential], directory: &Path, sandbox: Sandbox) -> Result<Sandbox, PathError> {
    if credentials.is_empty() {
        return Ok(sandbox);
    }
    let place = directory.join(CREDENTIALS);
    write_credentials(credentials, &place)?;
    Ok(sandbox.bind_read_only(place, format!("{INSIDE}/{CREDENTIALS}")))
}

/// One file for each, by its number: a name can be anything that systemd accepts.
fn write_credentials(credentials: &[Credential], directory: &Path) -> Result<(), PathError> {
    tools::fs::create_dir_all(directory)?;
    let mut numbered = credentials.iter().enumerate();
    numbered
        .try_for_each(|(number, credential)| tools::fs::write(&directory.join(number.to_string()), &credential.bytes))
}

/// The sandbox and the command, without touching anything.
pub(super) fn plan(spec: &ContainerSpec, tools_tree: &Path, group: &Path) -> (Sandbox, Tool) {
    let network = spec.network.clone().map_or(Network::None, Network::Namespace);
    let mut sandbox = Sandbox::new(tools_tree).network(network).cgroup(group).bind_read_only(&spec.root, ROOT);
    // `--link-journal=no`: the sandbox has no machine id. `--keep-unit`: there is no systemd to ask.
    // `--console=read-only`: a terminal of its own at `/dev/console`, which a program can open by name.
    // The network namespace is the sandbox's own, so the container may manage it: networkd asks for the capability.
    let mut tool = Tool::new("systemd-nspawn")
        .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--link-journal=no", "--console=read-only"])
        .args([
            "--network-namespace-path=/proc/1/ns/net",
            "--capability=CAP_NET_ADMIN",
            "--resolv-conf=off",
            "--timezone=off",
        ])
        .arg(format!("--directory={ROOT}"))
        .arg(format!("--uuid={}", spec.machine_id))
        .arg("--machine=casemate");
    tool = match spec.mode {
        RootMode::ReadOnly => tool.arg("--read-only"),
        RootMode::Volatile => tool.arg("--volatile=overlay"),
    };
    for capability in &spec.capabilities {
        tool = tool.arg(format!("--capability={capability}"));
    }
    for (number, credential) in spec.credentials.iter().enumerate() {
        let name = &credential.name;
        tool = tool.arg(format!("--load-credential={name}:{INSIDE}/{CREDENTIALS}/{number}"));
    }
    for (number, bind) in spec.binds.iter().enumerate() {
        let inside = format!("{INSIDE}/bind{number}");
        let option = if bind.access == Access::ReadOnly { "--bind-ro" } else { "--bind" };
        tool = tool.arg(format!("{option}={inside}:{}", bind.target.display()));
        sandbox = sandbox.bind(&bind.source, inside);
    }
    (sandbox, tool.args(&spec.init_args))
}

#[cfg(test)]
mod tests {
    use tools::Bind;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn spec() -> ContainerSpec {
        ContainerSpec::new("/host/root", ID.parse().unwrap())
    }

    #[test]
    fn command_boots_the_tree_read_only_with_the_given_identity() {
        let (_, tool) = plan(&spec(), Path::new("/tree"), Path::new("/group"));
        let text = tool.to_string();
        for part in ["--read-only", "--link-journal=no", "--directory=/run/container/root", &format!("--uuid={ID}")] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("/host"));
    }

    #[test]
    fn binds_keep_order_and_access_and_init_words_come_last() {
        let bind = |target: &str, access| Bind { source: "/s".into(), target: target.into(), access };
        let mut spec = spec();
        spec.binds = vec![bind("/var", Access::Writable), bind("/opt", Access::ReadOnly)];
        spec.init_args = vec!["systemd.log_level=info".into()];
        let text = plan(&spec, Path::new("/tree"), Path::new("/group")).1.to_string();
        let expected = "--bind=/run/container/bind0:/var --bind-ro=/run/container/bind1:/opt systemd.log_level=info";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn credentials_are_named_on_the_command_line_and_their_bytes_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut spec = spec();
        spec.credentials = ["a.one", "b"].map(|name| Credential::smbios(name.parse().unwrap(), "secret")).into();
        let text = plan(&spec, Path::new("/tree"), Path::new("/group")).1.to_string();
        for part in ["a.one:/run/container/credentials/0", "b:/run/container/credentials/1"] {
            assert!(text.contains(&format!("--load-credential={part}")), "{part} in {text}");
        }
        assert!(!text.contains("secret"));
        write_credentials(&spec.credentials, directory.path()).unwrap();
        assert_eq!(std::fs::read(directory.path().join("1")).unwrap(), b"secret");
    }
}
