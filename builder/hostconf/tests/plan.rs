//! From documents to the plan: accounts, links, rendered bytes, secrets and steps.

#![expect(clippy::unwrap_used, reason = "a test's own helpers may panic")]

use std::collections::BTreeMap;

use hostconf::{
    Assignments, DomainName, HostConfig, LoadedOverlay, OverlayDef, OverlaySet, PlanErrors, PortTable, RenderPlan,
    SealedImage, SiteAccount, account_tables, jails, links, plan, state_tmpfiles, trial,
};

/// A `WordPress` and a static site.
fn host() -> HostConfig {
    let wordpress = "kind = \"wordpress\"\naliases = [\"example.org\"]\ntitle = \"Example\"\nadmin_user = \"editor\"\nadmin_email = \"editor@example.org\"";
    let text = hostconf::SMALL_HOST.replace("kind = \"static\"", wordpress)
        + "[[domain.site]]\nname = \"files.example.org\"\nkind = \"static\"\n";
    HostConfig::parse("host.toml", &text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

const WEB: &str = r#"
summary = "web"
needs = ["base"]
[users.web]
uid = 500
groups = ["adm", "keys"]
[groups.keys]
gid = 501
[[listen]]
port = 443
proto = "tcp"
zone = "net"
unit = "web.service"
[[listen]]
port = 80
proto = "tcp"
zone = "mgmt"
unit = "web.service"
[[egress]]
user = "web"
proto = "udp"
port = 53
zone = "net"
[[state]]
path = "/var/lib/web/db"
owner = "web"
mode = "0700"
class = "db"
nocow = true
[[state]]
path = "/var/lib/web"
owner = "root"
group = "keys"
mode = "0755"
class = "data"
[[state]]
path = "/var/lib/casemate/sites/{{ site.id }}/htdocs"
for = "site"
owner = "{{ site.user }}"
mode = "2750"
class = "code"
[[secret]]
kind = "random-hex"
path = "/var/lib/casemate/keys/{{ site.id }}"
for = "site"
kinds = ["wordpress"]
owner = "{{ site.php_user }}"
[[secret]]
kind = "tls-self-signed"
path = "{{ site.tls_key }}"
certificate = "{{ site.tls_certificate }}"
for = "site"
[[secret]]
kind = "tls-self-signed"
path = "/var/lib/casemate/keys/tls/host.key"
certificate = "/var/lib/casemate/keys/tls/host.crt"
names = ["{{ host.hostname }}"]
[[render]]
template = "main.j2"
to = "/etc/web/main.conf"
[[render]]
template = "site.j2"
to = "/etc/web/sites/{{ site.id }}.conf"
for = "site"
mode = "0400"
owner = "{{ site.php_user }}"
[[render]]
template = "main.j2"
to = "/etc/web/sites/000.conf"
[[setup]]
name = "install"
exec = ["/usr/bin/install-site", "{{ site.name }}"]
for = "site"
kinds = ["wordpress"]
user = "{{ site.php_user }}"
env = { TITLE = "{{ site.title }}" }
after = ["db.service"]
[[health]]
name = "front"
https = { path = "/", expect = "hello" }
kinds = ["wordpress"]
"#;

fn overlay(name: &str, text: &str, templates: &[(&str, &str)]) -> LoadedOverlay {
    let def = OverlayDef::parse(name, text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let templates: BTreeMap<_, _> =
        templates.iter().map(|(name, text)| (name.parse().unwrap(), (*text).to_owned())).collect();
    LoadedOverlay { name: name.parse().unwrap(), def, templates }
}

fn overlays(main: &str, site: &str) -> OverlaySet {
    let base = overlay("base", "summary = \"base\"", &[]);
    OverlaySet::new(vec![base, overlay("web", WEB, &[("main.j2", main), ("site.j2", site)])]).unwrap()
}

fn plan_with(main: &str, site: &str) -> Result<RenderPlan, PlanErrors> {
    let host = host();
    let image = SealedImage::parse(
        "image.toml",
        "schema = 1\nname = \"t\"\nversion = \"1\"\noverlays = [\"base\", \"web\"]\nsites = 5\n",
    )
    .unwrap();
    let assignments = Assignments::default().assign(host.sites().map(|site| &site.name), image.sites).unwrap();
    plan(&host, &assignments, &overlays(main, site), &image)
}

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

#[test]
fn renders_the_host_once_and_each_site() {
    let plan = plan_with(
        "{% for site in sites %}\nuse {{ site.id }}\n{% endfor %}\n{{ image.version }}\n",
        "{{ site.name }} {{ site.docroot }}\n",
    )
    .unwrap();
    let files: Vec<_> = plan
        .files
        .iter()
        .map(|file| format!("{} {} {} {}", file.path, file.mode, file.owner, String::from_utf8_lossy(&file.bytes)))
        .collect();
    assert_eq!(
        files,
        [
            "/run/casemate/etc/web/main.conf 0644 root use site001\nuse site002\n1\n",
            "/run/casemate/etc/web/sites/000.conf 0644 root use site001\nuse site002\n1\n",
            "/run/casemate/etc/web/sites/site001.conf 0400 site001-php www.example.org /var/lib/casemate/sites/site001/htdocs\n",
            "/run/casemate/etc/web/sites/site002.conf 0400 site002-php files.example.org /var/lib/casemate/sites/site002/htdocs\n",
        ]
    );
    assert_eq!(plan.directories.iter().map(ToString::to_string).collect::<Vec<_>>(), ["/run/casemate/etc/web/sites"]);
}

#[test]
fn secrets_setups_and_probes_stand_for_the_kinds_of_site_they_name() {
    let plan = plan_with("", "").unwrap();
    let secrets: Vec<_> =
        plan.secrets.iter().map(|secret| format!("{} {} {:?}", secret.path, secret.owner, secret.material)).collect();
    assert_eq!(secrets.len(), 4);
    assert_eq!(secrets[0], "/var/lib/casemate/keys/site001 site001-php RandomHex");
    assert!(
        secrets[1].contains("site001.crt")
            && secrets[1].contains("\"www.example.org\"")
            && secrets[1].contains("\"example.org\""),
        "{}",
        secrets[1]
    );
    assert!(secrets[3].contains("\"web1.example.org\""), "{}", secrets[3]);
    let [step] = plan.setups.as_slice() else { panic!("one WordPress, one step: {:?}", plan.setups) };
    assert_eq!(
        step.exec.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["/usr/bin/install-site", "www.example.org"]
    );
    assert_eq!((step.user.as_str(), step.timeout_seconds, step.env.len()), ("site001-php", 120, 1));
    assert_eq!(plan.probes.iter().map(|probe| probe.site.clone()).collect::<Vec<_>>(), [Some(name("www.example.org"))]);
    assert_eq!(plan.state.len(), 2);
}

#[test]
fn the_same_documents_give_the_same_plan() {
    let template = "{{ host.admin.networks }} {% for site in sites %}{{ site.name }}{% endfor %}";
    assert_eq!(plan_with(template, template).unwrap(), plan_with(template, template).unwrap());
}

#[test]
fn errors_name_overlay_template_site_and_line() {
    let errors = plan_with("ok\n{{ host.nothing }}\n", "a\nb\n{{ site.title }}\n").unwrap_err().to_string();
    let expected = "\
overlay `web`, template `main.j2`: line 2: undefined value; see `What templates see` in docs/formats/overlay-toml.md
overlay `web`, template `site.j2` for site `files.example.org`: line 3: undefined value; see `What templates see` in docs/formats/overlay-toml.md
overlay `web`, template `main.j2`: line 2: undefined value; see `What templates see` in docs/formats/overlay-toml.md";
    assert_eq!(errors, expected);
}

#[test]
fn the_builder_finds_wrong_names_without_a_host() {
    assert!(trial(&overlays("", "{{ site.id }}")).is_ok());
    assert!(trial(&overlays("", "{{ site.title }}")).is_err(), "static sites have no title");
}

#[test]
fn links_are_files_for_the_host_and_directories_for_sites() {
    let links: Vec<_> =
        links(&overlays("", "")).into_iter().map(|link| format!("{} -> {}", link.path, link.target)).collect();
    assert_eq!(
        links,
        ["/etc/web/main.conf -> /run/casemate/etc/web/main.conf", "/etc/web/sites -> /run/casemate/etc/web/sites"]
    );
}

#[test]
fn state_of_the_host_becomes_tmpfiles_lines_with_parents_first() {
    let expected = "# Derived from [[state]] of the overlays.\nd /var/lib/web 0755 root keys -\nd /var/lib/web/db 0700 web web -\nh /var/lib/web/db - - - - +C\n";
    assert_eq!(state_tmpfiles(&overlays("", "")), expected);
}

#[test]
fn ports_are_listed_for_people_and_for_the_audit() {
    let table = PortTable::new(&overlays("", ""));
    assert_eq!(
        table.to_text(),
        "listen tcp 80 mgmt web.service web\nlisten tcp 443 net web.service web\negress udp 53 net web web\n"
    );
    assert!(table.to_markdown().contains("| 443/tcp | everybody | `web.service` | web |"), "{}", table.to_markdown());
}

#[test]
fn account_lines_hold_fixed_users_then_the_pool() {
    let tables = account_tables(&overlays("", ""), 2);
    assert_eq!(
        tables.passwd,
        "web:x:500:500:overlay web:/nonexistent:/usr/sbin/nologin\n\
         site001:x:20000:20000:site 1:/var/lib/casemate/sites/site001:/usr/sbin/nologin\n\
         site001-php:x:20001:20001:PHP of site 1:/nonexistent:/usr/sbin/nologin\n\
         site002:x:20002:20002:site 2:/var/lib/casemate/sites/site002:/usr/sbin/nologin\n\
         site002-php:x:20003:20003:PHP of site 2:/nonexistent:/usr/sbin/nologin\n"
    );
    assert_eq!(
        tables.group,
        "web:x:500:\nkeys:x:501:web\nsite001:x:20000:site001-php,www-data\nsite001-php:x:20001:\nsite002:x:20002:site002-php,www-data\nsite002-php:x:20003:\n"
    );
    assert!(tables.shadow.starts_with("web:*:::::::\nsite001:*:::::::\n"));
    let [membership] = tables.memberships.as_slice() else { panic!("{:?}", tables.memberships) };
    assert_eq!((membership.group.as_str(), membership.user.as_str()), ("adm", "web"));
}

#[test]
fn an_account_is_never_given_to_a_second_site() {
    let first = Assignments::default().assign(&[name("a.org"), name("b.org")], 3).unwrap();
    let second = first.assign(&[name("c.org"), name("b.org")], 3).unwrap();
    assert_eq!(second.account(&name("a.org")), SiteAccount::new(1));
    assert_eq!(second.account(&name("b.org")), SiteAccount::new(2));
    assert_eq!(second.account(&name("c.org")), SiteAccount::new(3));
    let full = second.assign(&[name("d.org")], 3).unwrap_err().to_string();
    assert!(full.starts_with("no account is left for site `d.org`: all 3"), "{full}");
    assert_eq!(Assignments::parse("sites.toml", &second.to_toml()).unwrap(), second);
}

#[test]
fn an_account_assigned_twice_is_refused() {
    let text = "schema = 1\n[site]\n\"a.org\" = 1\n\"b.org\" = 1\n";
    let mistakes = Assignments::parse("sites.toml", text).unwrap_err().to_string();
    assert!(mistakes.contains("account site001 is assigned twice"), "{mistakes}");
}

#[test]
fn overlays_that_get_into_each_others_way_are_refused() {
    let one = overlay(
        "one",
        "summary = \"x\"\nneeds = [\"none\"]\n[users.u]\nuid = 300\n[[listen]]\nport = 1\nproto = \"tcp\"\nzone = \"net\"\nunit = \"x.service\"\n[[provided]]\npackage = \"initrd\"\nreason = \"x\"\n",
        &[],
    );
    let two = overlay(
        "two",
        "summary = \"x\"\npackages = [\"initrd\"]\n[groups.g]\ngid = 300\n[[listen]]\nport = 1\nproto = \"tcp\"\nzone = \"net\"\nunit = \"y.service\"\n[[render]]\ntemplate = \"t\"\nto = \"/etc/t\"\n[[provided]]\npackage = \"initrd\"\nreason = \"x\"\n",
        &[],
    );
    let conflicts = OverlaySet::new(vec![one, two]).unwrap_err().to_string();
    let expected = "\
overlay `one`: needs overlay `none`, which is not in the image: add it to `overlays` in image.toml
overlay `two`: number 300 is already claimed by overlay `one`: change one of them
overlay `two`: port 1/tcp is already claimed by overlay `one`: change one of them
overlay `two`: provided package `initrd` is already claimed by overlay `one`: change one of them
overlay `two`: asks for package `initrd` and provides it: leave one of them out
overlay `two`: template `t` is missing: put it beside overlay.toml";
    assert_eq!(conflicts, expected);
}

#[test]
fn a_sealed_image_reads_what_it_writes() {
    let text = "schema = 1\nname = \"webhost\"\nversion = \"0.1.0\"\noverlays = [\"base\", \"ssh\"]\nsites = 50\ndevelopment = true\n";
    assert_eq!(SealedImage::parse("image.toml", text).unwrap().to_toml(), text);
}

#[test]
fn jails_become_sections_for_fail2ban() {
    let ban = "summary = \"x\"\n[[jail]]\nname = \"login\"\nfilter = \"casemate-login\"\njournal = \"SYSLOG_IDENTIFIER=apache2-access\"\nretry = 6\nfind_minutes = 10\nban_minutes = 60\n";
    let overlays = OverlaySet::new(vec![overlay("web", ban, &[])]).unwrap();
    let expected = "# Derived from [[jail]] of the overlays.\n\n[login]\nenabled = true\nfilter = casemate-login\njournalmatch = SYSLOG_IDENTIFIER=apache2-access\nmaxretry = 6\nfindtime = 10m\nbantime = 60m\n";
    assert_eq!(jails(&overlays), expected);
}

#[test]
fn a_document_that_counts_on_an_authority_wants_an_image_that_asks_one() {
    let text = hostconf::SMALL_HOST.replace("[[domain]]\n", "[tls]\nmode = \"acme\"\n[[domain]]\n");
    let host = HostConfig::parse("host.toml", &text).unwrap();
    let image =
        SealedImage::parse("image.toml", "schema = 1\nname = \"t\"\nversion = \"1\"\noverlays = []\nsites = 5\n");
    let assignments = Assignments::default().assign(host.sites().map(|site| &site.name), 5).unwrap();
    let plan_of = |names: &[&str]| {
        let overlays = names.iter().map(|name| overlay(name, "summary = \"x\"", &[])).collect();
        plan(&host, &assignments, &OverlaySet::new(overlays).unwrap(), image.as_ref().unwrap())
    };
    assert!(plan_of(&["apache", "tls"]).is_ok());
    let said = plan_of(&["apache"]).unwrap_err().to_string();
    assert!(said.contains("needs the overlay `tls`"), "{said}");
    assert!(trial(&OverlaySet::new(vec![overlay("apache", "summary = \"x\"", &[])]).unwrap()).is_ok());
}
