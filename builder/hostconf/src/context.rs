//! What templates see: `host`, `sites`, `site`, `image` and `paths` (`docs/formats/overlay-toml.md`, "What templates see").
//!
//! The template language is minijinja; an undefined name is an error, blocks on lines of their own leave no blank line.

use std::net::Ipv4Addr;

use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde::Serialize;

use crate::accounts::SiteAccount;
use crate::allowed_name::{AllowedName, OF_WORDPRESS, least};
use crate::host::{HostConfig, Site, SiteContent, SiteKind, WordPress};
use crate::limits::Limits;
use crate::redirect::Redirect;
use crate::sealed::SealedImage;
use crate::ssh_key::SshPublicKey;
use crate::waf::Waf;

/// Where rendered files are.
pub(crate) const RUN: &str = "/run/casemate";

/// Where state of the host itself is.
const STATE: &str = "/var/lib/casemate";

/// What templates see of a site.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SiteFacts {
    id: String,
    user: String,
    php_user: String,
    uid: u32,
    php_uid: u32,
    database: String,
    home: String,
    docroot: String,
    kind: SiteKind,
    name: String,
    aliases: Vec<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    wordpress: Option<WordPress>,
    limits: Limits,
    proxy: Ipv4Addr,
    preview: Option<String>,
    redirects: Vec<Redirect>,
    ssh_keys: Vec<SshPublicKey>,
    reachable: Vec<AllowedName>,
    waf: Waf,
    tls_key: String,
    tls_certificate: String,
}

impl SiteFacts {
    pub(crate) fn new(site: &Site, account: SiteAccount) -> Self {
        let wordpress = match &site.content {
            SiteContent::WordPress(settings) => Some(settings.clone()),
            SiteContent::Php | SiteContent::Static => None,
        };
        Self {
            id: account.id(),
            user: account.id(),
            php_user: account.php_user(),
            uid: account.uid(),
            php_uid: account.php_uid(),
            database: account.id(),
            home: account.home(),
            docroot: account.docroot(),
            kind: site.content.kind(),
            name: site.name.to_string(),
            aliases: site.aliases.iter().map(ToString::to_string).collect(),
            wordpress,
            limits: site.limits.clone(),
            proxy: account.proxy(),
            preview: site.preview.as_ref().map(ToString::to_string),
            redirects: site.redirects.clone(),
            ssh_keys: site.ssh_keys.clone(),
            reachable: reachable(site),
            waf: site.waf.clone(),
            tls_key: format!("{STATE}/keys/tls/{}.key", account.id()),
            tls_certificate: format!("{STATE}/keys/tls/{}.crt", account.id()),
        }
    }
}

/// Every name that the site's PHP may connect to: itself, what its kind needs, what the document allows.
fn reachable(site: &Site) -> Vec<AllowedName> {
    let own = std::iter::once(&site.name).chain(&site.aliases).chain(&site.preview).map(AllowedName::host);
    let of_kind = OF_WORDPRESS.iter().filter(|_| site.content.kind() == SiteKind::Wordpress);
    least(own.chain(of_kind.filter_map(|name| name.parse().ok())).chain(site.allow.iter().cloned()))
}

/// The context without a site.
pub(crate) fn host_context(host: &HostConfig, image: &SealedImage, sites: &[SiteFacts]) -> Value {
    let paths = context! { etc => format!("{RUN}/etc"), state => STATE };
    context! { host, image, sites, paths }
}

/// The context of one site.
pub(crate) fn site_context(base: &Value, site: &SiteFacts) -> Value {
    context! { site, ..base.clone() }
}

/// The one environment in which all templates are rendered.
pub(crate) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_keep_trailing_newline(true);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment
}

/// Renders a template in a context. The error is one line without the template's name.
pub(crate) fn expand(template: &str, context: &Value) -> Result<String, String> {
    environment().render_str(template, context).map_err(|error| error_text(&error))
}

/// Checks that a template can be read at all.
pub(crate) fn check_syntax(template: &str) -> Result<(), String> {
    environment().template_from_str(template).map(drop).map_err(|error| error_text(&error))
}

/// `line 3: undefined value: ...`, with the causes that minijinja keeps behind the error.
fn error_text(error: &minijinja::Error) -> String {
    let place = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let hint = if error.kind() == minijinja::ErrorKind::UndefinedError {
        "; see `What templates see` in docs/formats/overlay-toml.md"
    } else {
        ""
    };
    format!("{place}{}{detail}{hint}", error.kind())
}
