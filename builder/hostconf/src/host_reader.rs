//! Reads `host.toml`: the shape of each section, then the rules between them (`docs/formats/host-toml.md`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU64;

use crate::address::Network;
use crate::document::{Placed, Section, read};
use crate::domain_name::DomainName;
use crate::host::{
    Admin, CodeSource, Domain, HostConfig, NetworkSettings, Serial, Site, SiteContent, SiteKind, WordPress,
};
use crate::limits::read_limits;
use crate::mistake::Mistakes;
use crate::redirect::read_redirects;
use crate::relay::read_relay;
use crate::tls::read_tls;
use crate::update::read_update;
use crate::waf::read_waf;

/// TOML has signed 64-bit numbers.
const LARGEST_SERIAL: u64 = i64::MAX.unsigned_abs();

/// The keys of a site that only `WordPress` knows.
const WORDPRESS_KEYS: [&str; 6] = ["title", "admin_user", "admin_email", "locale", "code", "page_cache"];

/// The keys that every kind of site knows.
const SITE_KEYS: [&str; 10] =
    ["name", "kind", "aliases", "limits", "allow", "preview", "redirect", "ssh_keys", "waf", "waf_exclusion"];

/// A site with the places of its names, for the rules between sites.
struct PlacedSite {
    site: Site,
    names: Vec<Placed<DomainName>>,
    preview: Option<Placed<DomainName>>,
}

pub(crate) fn read_host(name: &str, text: &str) -> Result<HostConfig, Mistakes> {
    read(name, text, |root| {
        root.allow(&["schema", "serial", "host", "hostname", "admin", "network", "tls", "relay", "update", "domain"]);
        root.schema(1);
        let serial = root.integer("serial", 1..=LARGEST_SERIAL).and_then(NonZeroU64::new).map(Serial);
        let host = root.text("host");
        let hostname = root.text("hostname");
        let admin = root.section("admin").and_then(|section| read_admin(&section));
        let network = root.optional_section("network").map(|section| read_network(&section)).unwrap_or_default();
        let tls = root.optional_section("tls").and_then(|section| read_tls(&section)).unwrap_or_default();
        let relay = root.optional_section("relay").and_then(|section| read_relay(&section));
        let update = root.optional_section("update").and_then(|section| read_update(&section));
        let domains = read_domains(root);
        Some(HostConfig {
            serial: serial?,
            host: host?,
            hostname: hostname?,
            admin: admin?,
            network,
            tls,
            relay,
            update,
            domains,
        })
    })
}

fn read_admin(section: &Section<'_, '_>) -> Option<Admin> {
    section.allow(&["email", "ssh_keys", "networks"]);
    let email = section.text("email");
    let ssh_keys = section.some_texts("ssh_keys");
    let networks = section.some_texts("networks");
    let plain_keys = ssh_keys.into_iter().map(|placed| placed.value).collect();
    Some(Admin {
        email: email?,
        ssh_keys: plain_keys,
        networks: networks.into_iter().map(|placed| placed.value).collect(),
    })
}

fn read_network(section: &Section<'_, '_>) -> NetworkSettings {
    section.allow(&["address", "gateway", "dns", "interface", "trusted_proxies"]);
    let settings = NetworkSettings {
        address: section.plain_texts("address"),
        gateway: read_gateways(section),
        dns: read_addresses(section, "dns").into_iter().map(|placed| placed.value).collect(),
        interface: section.optional_text("interface"),
        trusted_proxies: read_proxies(section),
    };
    if settings.address.is_empty() && section.has("gateway") {
        section.note(
            section.spot_of("gateway"),
            "`gateway` needs an `address`: with DHCP the router comes from there".to_owned(),
        );
    }
    settings
}

/// Networks of proxies. Whoever trusts all addresses lets each visitor say who he is.
fn read_proxies(section: &Section<'_, '_>) -> Vec<Network> {
    let mut proxies = Vec::new();
    for Placed { value, spot } in section.texts::<Network>("trusted_proxies") {
        if value.prefix() == 0 {
            section.note(
                spot,
                format!("`trusted_proxies`: `{value}` is everybody: write the networks of the CDN or load balancer"),
            );
        }
        proxies.push(value);
    }
    proxies
}

/// Gateways, each of a family that an address has.
fn read_gateways(section: &Section<'_, '_>) -> Vec<IpAddr> {
    let given = section.texts::<crate::names::Line>("address");
    let mut gateways = Vec::new();
    for Placed { value, spot } in read_addresses(section, "gateway") {
        let family = |text: &str| text.contains(':') == value.is_ipv6();
        if !given.is_empty() && !given.iter().any(|address| family(address.value.as_str())) {
            section
                .note(spot, format!("gateway `{value}` has no `address` of its family: add one or remove the gateway"));
        }
        gateways.push(value);
    }
    gateways
}

fn read_addresses(section: &Section<'_, '_>, key: &str) -> Vec<Placed<IpAddr>> {
    let texts = section.texts::<crate::names::Line>(key);
    let mut addresses = Vec::new();
    for Placed { value, spot } in texts {
        match value.as_str().parse() {
            Ok(address) => addresses.push(Placed { value: address, spot }),
            Err(_) => section
                .note(spot, format!("`{key}`: `{value}` is not an address: write e.g. `192.0.2.1` or `2001:db8::1`")),
        }
    }
    addresses
}

fn read_domains(root: &Section<'_, '_>) -> Vec<Domain> {
    let mut read = Vec::new();
    for section in root.sections("domain") {
        section.allow(&["name", "site"]);
        let name = section.text::<DomainName>("name");
        let sites: Vec<PlacedSite> = section.sections("site").iter().filter_map(read_site).collect();
        read.extend(name.map(|name| (section, name, sites)));
    }
    check_names(&read);
    let plain = |sites: Vec<PlacedSite>| sites.into_iter().map(|placed| placed.site).collect();
    read.into_iter().map(|(_, name, sites)| Domain { name, sites: plain(sites) }).collect()
}

fn read_site(section: &Section<'_, '_>) -> Option<PlacedSite> {
    section.allow(&[&SITE_KEYS[..], &WORDPRESS_KEYS[..]].concat());
    let name = section.text::<DomainName>("name");
    let kind = section.text::<SiteKind>("kind");
    let aliases = section.texts::<DomainName>("aliases");
    let content = match kind {
        Some(SiteKind::Wordpress) => read_wordpress(section).map(SiteContent::WordPress),
        Some(SiteKind::Php) => Some(refuse_wordpress_keys(section, SiteContent::Php)),
        Some(SiteKind::Static) => Some(refuse_wordpress_keys(section, SiteContent::Static)),
        None => None,
    };
    let limits = read_limits(section.optional_section("limits").as_ref());
    let allow = section.plain_texts("allow");
    let preview = section.optional_text::<DomainName>("preview");
    let redirects = read_redirects(section);
    let ssh_keys = section.plain_texts("ssh_keys");
    let waf = read_waf(section);
    if kind == Some(SiteKind::Static) {
        for key in ["limits", "allow"].into_iter().filter(|key| section.has(key)) {
            section.note(
                section.spot_of(key),
                format!("`{key}` is for sites that run programs, this one is `static`: remove it"),
            );
        }
    }
    let name = name?;
    let mut names = vec![Placed { value: name.clone(), spot: section.spot_of("name") }];
    names.extend(aliases.iter().cloned());
    let aliases = aliases.into_iter().map(|placed| placed.value).collect();
    let placed_preview = preview.clone().map(|value| Placed { value, spot: section.spot_of("preview") });
    let site =
        Site { name, aliases, content: content?, limits: limits?, allow, preview, redirects, ssh_keys, waf: waf? };
    Some(PlacedSite { site, names, preview: placed_preview })
}

fn read_wordpress(section: &Section<'_, '_>) -> Option<WordPress> {
    let title = section.text("title");
    let admin_user = section.text("admin_user");
    let admin_email = section.text("admin_email");
    let locale = if section.has("locale") { section.text("locale") } else { "en_US".parse().ok() };
    let code = if section.has("code") { section.text("code") } else { Some(CodeSource::Locked) };
    let page_cache = !section.has("page_cache") || section.flag("page_cache");
    Some(WordPress {
        title: title?,
        admin_user: admin_user?,
        admin_email: admin_email?,
        locale: locale?,
        code: code?,
        page_cache,
    })
}

fn refuse_wordpress_keys(section: &Section<'_, '_>, content: SiteContent) -> SiteContent {
    for key in WORDPRESS_KEYS.into_iter().filter(|key| section.has(key)) {
        section.note(
            section.spot_of(key),
            format!("`{key}` is for sites of kind `wordpress`, this one is `{}`: remove it", content.kind()),
        );
    }
    content
}

/// Each domain once, each site name within its domain, each name and alias once and within some domain of the document.
fn check_names(domains: &[(Section<'_, '_>, DomainName, Vec<PlacedSite>)]) {
    let mut seen_domains: BTreeSet<&DomainName> = BTreeSet::new();
    let mut seen_names: BTreeSet<&DomainName> = BTreeSet::new();
    for (section, domain, sites) in domains {
        if !seen_domains.insert(domain) {
            section.note(
                section.spot_of("name"),
                format!("domain `{domain}` stands twice in the document: put all its sites into one `[[domain]]`"),
            );
        }
        for PlacedSite { site, names, preview } in sites {
            // It is for the time before the site's own domain leads here, so it may be in any domain.
            if let Some(Placed { value, spot }) = preview
                && !seen_names.insert(value)
            {
                section.note(*spot, format!("`{value}` is used twice: a preview name belongs to one site only"));
            }
            for (index, Placed { value, spot }) in names.iter().enumerate() {
                if !seen_names.insert(value) {
                    section
                        .note(*spot, format!("`{value}` is used twice: a name or alias may belong to one site only"));
                }
                let of_domain = value.is_within(domain);
                if index == 0 && !of_domain {
                    section.note(
                        *spot,
                        format!("site `{}` is not in its domain: name it `{domain}` or something below it", site.name),
                    );
                } else if !of_domain && !domains.iter().any(|(_, other, _)| value.is_within(other)) {
                    section.note(
                        *spot,
                        format!(
                            "alias `{value}` is in no domain of this document: add the `[[domain]]` or remove the alias"
                        ),
                    );
                }
            }
        }
    }
}
