//! The host.toml of a guest that is only to be tried: the image's own example, with a way in for whoever tries it.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use hostconf::HostConfig;
use tools::failure::HintExt as _;

/// QEMU's own network; what comes through a forwarded port comes from 10.0.2.2.
const NETWORK: &str = "10.0.2.0/24";
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2));
/// For an image without an example: a host with no site.
const PLAIN: &str =
    "schema = 1\nserial = 1\nhost = \"any\"\nhostname = \"web1.example.org\"\n\n[admin]\nemail = \"ops@example.org\"\n";

/// The example (or a plain host) with this ssh key alone, reached through the network of the virtual machine.
pub(crate) fn for_trying(example: Option<&str>, public_key: &str) -> Result<String> {
    let mut document: toml::Table = example
        .unwrap_or(PLAIN)
        .parse()
        .context("cannot read `host.example.toml`")
        .or_refuse("mend the example of the image, or name a document of your own with `--host FILE`")?;
    let admin = document.entry("admin").or_insert_with(|| toml::Table::new().into());
    let admin = admin
        .as_table_mut()
        .context("`admin` in `host.example.toml` is no table")
        .or_refuse("mend the example of the image")?;
    admin.insert("ssh_keys".to_owned(), vec![public_key.trim().to_owned()].into());
    admin.insert("networks".to_owned(), vec![NETWORK.to_owned()].into());
    // The address of the example is somebody else's; QEMU gives one.
    document.remove("network");
    Ok(toml::to_string(&document)?)
}

/// Whether the host lets in what comes through a forwarded ssh port.
pub(crate) fn lets_in(config: &HostConfig) -> bool {
    config.admin.networks.iter().any(|network| network.contains(GATEWAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER try";

    fn parse(text: &str) -> HostConfig {
        HostConfig::parse("host.toml", text).unwrap()
    }

    fn example(image: &str) -> String {
        fs_err::read_to_string(format!("{}/../../images/{image}/host.example.toml", env!("CARGO_MANIFEST_DIR")))
            .unwrap()
    }

    #[test]
    fn the_examples_become_hosts_that_let_only_the_one_who_tries_in() {
        for image in ["minimal", "webhost"] {
            let given = example(image);
            assert!(!lets_in(&parse(&given)), "{image}: the example itself is for another network");
            let made = parse(&for_trying(Some(&given), KEY).unwrap());
            assert!(lets_in(&made));
            let keys: Vec<String> = made.admin.ssh_keys.iter().map(ToString::to_string).collect();
            assert_eq!((keys.as_slice(), made.admin.networks.len()), ([KEY.to_owned()].as_slice(), 1));
            assert_eq!(made.sites().count(), parse(&given).sites().count());
        }
    }

    #[test]
    fn an_image_without_example_becomes_a_host_without_sites() {
        let made = parse(&for_trying(None, KEY).unwrap());
        assert_eq!((made.sites().count(), lets_in(&made)), (0, true));
    }

    #[test]
    fn an_address_of_another_network_is_not_taken_over() {
        let text = format!("{}\n[network]\naddress = [\"198.51.100.7/24\"]\n", example("minimal"));
        assert!(parse(&for_trying(Some(&text), KEY).unwrap()).network.address.is_empty());
    }

    #[test]
    fn an_example_that_is_no_toml_is_refused_with_what_to_do() {
        let text = tools::failure::render(&for_trying(Some("schema = "), KEY).unwrap_err());
        assert!(text.contains("host.example.toml") && text.contains("hint: "), "{text}");
        assert!(for_trying(Some("admin = 1"), KEY).is_err());
    }
}
