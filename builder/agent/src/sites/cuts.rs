//! Cuts at every step of what is done with a site: its files are those of before or those of after, and the same command once more ends well
//! and leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use hostconf::Assignments;
use hostconf::HostConfig;

use super::Site;
use super::Sites;
use super::clone;
use super::purge;
use super::snapshot;
use crate::host::Host;
use crate::testing::Tree;

const SITES: &str = "var/lib/casemate/sites";
const SNAPSHOTS: &str = "var/lib/casemate/snapshots";

/// Paths with content.
type Files = BTreeMap<String, String>;

struct Fixture {
    tree: Tree,
    sites: Sites,
}

impl Fixture {
    /// Two sites with files and databases of their own.
    fn new() -> Self {
        let text = hostconf::SMALL_HOST.to_owned()
            + "[[domain.site]]\nname = \"a.example.org\"\nkind = \"php\"\n[[domain.site]]\nname = \"b.example.org\"\nkind = \"php\"\n";
        let document = HostConfig::parse("host.toml", &text).unwrap();
        let assignments = Assignments::default().assign(document.sites().map(|site| &site.name), 10).unwrap();
        let fixture = Self { tree: Tree::new(), sites: Sites::of(&document, &assignments) };
        for name in ["a", "b"] {
            for file in ["htdocs/index.php", "htdocs/inc/deep.php", "tmp/session"] {
                fixture.put(name, file, &format!("{file} of {name}"));
            }
            fs::write(fixture.tree.programs.database(&fixture.id(name)), format!("rows of {name}")).unwrap();
        }
        fixture
    }

    fn site(&self, name: &str) -> &Site {
        self.sites.find(&format!("{name}.example.org")).unwrap()
    }

    fn id(&self, name: &str) -> String {
        self.site(name).account.id()
    }

    fn host(&self) -> Host<'_> {
        self.tree.host()
    }

    fn put(&self, name: &str, file: &str, text: &str) {
        self.tree.put(&format!("/{SITES}/{}/{file}", self.id(name)), text);
    }

    fn below(&self, folder: &str) -> Files {
        let prefix = format!("{folder}/");
        let all = self.tree.listing().into_iter();
        all.filter_map(|(path, content)| Some((path.strip_prefix(&prefix)?.to_owned(), content))).collect()
    }

    fn files(&self, name: &str) -> Files {
        self.below(&format!("{SITES}/{}", self.id(name)))
    }

    fn database(&self, name: &str) -> String {
        fs::read_to_string(self.tree.programs.database(&self.id(name))).unwrap_or_default()
    }

    /// Names below which something grows until it is complete.
    fn leavings(&self) -> Vec<String> {
        self.tree.listing().into_keys().filter(|path| path.contains(".new")).collect()
    }
}

/// Does `work` on fresh hosts, cut after no step, one, two; looks at what there is after each cut and after the same work once more.
fn cut_everywhere(
    prepare: impl Fn(&Fixture),
    work: impl Fn(&Fixture) -> Result<()>,
    after_cut: impl Fn(&Fixture),
    at_end: impl Fn(&Fixture),
) {
    for steps in 0.. {
        let fixture = Fixture::new();
        prepare(&fixture);
        fixture.tree.cut_after(steps);
        let done = work(&fixture).is_ok();
        fixture.tree.cut_after(u64::MAX);
        after_cut(&fixture);
        work(&fixture).unwrap_or_else(|error| panic!("after a cut after {steps} steps: {error:#}"));
        at_end(&fixture);
        assert!(fixture.leavings().is_empty(), "cut after {steps} steps: {:?}", fixture.leavings());
        if done {
            assert!(5 < steps, "only {steps} steps were cut");
            return;
        }
    }
}

#[test]
fn a_snapshot_is_complete_or_not_in_the_list() {
    let whole = Fixture::new();
    let (files, rows) = (whole.files("a"), whole.database("a"));
    let check = |fixture: &Fixture| {
        assert_eq!((fixture.files("a"), fixture.database("a")), (files.clone(), rows.clone()));
        for name in snapshot::list(fixture.host(), fixture.site("a")).unwrap() {
            let place = format!("{SNAPSHOTS}/{}/{name}", fixture.id("a"));
            assert_eq!(fixture.below(&format!("{place}/files")), files);
            assert!(fixture.below(&place)["database.sql"].ends_with(&rows));
        }
    };
    let at_end = |fixture: &Fixture| {
        check(fixture);
        assert!(!snapshot::list(fixture.host(), fixture.site("a")).unwrap().is_empty());
    };
    let work = |fixture: &Fixture| snapshot::take_for(fixture.host(), fixture.site("a"), None).map(drop);
    cut_everywhere(|_| (), work, check, at_end);
}

#[test]
fn a_restored_site_has_the_files_of_one_moment() {
    let (files, rows) = (Fixture::new().files("a"), Fixture::new().database("a"));
    let prepare = |fixture: &Fixture| {
        snapshot::take_for(fixture.host(), fixture.site("a"), Some("wanted")).unwrap();
        fixture.put("a", "htdocs/index.php", "broken");
        fixture.put("a", "htdocs/new.php", "new");
        fs::write(fixture.tree.programs.database(&fixture.id("a")), "broken rows").unwrap();
    };
    let later = Fixture::new();
    prepare(&later);
    let later = later.files("a");
    let work = |fixture: &Fixture| {
        let all = snapshot::list(fixture.host(), fixture.site("a"))?;
        let wanted = all.iter().find(|name| name.to_string().ends_with("-wanted")).unwrap();
        snapshot::go_back(fixture.host(), fixture.site("a"), wanted).map(drop)
    };
    let after_cut = |fixture: &Fixture| {
        let found = fixture.files("a");
        assert!(found == files || found == later, "neither before nor after: {found:?}");
    };
    let at_end =
        |fixture: &Fixture| assert_eq!((fixture.files("a"), fixture.database("a")), (files.clone(), rows.clone()));
    cut_everywhere(prepare, work, after_cut, at_end);
}

#[test]
fn a_clone_is_what_it_was_or_the_copy_and_its_source_stays() {
    let whole = Fixture::new();
    let (source, before) = (whole.files("a"), whole.files("b"));
    let mut copy = source.clone();
    copy.remove("tmp/session");
    let same = |mut files: Files| {
        // The fresh one has its own mode.
        files.remove("tmp");
        files
    };
    let copy = same(copy);
    let work = |fixture: &Fixture| clone::clone(fixture.host(), fixture.site("a"), fixture.site("b")).map(drop);
    let after_cut = |fixture: &Fixture| {
        let found = fixture.files("b");
        assert!(found == before || same(found.clone()) == copy, "neither before nor after: {found:?}");
        assert_eq!((fixture.files("a"), fixture.database("a")), (source.clone(), "rows of a".to_owned()));
    };
    let at_end = |fixture: &Fixture| {
        after_cut(fixture);
        assert_eq!((same(fixture.files("b")), fixture.database("b")), (copy.clone(), "rows of a".to_owned()));
    };
    cut_everywhere(|_| (), work, after_cut, at_end);
}

#[test]
fn nothing_is_left_of_a_purged_site_and_the_other_stays() {
    let other = Fixture::new().files("b");
    let prepare = |fixture: &Fixture| {
        snapshot::take_for(fixture.host(), fixture.site("a"), None).unwrap();
        fixture.tree.put(&format!("/{SNAPSHOTS}/{}.sql.new", fixture.id("a")), "half of an export");
    };
    let work = |fixture: &Fixture| purge::purge(fixture.host(), fixture.site("a"));
    let at_end = |fixture: &Fixture| {
        let id = fixture.id("a");
        let left: Vec<String> = fixture.tree.listing().into_keys().filter(|path| path.contains(&id)).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(!fixture.tree.programs.database(&id).exists());
        assert_eq!((fixture.files("b"), fixture.database("b")), (other.clone(), "rows of b".to_owned()));
    };
    cut_everywhere(prepare, work, |_| (), at_end);
}
