//! What is pinned in the image beside its packages. Plugins and themes: a site has them as if they lay in its own folders, nobody can change
//! them, and an image without them leaves nothing of them behind. A rule set: it is in the place of Debian's.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bundle::Sha256Digest;
use fs_err as fs;
use serde::Deserialize;
use tools::{ResultExt as _, Tool};
use vm::Container;
use vm::guest::Client;
use zip::write::SimpleFileOptions;

use crate::artifacts::{Artifacts, Image};
use crate::container_host::{ContainerHost, put_file, shell};
use crate::host::PATIENCE;
use crate::operator::{Facts, Operator};

const SITE: &str = "www.example.org";
const MACHINE_ID: &str = "9119911991199119911991199119911f";
const CONTENT: &str = "/var/lib/casemate/sites/site001/htdocs/wp-content";
/// What the second plugin adds to the login.
const GUARDED: &str = "X-Guards-Login: Loginizer";
const PROBE: &str = include_str!("pinned.php");

/// A package as its authors have it: one folder.
struct Package {
    name: &'static str,
    kind: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const PACKAGES: [Package; 4] = [
    Package {
        name: "sucuri-scanner",
        kind: "wordpress/plugins",
        files: &[
            (
                "sucuri.php",
                "<?php /* Plugin Name: Sucuri Security */\nrequire __DIR__ . '/src/hooks.php';\n\
                 register_activation_hook(__FILE__, fn () => update_option('pinned_activated', plugin_basename(__FILE__)));\n",
            ),
            (
                "src/hooks.php",
                "<?php add_action('wp_head', fn () => print('<link href=\"' . esc_url(plugins_url('inc/style.css', __DIR__)) . '\">'));\n",
            ),
            ("inc/style.css", "/* of a pinned plugin */\n"),
        ],
    },
    Package {
        name: "loginizer",
        kind: "wordpress/plugins",
        files: &[(
            "loginizer.php",
            "<?php /* Plugin Name: Loginizer */\nadd_action('login_init', fn () => header('X-Guards-Login: Loginizer'));\n",
        )],
    },
    Package {
        name: "pinned-theme",
        kind: "wordpress/themes",
        files: &[
            ("style.css", "/* Theme Name: Pinned */\n"),
            ("index.php", "<?php wp_head(); echo '<link href=\"', get_stylesheet_uri(), '\">';\n"),
        ],
    },
    Package {
        name: "crs",
        kind: "waf",
        files: &[(
            "rules/REQUEST-942-OF-THE-ASSET.conf",
            "SecRule ARGS:sign \"@streq of-the-asset\" \"id:942999,phase:2,deny,status:403,log,t:none,msg:'A rule of the asset'\"\n",
        )],
    },
];
/// What Debian's rule set refuses, and what the asset's does.
const SQL: &str = "/?id=1%27%20OR%20%271%27=%271";
const SIGN: &str = "/?sign=of-the-asset";

/// What the probe finds.
#[derive(Debug, Deserialize)]
struct Found {
    plugins: Vec<String>,
    activated: Option<String>,
    writes: bool,
}

pub(crate) fn are_part_of_the_image(artifacts: &Artifacts, dir: &Path) -> Result<()> {
    let operator = Operator::new(artifacts, dir, "operator")?;
    let facts = Facts { hostname: "pinned.example.org", serial: 1, wordpress: Some("Pinned") };
    let document = fs::read_to_string(operator.document(dir, &facts)?)?;
    let output = dir.join("out");
    let definition = define(artifacts, dir)?;
    artifacts.casemate(&["build", &definition.to_string_lossy(), "--output", &output.to_string_lossy()], 0)?;
    let mut host = ContainerHost::of(artifacts, &output.join("root.erofs"), dir, &document, MACHINE_ID)?;
    let client = host.client();

    let (mut container, _, _) = host.boot()?;
    // A file of the owner that does what an administrator does in wp-admin.
    put_file(&container, &format!("{CONTENT}/plugins/probe.php"), PROBE)?;
    is_there(&client)?;
    measures_by(&client, SIGN, SQL)?;
    cannot_be_changed(&container, &client)?;
    owner_comes_first(&container, &client)?;
    ensure!(container.power_off(PATIENCE)? == 0, "the container does not end in good order");
    drop(container);

    host.give_root(&artifacts.image(Image::Webhost).join("root.erofs"))?;
    let (container, _, _) = host.boot()?;
    leaves_nothing(&container, &client)?;
    measures_by(&client, SQL, SIGN)
}

/// The image `webhost` with the packages pinned, as the documentation says it.
fn define(artifacts: &Artifacts, dir: &Path) -> Result<PathBuf> {
    let image = dir.join("image");
    fs::create_dir_all(&image)?;
    let mut text = fs::read_to_string(artifacts.definition(Image::Webhost).join("image.toml"))?;
    for package in &PACKAGES {
        let (name, kind, bytes) = (package.name, package.kind, archive(package)?);
        let sha256 = Sha256Digest::of(&bytes);
        fs::write(image.join(format!("{name}.zip")), bytes)?;
        text += &format!(
            "\n[[asset]]\nname = \"{name}\"\nfile = \"{name}.zip\"\nsha256 = \"{sha256}\"\nsize = \"1M\"\nunpack = \"zip\"\n\
             into = \"{}\"\nstrip = 1\nlicence = \"GPL-2.0-or-later\"\n",
            Path::new("/usr/share/casemate").join(kind).join(name).display()
        );
    }
    fs::write(image.join("image.toml"), text)?;
    let example = "host.example.toml";
    fs::copy(artifacts.definition(Image::Webhost).join(example), image.join(example))?;
    Ok(image)
}

/// The WAF refuses the one and knows nothing of the other.
fn measures_by(client: &Client, refused: &str, unknown: &str) -> Result<()> {
    for (path, wanted) in [(refused, 403), (unknown, 200)] {
        let status = client.https_unverified(SITE, path)?.status;
        ensure!(status == wanted, "`{path}` is answered with {status}, not {wanted}");
    }
    Ok(())
}

fn archive(package: &Package) -> Result<Vec<u8>> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (path, content) in package.files {
        writer.start_file(format!("{}/{path}", package.name), SimpleFileOptions::default())?;
        writer.write_all(content.as_bytes())?;
    }
    Ok(writer.finish()?.into_inner())
}

fn probe(client: &Client, query: &str) -> Result<Found> {
    let answer = client.https_unverified(SITE, &format!("/wp-content/plugins/probe.php{query}"))?;
    ensure!(answer.status == 200, "the probe answers {}{}", answer.head, answer.body);
    serde_json::from_str(&answer.body).with_context(|| format!("the probe says {}", answer.body))
}

/// Listed, activated by its own hook, run, and with its pictures and styles.
fn is_there(client: &Client) -> Result<()> {
    let found = probe(client, "")?;
    for plugin in ["sucuri-scanner/sucuri.php", "loginizer/loginizer.php"] {
        ensure!(found.plugins.iter().any(|name| name == plugin), "WordPress does not list `{plugin}`: {found:?}");
    }
    let found = probe(client, "?do=activate")?;
    ensure!(
        found.activated.as_deref() == Some("sucuri-scanner/sucuri.php"),
        "the plugin's hook has not run: {found:?}"
    );
    let front = client.https_unverified(SITE, "/")?;
    for (path, content) in [
        ("/wp-content/plugins/sucuri-scanner/inc/style.css", "of a pinned plugin"),
        ("/wp-content/themes/pinned-theme/style.css", "Theme Name: Pinned"),
    ] {
        ensure!(
            front.status == 200 && front.body.contains(&format!("https://{SITE}{path}")),
            "the front page does not ask for `{path}`: {}{}",
            front.head,
            front.body
        );
        let file = client.https_unverified(SITE, path)?;
        ensure!(file.status == 200 && file.body.contains(content), "`{path}` answers {}{}", file.head, file.body);
    }
    for path in ["/wp-content/plugins/sucuri-scanner/", "/wp-content/plugins/sucuri-scanner/none.css"] {
        let answer = client.https_unverified(SITE, path)?;
        ensure!([403, 404].contains(&answer.status), "`{path}` answers {}", answer.head);
    }
    let login = client.https_unverified(SITE, "/wp-login.php")?;
    ensure!(login.head.contains(GUARDED), "the login does not ask the pinned plugin: {}", login.head);
    Ok(())
}

fn cannot_be_changed(container: &Container, client: &Client) -> Result<()> {
    ensure!(!probe(client, "")?.writes, "PHP of the site writes into a pinned plugin");
    let write = format!(
        "setpriv --reuid=site001 --regid=site001 --clear-groups sh -c 'echo x >> {CONTENT}/plugins/loginizer/loginizer.php' 2>&1"
    );
    let said = container.exec(&Tool::new("sh").args(["-c", &write]).accept(&[1, 2])).remedied()?.stdout_text();
    ensure!(said.contains("Read-only file system") || said.contains("Permission denied"), "the owner says {said}");
    Ok(())
}

/// What the owner has under the name of a pinned plugin counts, for PHP and for browsers.
fn owner_comes_first(container: &Container, client: &Client) -> Result<()> {
    let style = "/wp-content/plugins/sucuri-scanner/inc/style.css";
    shell(container, &format!("rm {CONTENT}/plugins/sucuri-scanner && mkdir {CONTENT}/plugins/sucuri-scanner"))?;
    put_file(container, &format!("{CONTENT}/plugins/sucuri-scanner/inc/style.css"), "/* of the owner */")?;
    let shown = client.https_unverified(SITE, style)?;
    ensure!(shown.status == 200 && shown.body == "/* of the owner */", "not the owner's style but {}", shown.body);
    shell(container, &format!("rm -r {CONTENT}/plugins/sucuri-scanner"))?;
    let gone = client.https_unverified(SITE, style)?;
    ensure!(gone.status == 404, "a plugin whose link is gone answers {}{}", gone.head, gone.body);
    Ok(())
}

/// The links are gone with the packages; what the owner has stays, and the site answers.
fn leaves_nothing(container: &Container, client: &Client) -> Result<()> {
    let links = format!("find {CONTENT} -type l -printf '%p\\n'; ls {CONTENT}/plugins");
    let left = shell(container, &links)?;
    ensure!(left == "probe.php\n", "an image without the packages leaves {left}");
    let login = client.https_unverified(SITE, "/wp-login.php")?;
    ensure!(login.status == 200 && !login.head.contains(GUARDED), "the login answers {}", login.head);
    let front = client.https_unverified(SITE, "/")?;
    ensure!(
        front.status == 200 && front.body.contains("<title>Pinned"),
        "without its theme the front page is {}{}",
        front.head,
        front.body
    );
    Ok(())
}
