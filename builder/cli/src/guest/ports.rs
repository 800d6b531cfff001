//! Ports that a person chose on the command line.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;
use tools::Failure;
use vm::guest::Ports;

/// Refuses ports that are taken or named twice, before a machine is made for them.
pub(crate) fn check(ports: Ports) -> Result<()> {
    let named = [("--https-port", ports.https), ("--http-port", ports.http), ("--ssh-port", ports.ssh)];
    let mut seen = BTreeMap::new();
    for (option, port) in named {
        if let Some(other) = seen.insert(port, option) {
            return Err(refused(format!("`{other}` and `{option}` both name port {port}"), option));
        }
        if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Err(refused(format!("port {port} of 127.0.0.1 cannot be used: {error}"), option));
        }
    }
    Ok(())
}

fn refused(message: String, option: &str) -> anyhow::Error {
    Failure::refused(message)
        .hint(format!("name another port with `{option} PORT`, or end the program that uses it"))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_pass() {
        check(Ports::free().unwrap()).unwrap();
    }

    #[test]
    fn a_taken_port_is_refused_with_the_option_that_changes_it() {
        let ports = Ports::free().unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.http)).unwrap();
        let text = tools::failure::render(&check(ports).unwrap_err());
        assert!(text.contains(&ports.http.to_string()) && text.contains("--http-port"), "{text}");
    }

    #[test]
    fn one_port_for_two_services_is_refused() {
        let ports = Ports::free().unwrap();
        let text = check(Ports { ssh: ports.https, ..ports }).unwrap_err().to_string();
        assert!(text.contains("`--https-port` and `--ssh-port`"), "{text}");
    }
}
