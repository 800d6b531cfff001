//! Which packages the resolver chooses. That it chooses as apt does on the real archive is a test of its own.

use debian::resolve::{Base, resolve};

use crate::shelf::{index, names};

/// The chosen packages, or the message of the refusal.
fn choose_with(items: &[&str], wanted: &str, base: Base) -> String {
    match resolve(&index(items), &names(wanted), base) {
        Ok(set) => set.iter().map(debian::packages::Package::name).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }
}

fn choose(items: &[&str], wanted: &str) -> String {
    choose_with(items, wanted, Base::Empty)
}

#[test]
fn follows_depends_and_pre_depends_and_leaves_recommends() {
    let items = ["aa 1; Depends: bb; Recommends: rr", "bb 1; Pre-Depends: cc (>= 1)", "cc 1", "rr 1", "dd 1"];
    assert_eq!(choose(&items, "aa"), "aa bb cc");
}

#[test]
fn circles_of_dependencies_end() {
    assert_eq!(choose(&["aa 1; Depends: bb", "bb 1; Depends: cc", "cc 1; Depends: aa"], "aa"), "aa bb cc");
}

#[test]
fn takes_the_first_alternative_that_can_be_installed() {
    let items = ["aa 1; Depends: none | bad | bb | cc", "bad 1; Depends: none", "bb 1", "cc 1"];
    assert_eq!(choose(&items, "aa"), "aa bb");
}

#[test]
fn takes_an_alternative_that_is_wanted_anyway() {
    let items = ["aa 1; Depends: bb | cc", "bb 1", "cc 1"];
    assert_eq!(choose(&items, "aa cc"), "aa cc");
}

#[test]
fn the_order_of_wishes_decides_as_on_the_command_line_of_apt() {
    let items = ["aa 1; Depends: bb | cc", "bb 1", "cc 1", "dd 1; Depends: cc"];
    assert_eq!(choose(&items, "aa dd"), "aa bb cc dd");
    assert_eq!(choose(&items, "dd aa"), "aa cc dd");
}

#[test]
fn a_virtual_package_is_met_by_a_provider_and_versions_of_provides_count() {
    let items = [
        "aa 1; Depends: virtual (>= 2)",
        "bb 1; Provides: virtual",
        "cc 1; Provides: virtual (= 1)",
        "dd 1; Provides: virtual (= 2)",
    ];
    assert_eq!(choose(&items, "aa"), "aa dd");
    let one = ["aa 1; Depends: virtual", "bb 9; Provides: virtual"];
    assert_eq!(choose(&one, "aa"), "aa bb");
    assert_eq!(choose(&one, "virtual"), "bb");
}

#[test]
fn of_several_providers_the_more_important_one_is_taken_and_then_the_last_named() {
    let items = [
        "aa 1; Depends: virtual",
        "bb 1; Priority: optional; Provides: virtual",
        "cc 1; Priority: optional; Provides: virtual",
    ];
    assert_eq!(choose(&items, "aa"), "aa cc");
    let items = [
        "aa 1; Depends: virtual",
        "bb 1; Priority: standard; Provides: virtual",
        "cc 1; Priority: optional; Provides: virtual",
    ];
    assert_eq!(choose(&items, "aa"), "aa bb");
}

#[test]
fn a_conflict_with_a_wanted_package_leads_to_the_next_alternative() {
    for field in ["Conflicts: ww", "Breaks: ww (<< 2)", "Conflicts: virtual"] {
        let bad = format!("bb 1; {field}");
        let items = ["aa 1; Depends: bb | cc", &bad, "cc 1", "ww 1; Provides: virtual"];
        assert_eq!(choose(&items, "aa ww"), "aa cc ww", "{field}");
    }
    let items = ["aa 1; Depends: bb | cc", "bb 1", "cc 1", "ww 1; Conflicts: bb"];
    assert_eq!(choose(&items, "aa ww"), "aa cc ww");
}

#[test]
fn a_choice_made_too_early_makes_room_and_is_made_anew() {
    // `bb` is chosen for `aa` first; `dd` needs `ee`, which excludes it.
    let items =
        ["aa 1; Depends: bb | cc", "bb 1; Depends: xx", "cc 1", "dd 1; Depends: ee", "ee 1; Conflicts: bb", "xx 1"];
    assert_eq!(choose(&items, "aa dd"), "aa cc dd ee");
}

#[test]
fn a_package_does_not_conflict_with_what_it_provides_itself() {
    assert_eq!(choose(&["aa 1; Provides: virtual; Conflicts: virtual"], "aa"), "aa");
}

#[test]
fn a_colon_any_is_met_only_by_a_package_that_allows_it() {
    let items = ["aa 1; Depends: pp:any", "pp 1; Multi-Arch: allowed"];
    assert_eq!(choose(&items, "aa"), "aa pp");
    assert!(choose(&["aa 1; Depends: pp:any", "pp 1"], "aa").contains("needs `pp:any`, which nothing provides"));
    assert_eq!(choose(&["aa 1; Depends: pp:amd64", "pp 1"], "aa"), "aa pp");
}

#[test]
fn the_base_is_part_of_the_set() {
    let items = ["aa 1", "ee 1; Essential: yes; Depends: ff", "ff 1", "rr 1; Priority: required", "xx 1"];
    assert_eq!(choose_with(&items, "aa", Base::Essential), "aa ee ff");
    assert_eq!(choose_with(&items, "aa", Base::Required), "aa ee ff rr");
}

#[test]
fn an_unmet_dependency_is_told_with_the_chain_that_leads_to_it() {
    let items = ["aa 1; Depends: bb", "bb 1; Depends: cc (>= 2) | none", "cc 1"];
    let message = choose(&items, "aa");
    assert_eq!(message, "`aa` needs `bb`, but `bb` needs `cc (>= 2) | none`, which nothing provides");
}

#[test]
fn wanted_packages_that_exclude_each_other_are_named() {
    let message = choose(&["aa 1; Conflicts: bb", "bb 1"], "aa bb");
    assert!(
        message.starts_with("`aa` conflicts with `bb`") || message.starts_with("`bb` conflicts with `aa`"),
        "{message}"
    );
}

#[test]
fn all_unknown_names_are_told_at_once_with_what_may_be_meant() {
    let items = ["apache2 1", "mm 1; Provides: mta", "nn 1; Provides: mta"];
    let message = choose(&items, "apache nothing-like mta");
    assert!(message.contains("no package is named `apache`; did you mean `apache2`?"), "{message}");
    assert!(message.contains("`nothing-like`; check its spelling"), "{message}");
    assert!(message.contains("`mta` is a virtual package; name one of its providers: `mm`, `nn`"), "{message}");
}
