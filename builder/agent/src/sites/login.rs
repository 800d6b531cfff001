//! A link with which an administrator of the host logs in to a `WordPress`: good for some minutes and for one time.
//!
//! The link holds account, end and a random number, signed with the site's own secret; the must-use plugin checks it and remembers the
//! number. Nothing is written on the host, and nobody who cannot read the site's secret can make one.

use std::fs;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use anyhow::Result;
use hmac::Hmac;
use hmac::Mac as _;
use hostconf::AdminUser;
use sha2::Sha256;

use super::Site;
use crate::host::Host;

/// Seconds for which a link is good.
const GOOD_FOR: u64 = 600;

/// Makes a link for the account `user`, or for the one of `host.toml`.
pub fn link(host: Host<'_>, site: &Site, user: Option<&AdminUser>) -> Result<String> {
    let settings = site.present()?.wordpress()?;
    let user = user.unwrap_or(&settings.admin_user);
    let path = host.paths.keys().join("wordpress").join(site.account.id());
    let secret = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let nonce = hex::encode((host.random)().context("no random bytes from the kernel")?);
    let until = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + GOOD_FOR;
    let token = sign(secret.trim(), user.as_str(), until, &nonce)?;
    // Until its own name leads here, that name is somebody else's, who would read the link in a log.
    let name = site.settings.as_ref().and_then(|settings| settings.preview.as_ref()).unwrap_or(&site.name);
    Ok(format!("https://{name}/?casemate-login={token}"))
}

/// `<account in hex>.<end>.<number>.<signature>`.
fn sign(secret: &str, user: &str, until: u64, nonce: &str) -> Result<String> {
    let message = format!("{}.{until}.{nonce}", hex::encode(user));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    // What is signed with the secret elsewhere begins otherwise.
    mac.update(b"casemate-login:");
    mac.update(message.as_bytes());
    Ok(format!("{message}.{}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sites::tests::sites;
    use crate::testing::Tree;

    #[test]
    fn the_link_names_account_and_end_and_is_signed_with_the_sites_secret() {
        let (tree, sites) = (Tree::new(), sites());
        tree.put("/var/lib/casemate/keys/wordpress/site002", "secret\n");
        let link = link(tree.host(), sites.find("blog.example.org").unwrap(), None).unwrap();
        let token = link.strip_prefix("https://blog.example.org/?casemate-login=").unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!((parts[0], parts[2].len(), parts[3].len()), (hex::encode("editor").as_str(), 64, 64));
        let until: u64 = parts[1].parse().unwrap();
        assert_eq!(sign("secret", "editor", until, parts[2]).unwrap(), token);
        assert_ne!(sign("other", "editor", until, parts[2]).unwrap(), token);
    }

    #[test]
    fn sites_without_wordpress_have_no_link() {
        let (tree, sites) = (Tree::new(), sites());
        assert!(link(tree.host(), sites.find("www.example.org").unwrap(), None).is_err());
        assert!(link(tree.host(), sites.find("old.example.org").unwrap(), None).is_err());
    }
}
