//! `host.toml`: what is accepted, and what each mistake says.

use hostconf::{HostConfig, SiteKind};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER ops";

/// The sample's head, serial 3, and what follows it.
fn document(rest: &str) -> String {
    let (head, _) = hostconf::SMALL_HOST.split_once("[[domain]]").expect("the sample has a domain");
    head.replace("serial = 1", "serial = 3") + rest
}

/// The same with one domain and one site.
fn site(rest: &str) -> String {
    document(&format!("[[domain]]\nname = \"example.org\"\n[[domain.site]]\n{rest}"))
}

fn mistakes(text: &str) -> String {
    HostConfig::parse("host.toml", text).expect_err("the document has mistakes").to_string()
}

#[test]
fn the_example_of_the_repository_is_a_valid_document() {
    let text = include_str!("../../../images/webhost/host.example.toml");
    let host = HostConfig::parse("host.example.toml", text).unwrap();
    assert!(host.sites().any(|site| site.content.kind() == SiteKind::Wordpress));
    assert_eq!(host.serial.0.get(), 1);
}

#[test]
fn network_and_tls_may_be_absent() {
    let host = HostConfig::parse("host.toml", &document("")).unwrap();
    assert!(host.network.address.is_empty() && host.domains.is_empty());
}

#[test]
fn proxies_are_trusted_by_name_only_and_leave_the_network_as_it_is() {
    let read = |rest: &str| HostConfig::parse("host.toml", &document(rest)).unwrap().network;
    assert!(read("").trusted_proxies.is_empty());
    let behind = read("[network]\ntrusted_proxies = [\"198.51.100.0/24\", \"2001:db8:5::/48\"]\n");
    let proxies: Vec<_> = behind.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["198.51.100.0/24", "2001:db8:5::/48"]);
    assert!(behind.address.is_empty() && behind.gateway.is_empty() && behind.interface.is_none());
}

#[test]
fn limits_and_allowed_names_have_usual_values_where_nothing_is_said() {
    let read = |rest: &str| {
        let site = format!(
            "[[domain]]\nname = \"example.org\"\n[[domain.site]]\nname = \"www.example.org\"\nkind = \"php\"\n{rest}"
        );
        HostConfig::parse("host.toml", &document(&site)).unwrap().sites().next().unwrap().clone()
    };
    let usual = read("");
    assert_eq!(
        (usual.limits.memory.to_string(), usual.limits.tasks, usual.limits.cpu_percent, usual.limits.mail_per_hour),
        ("512M".to_owned(), 64, 200, 60)
    );
    assert!(usual.limits.disk.is_none() && usual.allow.is_empty());
    let said = read(
        "allow = [\".example.com\"]\nlimits = { memory = \"1G\", tasks = 100, cpu_percent = 50, disk = \"5G\", mail_per_hour = 500 }\n",
    );
    assert_eq!(
        (said.limits.memory.to_string(), said.limits.tasks, said.limits.cpu_percent, said.limits.mail_per_hour),
        ("1G".to_owned(), 100, 50, 500)
    );
    assert_eq!(said.limits.disk.unwrap().to_string(), "5G");
    assert_eq!(said.allow.iter().map(ToString::to_string).collect::<Vec<_>>(), [".example.com"]);
}

#[test]
fn five_mistakes_give_five_messages_in_the_order_of_the_document() {
    let text = r#"schema = 1
serial = 0
host = "any"
hostname = "Web1.example.org"
[admin]
email = "ops@example.org"
ssh_kyes = []
ssh_keys = ["ssh-dss AAAAB3NzaC1kc3M= old"]
networks = ["192.0.2.5/24"]
"#;
    let expected = "\
host.toml:2:10: `serial` is 0, it must be a whole number from 1 to 9223372036854775807
host.toml:4:12: `hostname`: `Web1.example.org` is not a domain name: two or more labels of `a-z`, `0-9` and `-`, in lower case, without a dot at the end; other scripts as `xn--...`
host.toml:7:1: unknown key `ssh_kyes` in `[admin]`: did you mean `ssh_keys`?
host.toml:8:13: `ssh_keys`: ssh keys of type `ssh-dss` are not accepted: use ssh-ed25519, ecdsa-sha2-nistp256/384/521, ssh-rsa with 3072 bits or more, or their sk- kinds
host.toml:9:13: `networks`: `192.0.2.5/24` is one address inside a network: write `192.0.2.0/24` for the network or `192.0.2.5/32` for the one address";
    assert_eq!(mistakes(text), expected);
}

#[test]
fn names_what_is_missing() {
    let expected = "\
host.toml:1:1: missing key `host`
host.toml:1:1: missing key `hostname`
host.toml:1:1: missing key `schema`
host.toml:1:1: missing key `serial`
host.toml:1:1: missing section `[admin]`";
    assert_eq!(mistakes(""), expected);
}

#[test]
fn each_broken_rule_of_a_section_or_site_has_its_own_message() {
    let cases = [
        (
            document("color = 1\n"),
            "host.toml:9:1: unknown key `color` in `[admin]`: allowed are `email`, `ssh_keys`, `networks`",
        ),
        (
            document("[network]\ngateway = [\"192.0.2.1\"]\n"),
            "host.toml:10:11: `gateway` needs an `address`: with DHCP the router comes from there",
        ),
        (
            document("[network]\naddress = [\"192.0.2.2/24\"]\ngateway = [\"fe80::1\"]\n"),
            "host.toml:11:12: gateway `fe80::1` has no `address` of its family: add one or remove the gateway",
        ),
        (
            document("[network]\ntrusted_proxies = [\"198.51.100.0/24\", \"::/0\"]\n"),
            "host.toml:10:39: `trusted_proxies`: `::/0` is everybody: write the networks of the CDN or load balancer",
        ),
        (
            document("[network]\ntrusted_proxies = [\"198.51.100.7/24\"]\n"),
            "host.toml:10:20: `trusted_proxies`: `198.51.100.7/24` is one address inside a network: write `198.51.100.0/24` for the network or `198.51.100.7/32` for the one address",
        ),
        (
            document("[relay]\nhost = \"mail.example.net\"\nport = 26\n"),
            "host.toml:11:8: port 26 is none of a relay: give one of 25, 465, 587, 2525, 2587",
        ),
        (
            document("[tls]\nmode = \"letsencrypt\"\n"),
            "host.toml:10:8: `mode`: `letsencrypt` is not a TLS mode: `self-signed`, `acme`",
        ),
        (
            site("name = \"www.example.net\"\nkind = \"php\"\n"),
            "host.toml:12:8: site `www.example.net` is not in its domain: name it `example.org` or something below it",
        ),
        (
            site("name = \"www.example.org\"\nkind = \"php\"\naliases = [\"example.net\"]\n"),
            "host.toml:14:12: alias `example.net` is in no domain of this document: add the `[[domain]]` or remove the alias",
        ),
        (
            site("name = \"www.example.org\"\nkind = \"php\"\naliases = [\"www.example.org\"]\n"),
            "host.toml:14:12: `www.example.org` is used twice: a name or alias may belong to one site only",
        ),
        (
            site("name = \"www.example.org\"\nkind = \"static\"\ntitle = \"x\"\n"),
            "host.toml:14:9: `title` is for sites of kind `wordpress`, this one is `static`: remove it",
        ),
        (
            site("name = \"www.example.org\"\nkind = \"joomla\"\n"),
            "host.toml:13:8: `kind`: `joomla` is not a kind of site: `wordpress`, `php` or `static`",
        ),
        (
            site(
                "name = \"www.example.org\"\nkind = \"wordpress\"\ntitle = \"x\"\nadmin_user = \"admin\"\nadmin_email = \"a@example.org\"\n",
            ),
            "host.toml:15:14: `admin_user`: `admin` is not an account name: 3 to 60 of `a-z`, `0-9`, `.`, `_` and `-`, starting with a letter, and not `admin`, `administrator` or `root`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(mistakes(&text), expected, "{text}");
    }
}

#[test]
fn limits_and_allowed_names_are_checked() {
    let cases = [
        (
            site("name = \"www.example.org\"\nkind = \"static\"\nallow = [\"example.com\"]\n"),
            "host.toml:14:9: `allow` is for sites that run programs, this one is `static`: remove it",
        ),
        (
            site("name = \"www.example.org\"\nkind = \"php\"\nallow = [\"*.example.com\"]\n"),
            "host.toml:14:10: `allow`: `*.example.com` is not a name that PHP may reach: `api.example.com`, or `.example.com` for the domain and all below it",
        ),
        (
            site("name = \"www.example.org\"\nkind = \"php\"\nlimits = { memory = \"32M\" }\n"),
            "host.toml:14:21: `memory` is `32M`: PHP needs at least `64M`",
        ),
        (
            site("name = \"www.example.org\"\nkind = \"php\"\nlimits = { tasks = 4 }\n"),
            "host.toml:14:20: `tasks` is 4, it must be a whole number from 10 to 4096",
        ),
        // To Postfix 0 would be "as many as you like".
        (
            site("name = \"www.example.org\"\nkind = \"php\"\nlimits = { mail_per_hour = 0 }\n"),
            "host.toml:14:28: `mail_per_hour` is 0, it must be a whole number from 1 to 10000",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(mistakes(&text), expected, "{text}");
    }
}

#[test]
fn each_broken_rule_of_the_whole_document_has_its_own_message() {
    let cases = [
        (
            document("[[domain]]\nname = \"a.org\"\n[[domain]]\nname = \"a.org\"\n"),
            "host.toml:12:8: domain `a.org` stands twice in the document: put all its sites into one `[[domain]]`",
        ),
        (
            document("").replace("schema = 1", "schema = 2"),
            "host.toml:1:10: schema 2 is not known here: this version of casemate reads schema 1",
        ),
        (
            document("").replace("serial = 3", "serial = \"3\""),
            "host.toml:2:10: `serial` is a text, it must be a whole number from 1 to 9223372036854775807",
        ),
        (
            document("").replace("[\"192.0.2.0/24\"]", "[]"),
            "host.toml:8:12: `networks` is empty: at least one entry is needed",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(mistakes(&text), expected, "{text}");
    }
}

#[test]
fn a_document_that_is_not_toml_shows_where_the_syntax_breaks() {
    let text = mistakes("schema = 1\nserial = \nhost any\n");
    assert!(text.starts_with("host.toml:2:"), "{text}");
    assert!(mistakes("schema = 1\nschema = 1\n").starts_with("host.toml:2:1: duplicate key"));
}

#[test]
fn ssh_keys_are_parsed_and_not_only_looked_at() {
    let rsa = |bytes: usize| {
        let mut blob = b"\0\0\0\x07ssh-rsa\0\0\0\x03\x01\0\x01".to_vec();
        blob.extend(u32::try_from(bytes + 1).unwrap().to_be_bytes());
        blob.push(0);
        blob.extend(std::iter::repeat_n(0xff, bytes));
        encode(&blob)
    };
    let swapped = KEY.replace("ssh-ed25519 ", "ecdsa-sha2-nistp256 ");
    let cut = KEY.replace("ERER ops", " ops");
    let options = format!("command=\\\"sh\\\" {KEY}");
    for bad in [
        swapped,
        cut,
        options,
        format!("ssh-rsa {}", rsa(256)),
        "ssh-ed25519".to_owned(),
        format!("{KEY}\\nssh-ed25519 x"),
    ] {
        let text = document("").replace(KEY, &bad);
        assert!(HostConfig::parse("host.toml", &text).is_err(), "{bad}");
    }
    let good = document("").replace(KEY, &format!("ssh-rsa {} ops", rsa(384)));
    assert!(HostConfig::parse("host.toml", &good).is_ok());
}

#[test]
fn messages_never_repeat_control_characters_of_the_document() {
    let text = mistakes(&document("").replace("web1.example.org", "\\u001b[2J"));
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn ten_thousand_mistakes_are_reported_quickly_and_shortly() {
    let many = (0..10_000).map(|number| format!("k{number} = 1")).collect::<Vec<_>>().join(
        "
",
    );
    assert!(mistakes(&many).lines().count() == 101);
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
