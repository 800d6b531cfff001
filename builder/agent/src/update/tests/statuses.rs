//! What is shown of the slots, at each station of an update.

use super::*;

fn status(bench: &Bench) -> UpdateStatus {
    UpdateStatus::read(&bench.tree.paths, &bench.target).unwrap()
}

fn lines(bench: &Bench) -> Vec<String> {
    status(bench).text().lines().map(str::to_owned).collect()
}

#[test]
fn a_host_that_was_never_updated_has_an_empty_slot() {
    let bench = Bench::new();
    let before = bench.bytes();
    let loaders = ["EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"];
    let loaders = loaders.map(|name| format!("loader    257.13-1~deb13u1 (`{name}`)"));
    assert_eq!(lines(&bench), ["running   web 0.1.0", "spare     empty", &loaders[0], &loaders[1]]);
    assert!(bench.bytes() == before && !bench.tree.paths.update().exists());
}

#[test]
fn a_version_on_trial_is_shown_with_its_tries_and_then_as_bad() {
    let bench = Bench::new();
    bench.apply(&Version::new("0.2.0").bundle()).unwrap();
    assert_eq!(lines(&bench)[1], "spare     0.2.0, on trial: 3 tries left");
    assert!(lines(&bench)[2].starts_with("applied   0.2.0, "));
    firmware::count_start(&bench.esp());
    assert_eq!(
        status(&bench).spare,
        Spare::Version { version: "0.2.0".to_owned(), entry: Entry::OnTrial { tries_left: 2 } }
    );
    firmware::count_start(&bench.esp());
    firmware::count_start(&bench.esp());
    assert_eq!(lines(&bench)[1], "spare     0.2.0, bad: all of its tries were in vain");
    fs::remove_file(bench.esp().join("EFI/Linux/web_0.2.0+0-3.efi")).unwrap();
    assert_eq!(lines(&bench)[1], "spare     0.2.0, without a kernel image on the ESP");
}

#[test]
fn after_the_start_the_old_version_is_the_spare_one() {
    let (bench, new) = (Bench::new(), Version::new("0.2.0"));
    bench.apply(&new.bundle()).unwrap();
    firmware::count_start(&bench.esp());
    bench.now_runs(&new);
    assert_eq!(lines(&bench)[..2], ["running   web 0.2.0, on trial: 2 tries left", "spare     0.1.0"]);
    firmware::bless(&bench.esp());
    assert_eq!(lines(&bench)[0], "running   web 0.2.0");
}

#[test]
fn machines_get_names_that_stay() {
    let bench = Bench::new();
    let failure = Failure { reasons: vec!["web: no answer".to_owned()], starts: 3, at: 1_800_000_000 };
    let state = State { floor: Some("0.0.9".parse().unwrap()), ..State::default() };
    bench.remember(&state.with_failed([("0.1.9".parse().unwrap(), failure)]));
    bench.change_disk(1024, &[0xff; 512]);
    let json = serde_json::to_value(status(&bench)).unwrap();
    let expected = serde_json::json!({
        "image": "web",
        "running": "0.1.0",
        "root_hash": Version::new("0.1.0").manifest.root_hash.to_string(),
        "running_entry": { "standing": "good" },
        "spare": { "content": "empty" },
        "table_is_whole": false,
        "applied": null,
        "failed": { "0.1.9": { "reasons": ["web: no answer"], "starts": 3, "at": 1_800_000_000 } },
        "floor": "0.0.9",
        "kept": null,
        "aside": [],
        "loaders": {
            "EFI/BOOT/BOOTX64.EFI": "257.13-1~deb13u1",
            "EFI/systemd/systemd-bootx64.efi": "257.13-1~deb13u1",
        },
    });
    assert_eq!(json, expected);
    let text = lines(&bench).join("\n");
    for word in ["floor     0.0.9", "failed    0.1.9", "not whole"] {
        assert!(text.contains(word), "{text}");
    }
    bench.apply(&Version::new("0.2.0").bundle()).unwrap();
    let json = serde_json::to_value(status(&bench)).unwrap();
    let entry = serde_json::json!({ "standing": "on-trial", "tries_left": 3 });
    assert_eq!(json["spare"], serde_json::json!({ "content": "version", "version": "0.2.0", "entry": entry }));
    assert_eq!(json["table_is_whole"], true);
}
