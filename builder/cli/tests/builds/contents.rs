//! Assets get into the image and onto its papers; `casemate diff` says what they changed, and finds equal builds equal.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use bundle::Sha256Digest;
use fs_err as fs;
use serde_json::Value;

use crate::bench::{Bench, casemate, said};

/// The asset from a file.
const RULES: &[u8] = b"SecRuleEngine On\n";

pub(crate) fn equal_builds_do_not_differ(bench: &Bench) -> Result<()> {
    let again = bench.dir().join("again");
    bench.build(&again, &[])?;
    let told = diff(&bench.output(), &again)?;
    ensure!(told.status.code() == Some(0), "equal builds differ: {}", String::from_utf8_lossy(&told.stdout));
    ensure!(json(&told)?["equal"] == true, "equal builds are not called equal");
    Ok(fs::remove_dir_all(again)?)
}

pub(crate) fn assets_are_in_and_on_paper(bench: &Bench) -> Result<()> {
    let server = Server::start(archive(bench)?)?;
    let image = asset_image(bench, &server.address, &Sha256Digest::of(RULES).to_string())?;
    let output = bench.dir().join("with-assets");
    let built = said(build(&image, &output), "build")?;
    let stages: Vec<String> = crate::bench::ran(&built).into_keys().collect();
    ensure!(!stages.iter().any(|stage| stage == "rootfs"), "packages were configured for an asset: {stages:?}");

    // In the root: these paths and no others, with these owners.
    let told = diff(&bench.output(), &output)?;
    ensure!(told.status.code() == Some(1), "the images are said to be equal");
    let difference = json(&told)?;
    let added: BTreeMap<String, String> = rows(&difference["files"], |row| row["change"] == "added")
        .iter()
        .map(|row| (string(&row["path"]), string(&row["owner"])))
        .collect();
    let expected = [
        ("/etc/example", "asset:rules"),
        ("/etc/example/rules.conf", "asset:rules"),
        ("/usr/share/example", "asset:theme"),
        ("/usr/share/example/theme", "asset:theme"),
        ("/usr/share/example/theme/style.css", "asset:theme"),
    ];
    let expected = BTreeMap::from(expected.map(|(path, owner)| (path.to_owned(), owner.to_owned())));
    ensure!(added == expected, "added: {added:?}");
    let changed: Vec<String> =
        rows(&difference["files"], |row| row["change"] == "changed").iter().map(|row| string(&row["path"])).collect();
    ensure!(changed == ["/usr/share/casemate/sbom.spdx.json"], "changed: {changed:?}");
    ensure!(difference["packages"] == serde_json::json!([]), "packages: {}", difference["packages"]);
    let parts: BTreeSet<String> = rows(&difference["parts"], |_| true).iter().map(|row| string(&row["part"])).collect();
    let wanted = ["command line", "disk", "esp", "manifest", "output", "part", "uki"];
    ensure!(parts.iter().map(String::as_str).eq(wanted), "parts: {parts:?}");

    on_paper(&output, &server.address, Sha256Digest::of(&archive(bench)?))?;
    verified_and_tampered(&output)?;

    // The store has it by its digest now: a server that is gone is not missed.
    let asked = server.stop();
    ensure!(asked == 1, "the server was asked {asked} times");
    let again = said(build(&image, &output), "build")?;
    ensure!(crate::bench::ran(&again).keys().all(|stage| stage == "image"), "{}", again["explanation"]);
    Ok(fs::remove_dir_all(output)?)
}

/// Both bills and the provenance name both assets.
fn on_paper(output: &Path, address: &str, theme: Sha256Digest) -> Result<()> {
    let read = |name: &str| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(output.join(name))?)?) };
    let (spdx, cdx, provenance) = (read("sbom.spdx.json")?, read("sbom.cdx.json")?, read("provenance.json")?);
    let dependencies = &provenance["predicate"]["buildDefinition"]["resolvedDependencies"];
    for (name, digest, place) in [("theme", theme, Some(address)), ("rules", Sha256Digest::of(RULES), None)] {
        let digest = digest.to_string();
        let one = |rows: Vec<Value>, paper: &str| -> Result<Value> {
            ensure!(rows.len() == 1, "{paper} names `{name}` {} times", rows.len());
            Ok(rows[0].clone())
        };
        let row = one(rows(&spdx["packages"], |row| row["name"] == name), "SPDX")?;
        ensure!(row["checksums"][0]["checksumValue"] == digest.as_str(), "SPDX: {row}");
        ensure!(row["downloadLocation"] == place.unwrap_or("NOASSERTION"), "SPDX: {row}");
        let row = one(rows(&cdx["components"], |row| row["name"] == name), "CycloneDX")?;
        ensure!(row["hashes"][0]["content"] == digest.as_str(), "CycloneDX: {row}");
        let row =
            one(rows(dependencies, |row| row["annotations"]["use"] == "asset" && row["name"] == name), "provenance")?;
        ensure!(row["digest"]["sha256"] == digest.as_str() && row["uri"].as_str() == place, "provenance: {row}");
    }
    let row = rows(&spdx["packages"], |row| row["name"] == "rules").remove(0);
    ensure!(row["licenseDeclared"] == "Apache-2.0", "SPDX: {row}");

    // Every package of the lock, of both trees, is what the image was made of.
    let lock: toml::Table = fs::read_to_string(output.join("lock.toml"))?.parse()?;
    for (purpose, table) in [("root", &lock["package"]), ("tools", &lock["tools"]["package"])] {
        let locked: BTreeSet<String> = table
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|row| row["sha256"].as_str())
            .map(str::to_owned)
            .collect();
        let named: BTreeSet<String> = rows(dependencies, |row| row["annotations"]["use"] == purpose)
            .iter()
            .map(|row| string(&row["digest"]["sha256"]))
            .collect();
        ensure!(!named.is_empty() && named == locked, "the provenance names other packages of `{purpose}`");
    }
    let text = provenance.to_string();
    let machine = fs::read_to_string("/proc/sys/kernel/hostname")?;
    ensure!(!text.contains("/tmp/") && !text.contains(&format!("\"{}\"", machine.trim())), "it names the machine");
    Ok(())
}

/// `verify` takes the output, and not with one byte more in its provenance.
fn verified_and_tampered(output: &Path) -> Result<()> {
    let verify = || Command::new(casemate()).arg("verify").arg(output).output();
    let good = verify()?;
    ensure!(good.status.success(), "not verified: {}", String::from_utf8_lossy(&good.stderr));
    let path = output.join("provenance.json");
    let sound = fs::read(&path)?;
    fs::write(&path, [sound.as_slice(), b"\n"].concat())?;
    let refused = verify()?;
    fs::write(&path, sound)?;
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1), "a changed provenance was verified");
    ensure!(message.contains("provenance.json: the signature of key"), "{message}");
    Ok(())
}

pub(crate) fn wrong_digest_is_refused(bench: &Bench) -> Result<()> {
    let found = Sha256Digest::of(RULES).to_string();
    let wrong = Sha256Digest::of(b"what was wanted").to_string();
    // A file whose digest the store does not know yet.
    let image = asset_image(bench, "http://127.0.0.1:1/theme.tar", &wrong)?;
    let definition = fs::read_to_string(image.join("image.toml"))?;
    let (head, rules) = definition.split_once("# theme\n").context("the definition has no mark")?;
    let (_, rules) = rules.split_once("# rules\n").context("the definition has no mark")?;
    fs::write(image.join("image.toml"), format!("{head}{rules}"))?;
    let output = bench.dir().join("refused");
    let told = build(&image, &output).output()?;
    let message = String::from_utf8_lossy(&told.stderr).into_owned();
    ensure!(told.status.code() == Some(1), "ended with {}: {message}", told.status);
    for wanted in ["asset `rules`", &found, &wrong, "write the found digest into `sha256`"] {
        ensure!(message.contains(wanted), "{wanted:?} is not in\n{message}");
    }
    ensure!(!output.exists(), "there is an output all the same");
    Ok(())
}

/// The small image with an asset from an address and one from a file, in a folder of its own.
fn asset_image(bench: &Bench, address: &str, rules: &str) -> Result<PathBuf> {
    let image = bench.repo().join("images/assets");
    fs::create_dir_all(image.join("assets"))?;
    fs::write(image.join("assets/rules.conf"), RULES)?;
    let minimal = bench.repo().join("images/minimal");
    for name in ["host.example.toml", "keys"] {
        if minimal.join(name).is_file() {
            fs::copy(minimal.join(name), image.join(name))?;
        }
    }
    let theme = Sha256Digest::of(&archive(bench)?);
    let assets = format!(
        "# theme\n[[asset]]\nname = \"theme\"\nurl = \"{address}\"\nsha256 = \"{theme}\"\nsize = \"1M\"\nunpack = \"tar\"\n\
         into = \"/usr/share/example/theme\"\nstrip = 1\n\
         # rules\n[[asset]]\nname = \"rules\"\nfile = \"assets/rules.conf\"\nsha256 = \"{rules}\"\nsize = \"1M\"\n\
         unpack = \"none\"\ninto = \"/etc/example/rules.conf\"\nlicence = \"Apache-2.0\"\n"
    );
    fs::write(image.join("image.toml"), fs::read_to_string(minimal.join("image.toml"))? + &assets)?;
    Ok(image)
}

/// What the asset from an address is: a tar archive with one file in one directory, which `strip` takes off. No two runs have the
/// same: the machine's store keeps assets by their digest, and would not ask for one that an earlier run left there.
fn archive(bench: &Bench) -> Result<Vec<u8>> {
    let style = format!("body {{ margin: 0 }} /* {} */\n", bench.dir().display());
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(style.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "theme-1.0/style.css", style.as_bytes())?;
    Ok(archive.into_inner()?)
}

fn build(image: &Path, output: &Path) -> Command {
    let mut command = Command::new(casemate());
    command.arg("build").arg(image).arg("--output").arg(output).args(["--json", "--explain"]).stdin(Stdio::null());
    command
}

fn diff(before: &Path, after: &Path) -> Result<Output> {
    Ok(Command::new(casemate()).arg("diff").arg(before).arg(after).arg("--json").output()?)
}

fn json(output: &Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

pub(crate) fn rows(list: &Value, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    list.as_array().into_iter().flatten().filter(|row| wanted(row)).cloned().collect()
}

pub(crate) fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A web server with one file, until it is stopped.
struct Server {
    address: String,
    listener: TcpListener,
    thread: std::thread::JoinHandle<usize>,
}

impl Server {
    fn start(body: Vec<u8>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("http://{}/theme.tar", listener.local_addr()?);
        let own = listener.try_clone()?;
        let thread = std::thread::spawn(move || {
            let mut asked = 0;
            for stream in own.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                match lines.next() {
                    Some(request) if request.starts_with("GET /theme.tar ") => {}
                    _ => break,
                }
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                asked += 1;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                if (&stream).write_all(head.as_bytes()).and_then(|()| (&stream).write_all(&body)).is_err() {
                    break;
                }
            }
            asked
        });
        Ok(Self { address, listener, thread })
    }

    /// How often the file was asked for.
    fn stop(self) -> usize {
        // An empty request ends the loop.
        drop(self.listener.local_addr().and_then(std::net::TcpStream::connect));
        self.thread.join().unwrap_or_default()
    }
}
