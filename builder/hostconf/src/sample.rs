//! A host that does not exist: it has everything a document can say, so that templates can be tried where no host is at hand.

use minijinja::Value;

use crate::accounts::SiteAccount;
use crate::context::{SiteFacts, host_context, site_context};
use crate::host::HostConfig;
use crate::mistake::Mistakes;
use crate::sealed::SealedImage;

/// One site of each kind; addresses and names are those for documentation (RFC 5737, RFC 3849, RFC 2606).
const HOST: &str = r#"schema = 1
serial = 1
host = "any"
hostname = "sample.example.org"
[admin]
email = "ops@example.org"
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER sample"]
networks = ["192.0.2.0/24", "2001:db8::/48"]
[network]
address = ["198.51.100.7/24", "2001:db8:1::7/64"]
gateway = ["198.51.100.1", "fe80::1"]
dns = ["198.51.100.53"]
interface = "en*"
trusted_proxies = ["198.51.100.0/24", "2001:db8:5::/48"]
[tls]
mode = "acme"
[relay]
host = "smtp.example.net"
[update]
repository = "https://updates.example.net/casemate"
[[domain]]
name = "example.org"
[[domain.site]]
name = "www.example.org"
kind = "wordpress"
aliases = ["example.org"]
title = "Sample"
admin_user = "editor"
admin_email = "editor@example.org"
code = "managed"
preview = "www.sample.example.org"
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER owner"]
[[domain.site.redirect]]
from = "/old"
to = "/new"
[[domain.site.waf_exclusion]]
rule = "942100"
path = "/shop/"
argument = "search"
[[domain.site.waf_exclusion]]
rule = "941100-941199"
[[domain.site.waf_exclusion]]
rule = "942200"
argument = "text"
[[domain.site]]
name = "php.example.org"
kind = "php"
[[domain.site]]
name = "static.example.org"
kind = "static"
"#;

/// The smallest host with a site, line by line what tests count on: they change it by `replace`.
#[cfg(any(test, feature = "sample"))]
pub const SMALL_HOST: &str = r#"schema = 1
serial = 1
host = "any"
hostname = "web1.example.org"
[admin]
email = "ops@example.org"
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER ops"]
networks = ["192.0.2.0/24"]
[[domain]]
name = "example.org"
[[domain.site]]
name = "www.example.org"
kind = "static"
"#;

/// The image that the sample host runs.
const IMAGE: &str =
    "schema = 1\nname = \"sample\"\nversion = \"1.0.0\"\noverlays = []\nsites = 10\ndevelopment = true\n";

/// The sample host and its image.
pub(crate) fn sample_host() -> Result<(HostConfig, SealedImage), Mistakes> {
    Ok((HostConfig::parse("sample host.toml", HOST)?, SealedImage::parse("sample image.toml", IMAGE)?))
}

/// The contexts of the sample host and of its first site.
pub(crate) fn sample_contexts() -> Result<(Value, Value), Mistakes> {
    let (host, image) = sample_host()?;
    let sites: Vec<SiteFacts> =
        host.sites().zip(SiteAccount::pool(image.sites)).map(|(site, account)| SiteFacts::new(site, account)).collect();
    let base = host_context(&host, &image, &sites);
    let site = sites.first().map(|site| site_context(&base, site)).unwrap_or_default();
    Ok((base, site))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_a_valid_host_with_each_kind_of_site() {
        let (host, _) = sample_host().unwrap();
        let kinds: Vec<_> = host.sites().map(|site| site.content.kind()).collect();
        assert_eq!(kinds, crate::host::SiteKind::ALL);
    }
}
