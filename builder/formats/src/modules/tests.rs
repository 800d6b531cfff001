//! Closures in load order, and indexes that must be refused.

use proptest::prelude::*;

use super::*;

const DEPENDENCIES: &str = "\
kernel/drivers/md/dm-verity.ko.xz: kernel/drivers/md/dm-bufio.ko.xz kernel/drivers/md/dm-mod.ko.xz kernel/drivers/dax/dax.ko.xz
kernel/drivers/md/dm-bufio.ko.xz: kernel/drivers/md/dm-mod.ko.xz kernel/drivers/dax/dax.ko.xz
kernel/drivers/md/dm-mod.ko.xz: kernel/drivers/dax/dax.ko.xz
kernel/drivers/dax/dax.ko.xz:
kernel/fs/btrfs/btrfs.ko.xz: kernel/lib/raid6/raid6_pq.ko.xz
kernel/lib/raid6/raid6_pq.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.xz:
kernel/late.ko.zst:
";
const SOFT: &str = "# made by depmod\nsoftdep btrfs pre: crc32c xxhash64 crypto-ccm(aes) post: late\nsoftdep late pre: btrfs\nsoftdep late gcm ccm\n";
const ALIASES: &str = "alias crc32c crc32c_intel\nalias crypto-crc32c crc32c_intel\nalias fs-ext4 ext4\nalias pci:v00001AF4d*sv* virtio_pci\n";
const BUILTIN: &str = "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio_pci.ko\n";

fn parse(
    dependencies: &str,
    soft_dependencies: &str,
    builtin: &str,
    aliases: &str,
) -> Result<ModuleIndex, ModulesError> {
    ModuleIndex::parse(&ModuleTexts { dependencies, soft_dependencies, builtin, aliases })
}

fn index() -> ModuleIndex {
    parse(DEPENDENCIES, SOFT, BUILTIN, ALIASES).unwrap()
}

fn resolve(names: &[&str]) -> Result<Vec<String>, ModulesError> {
    let names: Vec<ModuleName> = names.iter().map(|name| name.parse().unwrap()).collect();
    Ok(index().resolve(&names)?.into_iter().map(str::to_owned).collect())
}

#[test]
fn lists_what_is_needed_before_what_needs_it() {
    let paths = resolve(&["dm_verity"]).unwrap();
    let names: Vec<_> = paths.iter().filter_map(|path| path.rsplit('/').next()).collect();
    assert_eq!(names, ["dax.ko.xz", "dm-mod.ko.xz", "dm-bufio.ko.xz", "dm-verity.ko.xz"]);
    assert_eq!(resolve(&["dm-verity", "dm_mod"]).unwrap(), paths);
}

#[test]
fn takes_soft_dependencies_that_exist_and_ends_in_a_circle() {
    let paths = resolve(&["btrfs"]).unwrap();
    let names: Vec<_> = paths.iter().filter_map(|path| path.rsplit('/').next()).collect();
    assert_eq!(names, ["crc32c-intel.ko.xz", "raid6_pq.ko.xz", "btrfs.ko.xz", "late.ko.zst"]);
}

#[test]
fn finds_the_modules_behind_an_alias() {
    assert_eq!(resolve(&["crypto_crc32c"]).unwrap(), ["kernel/arch/x86/crypto/crc32c-intel.ko.xz"]);
    assert!(resolve(&["fs-ext4"]).unwrap().is_empty());
}

#[test]
fn needs_no_file_for_built_in_modules() {
    assert_eq!(resolve(&["ext4", "virtio-pci"]).unwrap(), Vec::<String>::new());
    assert!(index().is_builtin(&"ext4".parse().unwrap()));
}

#[test]
fn names_the_module_that_is_missing_and_who_needs_it() {
    let message = resolve(&["nosuch"]).unwrap_err().to_string();
    assert!(message.starts_with("module `nosuch` is neither"), "{message}");
    let index = parse("a.ko: b.ko\n", "", "", "").unwrap();
    let message = index.resolve(&["a".parse().unwrap()]).unwrap_err().to_string();
    assert!(message.contains("`b`") && message.contains("`a` needs it"), "{message}");
}

#[test]
fn refuses_lines_that_depmod_does_not_write() {
    for (dependencies, soft, builtin, aliases, start) in [
        ("a.ko:\nnonsense", "", "", "", "modules.dep line 2"),
        ("../../etc/a.ko:", "", "", "", "modules.dep line 1"),
        ("/a.ko:", "", "", "", "modules.dep line 1"),
        ("a.ko: b", "", "", "", "modules.dep line 1"),
        ("", "softdep a pre: b/c", "", "", "modules.softdep line 1"),
        ("", "alias a b", "", "", "modules.softdep line 1"),
        ("", "", "\next4", "", "modules.builtin line 2"),
        ("", "", "", "alias a", "modules.alias line 1"),
        ("", "", "", "softdep a b", "modules.alias line 1"),
    ] {
        let message = parse(dependencies, soft, builtin, aliases).unwrap_err().to_string();
        assert!(message.starts_with(start), "{message}");
    }
    assert!("a/b".parse::<ModuleName>().is_err() && "a.ko".parse::<ModuleName>().is_err());
}

proptest! {
    #[test]
    fn parser_never_panics(one: String, two: String, three in "((softdep|alias) )?[a-z: -]{0,40}") {
        let _ = parse(&one, &two, &three, &one);
        let _ = parse(&two, &three, &one, &three);
    }
}
