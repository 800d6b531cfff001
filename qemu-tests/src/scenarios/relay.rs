//! Mail of sites: one way out, under the site's own names, in measure, and each line of the log says whose it is.
//!
//! Four starts of one host: without a relay, with one that has no TLS, with one that nobody vouches for, and with the same where that is allowed.

mod program;
mod queue;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use tools::{ResultExt as _, Tool};
use vm::Container;
use vm::guest::Client;

use self::program::{plant, submit, submit_one, wordpress};
use self::queue::{queue, wait_for_queue};
use crate::artifacts::{Artifacts, say};
use crate::container_host::{ADDRESS, ContainerHost, NEIGHBOUR};
use crate::host::PATIENCE;
use crate::neighbour::Neighbour;
use crate::neighbour_smtp::{Message, Relay, identity};
use crate::operator::{Facts, Operator};

const SITE: &str = "www.example.org";
const OTHER: &str = "b.example.org";
const MACHINE_ID: &str = "a11ca5e5a11ca5e5a11ca5e5a11ca5e5";
/// Port of the relay without TLS, and of the one with it.
const PLAIN: u16 = 587;
/// Who does not answer within this time does not answer.
const SILENCE: Duration = Duration::from_secs(2);
const WITH_TLS: u16 = 2587;
/// What the administrator writes down for the relay, and how it is said (RFC 4616).
const PASSWORD: &str = "relay-user:a secret with spaces\n";
const LOGIN: &str = "AHJlbGF5LXVzZXIAYSBzZWNyZXQgd2l0aCBzcGFjZXM=";
/// Messages that the second site may send in an hour.
const PER_HOUR: usize = 5;
/// Time for a message from one end to the other.
const DELIVERY: Duration = Duration::from_secs(20);

/// The second site.
const FURTHER: &str = r#"
[[domain.site]]
name = "b.example.org"
kind = "php"
limits = { mail_per_hour = 5 }
"#;

pub(crate) fn takes_all_mail(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let document = |serial, relay: &str| -> Result<String> {
        let facts = Facts { hostname: "relay.example.org", serial, wordpress: Some("Sending") };
        Ok(fs::read_to_string(operator.document(dir, &facts)?)? + FURTHER + relay)
    };
    let mut host = ContainerHost::new(artifacts, dir, &document(1, "")?, MACHINE_ID)?;
    let _names = Neighbour::start(&host.neighbour, NEIGHBOUR)?;
    let client = host.client();

    say("relay: none");
    let (container, _, _) = host.boot()?;
    plant(&container, dir)?;
    check_without_relay(&container, &client)?;
    end(container)?;

    say("relay: without TLS");
    host.give(&document(2, &section(PLAIN, "may"))?);
    let (container, _, _) = host.boot()?;
    check_listeners(&container, &host)?;
    check_exposure(&container)?;
    let relay = check_queue(&container, &client, &host)?;
    check_form(&client, &relay)?;
    check_senders(&client, &relay)?;
    check_from_lines(&client, &relay)?;
    check_addresses(&client)?;
    check_root(&container, &relay)?;
    check_measure(&client, &relay)?;
    check_journal(&container)?;
    fs::write(dir.join("var/lib/casemate/keys/relay/password"), PASSWORD)?;
    check_password_in_the_clear(&container, &relay)?;
    end(container)?;

    let keys = dir.join("var/lib/casemate/keys/tls");
    let tls = identity(&keys.join("site001.key"), &keys.join("site001.crt"))?;
    let relay = Relay::start(&host.neighbour, WITH_TLS, Some(tls))?;
    say("relay: a certificate that nobody vouches for");
    host.give(&document(3, &section(WITH_TLS, "verify"))?);
    let (container, _, _) = host.boot()?;
    check_unverified(&container, &client, &relay)?;
    end(container)?;

    say("relay: the same, any certificate will do");
    host.give(&document(4, &section(WITH_TLS, "encrypt"))?);
    let (container, _, _) = host.boot()?;
    check_encrypted(&container, &relay)
}

fn section(port: u16, tls: &str) -> String {
    format!("\n[relay]\nhost = \"relay.example.net\"\nport = {port}\ntls = \"{tls}\"\n")
}

fn end(mut container: Container) -> Result<()> {
    ensure!(container.power_off(PATIENCE)? == 0, "the container does not end in good order");
    Ok(())
}

/// Whoever sends is told at once, and nothing waits for a relay that nobody has named.
fn check_without_relay(container: &Container, client: &Client) -> Result<()> {
    let said = wordpress(client, "password")?;
    ensure!(
        said.contains("add [relay] to host.toml") && said.contains("not sent"),
        "without a relay WordPress hears: {said}"
    );
    let said = submit_one(client, OTHER, &[("from", "x@b.example.org")])?;
    ensure!(said.starts_with("554 ") && said.contains("no relay"), "without a relay a program hears: {said}");
    let waiting = queue(container)?;
    ensure!(waiting.is_empty(), "mail waits for nobody: {waiting}");
    Ok(())
}

/// Nothing answers outside, not even with a refusal, and nothing listens there.
fn check_listeners(container: &Container, host: &ContainerHost<'_>) -> Result<()> {
    let outside = SocketAddr::from((ADDRESS, 25));
    let tried = host.neighbour.run(|| Ok(TcpStream::connect_timeout(&outside, SILENCE)))?;
    let silent = tried.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
    ensure!(silent, "port 25 is not closed outside");
    let list = container.exec(&Tool::new("ss").args(["-Hltn", "sport", "=", ":25"])).remedied()?.stdout_text();
    let mut places: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
    places.sort_unstable();
    ensure!(places == ["127.0.0.1:25", "127.77.0.1:25", "127.77.0.2:25"], "Postfix listens at {places:?}");
    Ok(())
}

/// systemd's own measure, in tenths, from 0 (nothing can be reached) to 100. The master is root and takes on the rights of others.
fn check_exposure(container: &Container) -> Result<()> {
    let tool = Tool::new("systemd-analyze").args(["security", "--threshold=25", "--no-pager", "postfix.service"]);
    let measured = container.exec(&tool.accept(&[0, 1])).remedied()?;
    ensure!(measured.status == 0, "Postfix can reach more than it must:\n{}", measured.stdout_text());
    Ok(())
}

/// A lost password's mail waits while the relay is away, and arrives once when it is back.
fn check_queue(container: &Container, client: &Client, host: &ContainerHost<'_>) -> Result<Relay> {
    let said = wordpress(client, "password")?;
    ensure!(said == "sent", "WordPress cannot send: {said}");
    wait_for_queue(container, "refused")?;
    let relay = Relay::start(&host.neighbour, PLAIN, None)?;
    container.exec(&Tool::new("postqueue").arg("-f")).remedied()?;
    let messages = relay.wait_for(1, DELIVERY);
    let [message] = messages.as_slice() else { bail!("{} messages at the relay: {messages:?}", messages.len()) };
    // WordPress leaves out `www.`, and that is a name of the site too.
    ensure!(message.sender == "wordpress@example.org", "the sender is {}", message.sender);
    ensure!(message.recipients == ["editor@example.org"], "it goes to {:?}", message.recipients);
    ensure!(message.text.contains("From: WordPress <wordpress@example.org>\n"), "the message: {}", message.text);
    ensure!(message.text.contains("&action=rp"), "the message: {}", message.text);
    Ok(relay)
}

/// The next message, which must be the only new one.
fn next(relay: &Relay, before: usize) -> Result<Message> {
    let messages = relay.wait_for(before + 1, DELIVERY);
    ensure!(messages.len() == before + 1, "{} messages at the relay, not {}", messages.len(), before + 1);
    messages.into_iter().next_back().context("no message")
}

/// A form writes in its visitor's name: the message leaves under the site's, and the answer goes to the visitor.
fn check_form(client: &Client, relay: &Relay) -> Result<()> {
    let before = relay.messages().len();
    let said = wordpress(client, "form")?;
    ensure!(said == "sent", "a form cannot send: {said}");
    let message = next(relay, before)?;
    ensure!(message.sender == "wordpress@www.example.org", "the form's sender is {}", message.sender);
    for line in ["From: Visitor <wordpress@www.example.org>\n", "Reply-To: Visitor <visitor@example.com>\n"] {
        ensure!(message.text.contains(line), "the form's message has no {line}: {}", message.text);
    }
    Ok(())
}

/// A site is who it is: by each of its names, and by no other.
fn check_senders(client: &Client, relay: &Relay) -> Result<()> {
    for own in ["anything@www.example.org", "Shop@EXAMPLE.org"] {
        let before = relay.messages().len();
        let said = submit_one(client, SITE, &[("from", own)])?;
        ensure!(said.starts_with("250 "), "the sender `{own}` is refused: {said}");
        ensure!(next(relay, before)?.sender.eq_ignore_ascii_case(own), "another sender than `{own}` left");
    }
    let before = relay.messages().len();
    for forged in
        ["ceo@example.net", "x@b.example.org", "x@sub.www.example.org", "root@relay.example.org", "root", "", "x@org"]
    {
        let said = submit_one(client, SITE, &[("from", forged)])?;
        ensure!(said.starts_with("554 5.7.1 "), "a forged sender `{forged}` is not refused: {said}");
    }
    let said = submit_one(client, SITE, &[("from", "x@example.org"), ("parameters", " SIZE=11000000")])?;
    ensure!(said.starts_with("552 "), "a message of 11 MB is not refused: {said}");
    ensure!(relay.messages().len() == before, "refused mail arrived");
    Ok(())
}

/// What a reader sees is the site as well.
fn check_from_lines(client: &Client, relay: &Relay) -> Result<()> {
    let say = |header: &str| submit_one(client, SITE, &[("from", "x@example.org"), ("header", header)]);
    let own = [
        "From: x@example.org",
        "From: \"Shop, (the) <best>\" <shop@www.example.org>",
        "From: =?UTF-8?Q?B=C3=BCro?=\r\n <x@example.org>",
    ];
    let before = relay.messages().len();
    for header in own {
        let said = say(header)?;
        ensure!(said.starts_with("250 "), "`{header}` is refused: {said}");
    }
    let arrived = relay.wait_for(before + own.len(), DELIVERY).len();
    ensure!(arrived == before + own.len(), "{} of {} messages arrived", arrived - before, own.len());
    let forged = [
        "From: ceo@example.net",
        "From: The Boss <ceo@example.net>",
        "from : ceo@example.net",
        "From:\r\n ceo@example.net",
        "From: x@b.example.org",
        "From: x@example.org.example.net",
        "From: x@notexample.org",
        "From: x@wwwXexample.org",
        "From: ceo@example.net, x@example.org",
        "From: <ceo@example.net> <x@example.org>",
        "From: ceo@example.net <x@example.org>",
        "From: ceo@example.net (x@example.org)",
        "From: x@example.org\r\nFrom: ceo@example.net",
    ];
    for header in forged {
        let said = say(header)?;
        ensure!(said.starts_with("550 5.7.1 "), "a forged line `{header}` is not refused: {said}");
    }
    ensure!(relay.messages().len() == arrived, "refused mail arrived");
    Ok(())
}

/// The other site's address and the host's are not there for this site.
fn check_addresses(client: &Client) -> Result<()> {
    for (at, from) in [("127.77.0.2", "x@b.example.org"), ("127.0.0.1", "root@relay.example.org")] {
        let said = submit_one(client, SITE, &[("at", at), ("from", from)])?;
        ensure!(said.starts_with("no connection: "), "the site is served at {at}: {said}");
    }
    Ok(())
}

fn alert(container: &Container) -> Result<()> {
    container.exec(&Tool::new("sendmail").arg("root").stdin(*b"Subject: alert\n\ntext\n")).remedied().map(drop)
}

/// Root's own mail is the administrator's.
fn check_root(container: &Container, relay: &Relay) -> Result<()> {
    let before = relay.messages().len();
    alert(container)?;
    let message = next(relay, before)?;
    ensure!(message.sender == "root@relay.example.org", "root's mail comes from {}", message.sender);
    ensure!(message.recipients == ["ops@example.org"], "root's mail goes to {:?}", message.recipients);
    Ok(())
}

/// Who has sent enough is told to wait, and the other site is not.
fn check_measure(client: &Client, relay: &Relay) -> Result<()> {
    let before = relay.messages().len();
    let tries = (PER_HOUR + 3).to_string();
    let said = submit(client, OTHER, &[("from", "news@b.example.org"), ("times", &tries)])?;
    let (sent, refused) = said.split_at(PER_HOUR.min(said.len()));
    ensure!(sent.iter().all(|answer| answer.starts_with("250 ")), "less than its measure is refused: {said:?}");
    let all = refused.len() == 3 && refused.iter().all(|answer| answer.starts_with("450 4.7.1 "));
    ensure!(all, "more than its measure is not refused: {said:?}");
    let arrived = relay.wait_for(before + PER_HOUR, DELIVERY);
    let of_site = arrived.iter().filter(|message| message.sender == "news@b.example.org").count();
    ensure!(of_site == PER_HOUR, "{of_site} messages of the site arrived, not {PER_HOUR}");

    let said = submit_one(client, SITE, &[("from", "x@example.org")])?;
    ensure!(said.starts_with("250 "), "the other site is refused too: {said}");
    // As many messages, each to many, would be no measure.
    let said = submit(client, SITE, &[("from", "x@example.org"), ("recipients", "45"), ("times", "4")])?;
    ensure!(
        said.last().is_some_and(|answer| answer.starts_with("450 4.7.1 ")),
        "180 recipients are not too many: {said:?}"
    );
    Ok(())
}

/// Who sent to whom, who was refused, and why, each with the site's name.
fn check_journal(container: &Container) -> Result<()> {
    let journal = Tool::new("journalctl").args(["--boot", "--no-pager", "--unit=postfix.service", "--output=short"]);
    let lines = container.exec(&journal).remedied()?.stdout_text();
    let wanted = [
        ("site=www.example.org/smtpd", "accepted; from=<wordpress@example.org> to=<editor@example.org>"),
        ("site=www.example.org/smtpd", "the sender must be at www.example.org or example.org; from=<ceo@example.net>"),
        ("site=www.example.org/cleanup", "reject: header From: ceo@example.net"),
        ("site=b.example.org/smtpd", "accepted; from=<news@b.example.org> to=<friend0@example.net>"),
        ("site=b.example.org/smtpd", "Message delivery request rate limit exceeded"),
        ("postfix/smtp", "status=sent"),
    ];
    let missing: Vec<_> = wanted
        .iter()
        .filter(|(who, what)| !lines.lines().any(|line| line.contains(who) && line.contains(what)))
        .collect();
    ensure!(missing.is_empty(), "the journal has no line with {missing:?}:\n{lines}");
    let fault = lines.lines().find(|line| ["fatal:", "panic:", "error:"].iter().any(|word| line.contains(word)));
    ensure!(fault.is_none(), "Postfix is not content: {fault:?}");
    Ok(())
}

/// The relay asks for the password, and has no TLS: it gets neither the password nor mail.
fn check_password_in_the_clear(container: &Container, relay: &Relay) -> Result<()> {
    container.exec(&Tool::new("systemctl").args(["reload", "postfix.service"])).remedied()?;
    let before = relay.messages().len();
    alert(container)?;
    let waits = wait_for_queue(container, "SASL authentication failed");
    let login = relay.messages().into_iter().skip(before).find_map(|message| message.login);
    ensure!(login.is_none(), "the password went over the wire in the clear");
    waits?;
    container.exec(&Tool::new("postsuper").args(["-d", "ALL"])).remedied().map(drop)
}

/// Mail waits rather than go to somebody whom no authority knows.
fn check_unverified(container: &Container, client: &Client, relay: &Relay) -> Result<()> {
    let said = submit_one(client, SITE, &[("from", "secret@example.org")])?;
    ensure!(said.starts_with("250 "), "a site cannot send: {said}");
    wait_for_queue(container, "not verified")?;
    ensure!(relay.messages().is_empty(), "a relay that nobody vouches for got {:?}", relay.messages());
    Ok(())
}

/// The message has outlived the start; it leaves by TLS, with the administrator's password.
fn check_encrypted(container: &Container, relay: &Relay) -> Result<()> {
    container.exec(&Tool::new("postqueue").arg("-f")).remedied()?;
    let message = next(relay, 0)?;
    ensure!(message.sender == "secret@example.org", "the sender is {}", message.sender);
    ensure!(message.encrypted, "the message came without TLS");
    ensure!(message.login.as_deref() == Some(LOGIN), "the login was {:?}", message.login);
    Ok(())
}
