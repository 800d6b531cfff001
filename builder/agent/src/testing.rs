//! A temporary tree with fake programs, for the tests of this crate.
//!
//! The fakes write plausible files and count as changes, so a cut may also come in the middle of a program.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tools::Output;
use tools::RecordingRunner;
use tools::Runner;
use tools::Stdin;
use tools::Tool;
use tools::ToolError;

use crate::files::Files;
use crate::files::Ownership;
use crate::host::Host;
use crate::paths::Paths;

/// The tree; it is removed with the value.
pub(crate) struct Tree {
    folder: tempfile::TempDir,
    pub(crate) paths: Paths,
    pub(crate) files: Arc<Files>,
    pub(crate) programs: Programs,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let folder = folder();
        let files = Arc::new(Files::new(Ownership::Leave));
        let programs = Programs {
            databases: self::folder(),
            files: Arc::clone(&files),
            seen: Mutex::default(),
            failing: Mutex::default(),
            saying: Mutex::default(),
        };
        Self { paths: Paths::new(folder.path()), folder, files, programs }
    }

    pub(crate) fn host(&self) -> Host<'_> {
        Host { paths: &self.paths, files: &self.files, runner: &self.programs, random: || Ok([7; 32]) }
    }

    pub(crate) fn cut_after(&self, steps: u64) {
        self.files.cut_after(steps);
    }

    pub(crate) fn put(&self, path: &str, text: &str) {
        let path = self.paths.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.paths.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Every path with mode and content; the place of the tree itself is taken out.
    pub(crate) fn listing(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        list(self.folder.path(), self.folder.path(), &mut found);
        let root = self.folder.path().display().to_string();
        found.into_iter().map(|(path, content)| (path, content.replace(&root, ""))).collect()
    }
}

/// Memory where there is some: the tests flush thousands of times.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn list(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if meta.is_dir() {
            list(root, &path, found);
            String::new()
        } else {
            String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
        };
        let name = path.strip_prefix(root).unwrap().display().to_string();
        found.insert(name, format!("{:o} {content}", meta.mode() & 0o7777));
    }
}

/// Fake programs: `ssh-keygen` and `openssl` write files, `cp` copies, a database is a file; all others succeed, those named in `failing` do not.
pub(crate) struct Programs {
    databases: tempfile::TempDir,
    files: Arc<Files>,
    seen: Mutex<Vec<String>>,
    failing: Mutex<BTreeMap<String, String>>,
    saying: Mutex<BTreeMap<String, String>>,
}

impl Programs {
    /// Commands so far, as lines of shell.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// The file that stands for a database.
    pub(crate) fn database(&self, id: &str) -> PathBuf {
        self.databases.path().join(id)
    }

    /// Lets every command that holds this text fail with these lines.
    pub(crate) fn fail(&self, part: &str, stderr: &str) {
        self.failing.lock().unwrap().insert(part.to_owned(), stderr.to_owned());
    }

    /// Lets every command that holds this text print these lines.
    pub(crate) fn say(&self, part: &str, stdout: &str) {
        self.saying.lock().unwrap().insert(part.to_owned(), stdout.to_owned());
    }

    /// Lets all commands succeed again.
    pub(crate) fn heal(&self) {
        self.failing.lock().unwrap().clear();
    }

    /// How many commands hold this text.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.commands().iter().filter(|command| command.contains(part)).count()
    }
}

impl Runner for Programs {
    fn run(&self, tool: &Tool) -> Result<Output, ToolError> {
        let command = tool.to_string();
        self.seen.lock().unwrap().push(command.clone());
        for (part, stderr) in &*self.failing.lock().unwrap() {
            if command.contains(part) {
                return RecordingRunner::new().answer(1, "", stderr.clone()).run(tool);
            }
        }
        // A cut program ends like a killed one: with a status that no caller takes for success.
        let cut = |_| RecordingRunner::new().answer(137, "", "killed").run(tool);
        if let Err(error) = self.files.step() {
            return cut(error);
        }
        let output = match pretend(tool).map(Ok).or_else(|| self.pretend_in_steps(tool)).transpose() {
            Ok(output) => output.unwrap_or_default(),
            Err(error) => return cut(error),
        };
        let said =
            self.saying.lock().unwrap().iter().find(|(part, _)| command.contains(*part)).map(|(_, said)| said.clone());
        let output = said.unwrap_or(output);
        match self.files.step() {
            Ok(()) => RecordingRunner::new().answer(0, output, "").run(tool),
            Err(error) => cut(error),
        }
    }
}

impl Programs {
    /// What can be cut in the middle.
    fn pretend_in_steps(&self, tool: &Tool) -> Option<io::Result<String>> {
        let words = words(tool);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let done = match (tool.program().to_str()?, words.as_slice()) {
            ("cp", [.., from, to]) => self.copy(Path::new(from), Path::new(to)),
            ("mariadb-dump", [.., id]) => {
                let to = words.iter().find_map(|word| word.strip_prefix("--result-file=")).unwrap();
                self.half_then_whole(Path::new(to), &fs::read(self.database(id)).unwrap())
            }
            ("mariadb", [.., statements]) => self.execute(statements.strip_prefix("--execute=")?),
            ("setpriv", [.., "--", id]) if words.contains(&"mariadb") => match tool.input() {
                Stdin::File(path) => self.half_then_whole(&self.database(id), &fs::read(path).unwrap()),
                _ => return None,
            },
            _ => return None,
        };
        Some(done.map(|()| String::new()))
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        if !to.is_dir() {
            fs::create_dir(to)?;
        }
        for entry in fs::read_dir(from)? {
            let (entry, to) = (entry?.path(), to.to_owned());
            let to = to.join(entry.file_name().unwrap());
            self.files.step()?;
            if entry.is_dir() { self.copy(&entry, &to)? } else { fs::copy(&entry, &to).map(drop)? }
        }
        Ok(())
    }

    fn half_then_whole(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::write(path, &bytes[..bytes.len() / 2])?;
        self.files.step()?;
        fs::write(path, bytes)
    }

    /// `DROP DATABASE` and `CREATE DATABASE`, which may both be there; all other statements do nothing.
    fn execute(&self, statements: &str) -> io::Result<()> {
        let Some(id) = statements.split('`').nth(1) else { return Ok(()) };
        let path = self.database(id);
        if statements.contains("DROP DATABASE") {
            let _ = fs::remove_file(&path);
            self.files.step()?;
        }
        if statements.contains("CREATE DATABASE") && !path.exists() { fs::write(path, "") } else { Ok(()) }
    }
}

fn words(tool: &Tool) -> Vec<String> {
    tool.arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// A second later at each call.
fn now() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    format!("20260101T{:02}{:02}{:02}Z\n", calls / 3600, calls / 60 % 60, calls % 60)
}

/// Writes what the real program would, as far as the agent looks at it; nothing of programs that it does not know.
fn pretend(tool: &Tool) -> Option<String> {
    let words = words(tool);
    let after =
        |flag: &str| words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1)).map(PathBuf::from);
    match tool.program().to_str() {
        Some("ssh-keygen") if words[0] == "-y" => {
            return Some(include_str!("../tests/data/host_key.pub").to_owned());
        }
        Some("ssh-keygen") => fs::write(after("-f").unwrap(), "private key\n").unwrap(),
        Some("openssl") if words[0] == "genpkey" => {
            fs::write(after("-out").unwrap(), "private key\n").unwrap();
        }
        Some("openssl") if words[0] == "req" && words.iter().any(|word| word == "-x509") => {
            let names = fs::read_to_string(after("-config").unwrap()).unwrap();
            assert!(after("-key").unwrap().exists());
            let names = names.lines().filter(|line| line.starts_with("DNS.")).collect::<Vec<_>>().join(",");
            let certificate = include_str!("../tests/data/certificate.pem");
            fs::write(after("-out").unwrap(), format!("{names}\n{certificate}")).unwrap();
        }
        Some("date") => return Some(now()),
        _ => return None,
    }
    Some(String::new())
}
