//! A temporary tree with fake programs, for the tests of this crate.
//!
//! The fakes write plausible files and count as changes, so a cut may also come in the middle of a program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use tools::Output;
use tools::RecordingRunner;
use tools::Runner;
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
        let programs = Programs { files: Arc::clone(&files), seen: Mutex::default(), failing: Mutex::default() };
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

/// Fake programs: `ssh-keygen` and `openssl` write files, all others succeed, those named in `failing` do not.
pub(crate) struct Programs {
    files: Arc<Files>,
    seen: Mutex<Vec<String>>,
    failing: Mutex<BTreeMap<String, String>>,
}

impl Programs {
    /// Commands so far, as lines of shell.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Lets every command that holds this text fail with these lines.
    pub(crate) fn fail(&self, part: &str, stderr: &str) {
        self.failing.lock().unwrap().insert(part.to_owned(), stderr.to_owned());
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
        let output = pretend(tool);
        match self.files.step() {
            Ok(()) => RecordingRunner::new().answer(0, output, "").run(tool),
            Err(error) => cut(error),
        }
    }
}

/// Writes what the real program would, as far as the agent looks at it.
fn pretend(tool: &Tool) -> String {
    let words: Vec<String> = tool.arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let after =
        |flag: &str| words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1)).map(PathBuf::from);
    match tool.program().to_str() {
        Some("ssh-keygen") if words[0] == "-y" => {
            return include_str!("../tests/data/host_key.pub").to_owned();
        }
        Some("ssh-keygen") => fs::write(after("-f").unwrap(), "private key\n").unwrap(),
        Some("openssl") if words[0] == "genpkey" => {
            fs::write(after("-out").unwrap(), "private key\n").unwrap();
        }
        Some("openssl") if words[0] == "req" => {
            let names = fs::read_to_string(after("-config").unwrap()).unwrap();
            assert!(after("-key").unwrap().exists());
            let names = names.lines().filter(|line| line.starts_with("DNS.")).collect::<Vec<_>>().join(",");
            let certificate = include_str!("../tests/data/certificate.pem");
            fs::write(after("-out").unwrap(), format!("{names}\n{certificate}")).unwrap();
        }
        _ => {}
    }
    String::new()
}
