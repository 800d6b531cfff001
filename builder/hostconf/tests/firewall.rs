//! From overlays to the rules of the firewall and the port table.

#![expect(clippy::unwrap_used, reason = "a test's own helpers may panic")]

use std::collections::BTreeMap;

use hostconf::{Family, LoadedOverlay, OverlayDef, OverlaySet, PortTable, firewall_rules};

const WEB: &str = r#"
summary = "web"
[[listen]]
port = 443
proto = "tcp"
zone = "net"
unit = "web.service"
[[listen]]
port = 22
proto = "tcp"
zone = "mgmt"
unit = "ssh.service"
[[egress]]
user = "web"
proto = "udp"
port = 53
zone = "net"
[[egress]]
user = "root"
proto = "tcp"
port = 80
zone = "metadata"
[[local]]
user = "sites"
proto = "tcp"
port = 25
[[health]]
name = "web"
tcp = { port = 443 }
"#;

fn overlays() -> OverlaySet {
    let def = OverlayDef::parse("web", WEB).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    OverlaySet::new(vec![LoadedOverlay { name: "web".parse().unwrap(), def, templates: BTreeMap::new() }]).unwrap()
}

fn users(names: &[(&str, u32)]) -> BTreeMap<String, u32> {
    names.iter().map(|(name, uid)| ((*name).to_owned(), *uid)).collect()
}

#[test]
fn rules_let_in_and_out_what_is_declared_and_name_who_is_refused() {
    let rules = firewall_rules(&overlays(), &users(&[("root", 0), ("web", 500)]), Family::V4).unwrap();
    assert_eq!(
        rules.lines().skip(2).collect::<Vec<_>>(),
        [
            "ACCEPT net fw udp 68 67",
            "ACCEPT net fw icmp 8 - - s:ping:5/sec:20",
            "NotSyn(REJECT) net fw tcp 443",
            "ACCEPT net:+casemate-admin4 fw tcp 443",
            "ACCEPT net:+casemate-proxy4 fw tcp 443",
            "ACCEPT net fw tcp 443 - - s/32:p443(16384,262144):25/sec:200 - - 100:32",
            "DROP:NFLOG(77):flood net fw tcp 443",
            "NotSyn(REJECT) net:+casemate-admin4 fw tcp 22",
            "ACCEPT net:+casemate-admin4 fw tcp 22",
            "ACCEPT fw net:169.254.169.254,100.100.100.200,168.63.129.16 tcp 80 - - - 0",
            "REJECT:NFLOG(77):metadata fw net:169.254.169.254,100.100.100.200,168.63.129.16 tcp 80,443",
            "ACCEPT fw net udp 53 - - - 500",
            "ACCEPT fw loop tcp 25 - - - 20000-21997",
            "ACCEPT fw loop tcp 443 - - - 0",
            "REJECT:NFLOG(77):root fw all - - - - - 0",
            "REJECT:NFLOG(77):web fw all - - - - - 500",
            "REJECT:NFLOG(77):sites fw all - - - - - 20000-21997",
        ]
    );
}

#[test]
fn both_families_have_the_same_rules() {
    let rules = |family| firewall_rules(&overlays(), &users(&[("root", 0), ("web", 500)]), family).unwrap();
    let (four, six) = (rules(Family::V4), rules(Family::V6));
    // Neighbour discovery is the one rule more.
    assert_eq!(four.lines().count() + 1, six.lines().count());
    for part in [
        "s/64:p443(16384,262144):25/sec:200 - - 100:64",
        "net:+casemate-admin6",
        "ACCEPT net:+casemate-proxy6 fw tcp 443",
        "net:[fd00:ec2::254],",
        "ipv6-icmp 128",
    ] {
        assert!(six.contains(part), "{six}");
    }
}

#[test]
fn proxies_are_uncounted_where_pages_are_and_nowhere_else() {
    let mail = WEB.replacen("port = 443", "port = 25", 1);
    let def = OverlayDef::parse("mail", &mail).unwrap();
    let overlay = LoadedOverlay { name: "mail".parse().unwrap(), def, templates: BTreeMap::new() };
    let overlays = OverlaySet::new(vec![overlay]).unwrap();
    let rules = firewall_rules(&overlays, &users(&[("root", 0), ("web", 500)]), Family::V6).unwrap();
    assert!(rules.contains("ACCEPT net:+casemate-admin6 fw tcp 25\n"), "{rules}");
    assert!(!rules.contains("casemate-proxy6"), "{rules}");
}

#[test]
fn a_user_without_an_account_is_named() {
    let error = firewall_rules(&overlays(), &users(&[("root", 0)]), Family::V4).unwrap_err();
    assert!(error.to_string().contains("`web`, which is no account of the image"), "{error}");
}

#[test]
fn the_port_table_has_rows_of_the_host_itself() {
    let table = PortTable::new(&overlays());
    assert!(table.to_text().ends_with("local tcp 25 sites web\n"), "{}", table.to_text());
    assert!(table.to_text().contains("egress tcp 80 metadata root web\n"), "{}", table.to_text());
    assert!(table.to_markdown().contains("| `sites` | 25/tcp | web |"), "{}", table.to_markdown());
}

#[test]
fn no_account_is_called_as_all_sites_are() {
    let def = OverlayDef::parse("web", "summary = \"web\"\n[users.sites]\nuid = 500\n").unwrap();
    let overlay = LoadedOverlay { name: "web".parse().unwrap(), def, templates: BTreeMap::new() };
    let refused = OverlaySet::new(vec![overlay]).unwrap_err().to_string();
    assert!(refused.contains("`sites` stands for the users of all sites"), "{refused}");
}

#[test]
fn metadata_is_no_place_to_listen_for() {
    let mistakes = OverlayDef::parse("web", &WEB.replace("zone = \"mgmt\"", "zone = \"metadata\"")).unwrap_err();
    assert!(mistakes.to_string().contains("`metadata`"), "{mistakes}");
}
