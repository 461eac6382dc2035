//! Power goes at each step of an upgrade, its confirmation and its undo.

use super::{BLOCKED, COPY, COPY_GONE, COPY_NEW, FORMAT_FILE, UNDOING, Upgrade, UpgradeError, UpgradeState};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The files below a directory with their content and mode.
fn content(path: &Path) -> BTreeMap<String, (Vec<u8>, u32)> {
    fn add(root: &Path, at: &Path, found: &mut BTreeMap<String, (Vec<u8>, u32)>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            if path.is_dir() {
                found.insert(format!("{name}/"), (Vec::new(), mode));
                add(root, &path, found);
            } else {
                found.insert(name, (fs::read(&path).unwrap(), mode));
            }
        }
    }
    let mut found = BTreeMap::new();
    add(path, path, &mut found);
    found
}

/// A directory of an earlier version.
fn earlier() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("lock"), "1").unwrap();
    fs::write(path.join("region.json"), "{}").unwrap();
    fs::write(path.join("keystore.redb"), vec![7; 100_000]).unwrap();
    fs::create_dir_all(path.join("units/1")).unwrap();
    fs::write(path.join("units/1/device"), "secret").unwrap();
    fs::set_permissions(path.join("units/1/device"), fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

fn change(path: &Path) {
    fs::write(path.join("units/1/device"), "another format").unwrap();
    fs::write(path.join("units/1/state-keys"), "new").unwrap();
    fs::remove_file(path.join("keystore.redb")).unwrap();
    fs::write(path.join("keystore.pin"), "new").unwrap();
}

fn run(path: &Path, work: impl FnOnce(&mut Upgrade<'_>) -> Result<(), UpgradeError>) {
    work(&mut Upgrade::of(path, &mut || Ok(()))).unwrap();
}

/// Cuts the power before step `at`; false if the work ended before.
fn cut(path: &Path, at: usize, work: impl FnOnce(&mut Upgrade<'_>) -> Result<(), UpgradeError>) -> bool {
    let mut left = at;
    let mut step = || {
        left = left.checked_sub(1).ok_or_else(|| io::Error::other("power cut"))?;
        Ok(())
    };
    work(&mut Upgrade::of(path, &mut step)).is_err()
}

#[test]
fn an_upgrade_is_undone_whole() {
    let folder = earlier();
    let path = folder.path();
    let before = content(path);
    run(path, |upgrade| upgrade.prepare());
    assert_eq!(Upgrade::state(path), UpgradeState::Unconfirmed);
    change(path);
    // Another start changes nothing about it.
    run(path, |upgrade| upgrade.prepare());
    run(path, |upgrade| upgrade.undo());
    assert_eq!(content(path), before);
    assert!(matches!(Upgrade::of(path, &mut || Ok(())).undo(), Err(UpgradeError::NoCopy(_))));
}

#[test]
fn a_confirmed_upgrade_leaves_no_copy() {
    let folder = earlier();
    let path = folder.path();
    run(path, |upgrade| upgrade.prepare());
    change(path);
    run(path, |upgrade| upgrade.confirm());
    for gone in [COPY, COPY_NEW, COPY_GONE, UNDOING] {
        assert!(!path.join(gone).exists(), "{gone}");
    }
    assert_eq!(fs::read(path.join("units/1/device")).unwrap(), b"another format");
    assert!(matches!(Upgrade::of(path, &mut || Ok(())).confirm(), Err(UpgradeError::NoCopy(_))));
}

#[test]
fn a_power_cut_at_any_step_of_a_copy_leaves_the_earlier_files_or_a_whole_copy() {
    for at in 0.. {
        let folder = earlier();
        let path = folder.path();
        let before = content(path);
        let was_cut = cut(path, at, |upgrade| upgrade.prepare());
        let own = |name: &String| name.starts_with(COPY) || name == FORMAT_FILE;
        let mut now = content(path);
        now.retain(|name, _| !own(name));
        assert_eq!(now, before, "cut before step {at}");
        run(path, |upgrade| upgrade.prepare());
        change(path);
        run(path, |upgrade| upgrade.undo());
        assert_eq!(content(path), before, "cut before step {at}");
        if !was_cut {
            assert!(at > 5, "{at}");
            return;
        }
    }
}

#[test]
fn a_power_cut_at_any_step_of_an_undo_is_repaired_by_the_same_command() {
    let mut blocked = 0;
    for at in 0.. {
        let folder = earlier();
        let path = folder.path();
        let before = content(path);
        run(path, |upgrade| upgrade.prepare());
        change(path);
        let mut after = content(path);
        after.retain(|name, _| !name.starts_with(COPY));
        let was_cut = cut(path, at, |upgrade| upgrade.undo());
        if was_cut && Upgrade::state(path) == UpgradeState::Undoing {
            let refused = Upgrade::of(path, &mut || Ok(())).prepare();
            assert!(matches!(refused, Err(UpgradeError::UndoInterrupted(_))), "{refused:?}");
            // An earlier program, which does not know of undos, finds all files of one version, or no region.
            let mut now = content(path);
            now.retain(|name, _| !name.starts_with(COPY) && name != UNDOING);
            let is_blocked = now["region.json"].0 == BLOCKED;
            blocked += usize::from(is_blocked);
            assert!(is_blocked || now == before || now == after, "cut before step {at}");
        }
        if Upgrade::state(path) != UpgradeState::None {
            run(path, |upgrade| upgrade.undo());
        }
        let mut now = content(path);
        // What is left to overwrite is overwritten by the next command or start.
        now.retain(|name, _| !name.starts_with(COPY_GONE));
        assert_eq!(now, before, "cut before step {at}");
        if !was_cut {
            assert!(at > 5 && blocked > 5, "{at} steps, blocked after {blocked}");
            return;
        }
    }
}

#[test]
fn a_power_cut_at_any_step_of_a_confirmation_leaves_a_whole_copy_or_none() {
    for at in 0.. {
        let folder = earlier();
        let path = folder.path();
        run(path, |upgrade| upgrade.prepare());
        change(path);
        let was_cut = cut(path, at, |upgrade| upgrade.confirm());
        // The next start completes it.
        run(path, |upgrade| upgrade.prepare());
        assert!(!path.join(COPY_GONE).exists());
        if !was_cut {
            return;
        }
        if path.join(COPY).exists() {
            run(path, |upgrade| upgrade.confirm());
        }
        assert!(!path.join(COPY).exists());
    }
}

#[test]
fn a_copy_of_before_an_earlier_program_ran_again_is_not_put_back() {
    let folder = earlier();
    let path = folder.path();
    // The power goes when the copy is whole, before the format is written.
    for at in 0.. {
        assert!(cut(path, at, |upgrade| upgrade.prepare()), "the copy was never there without the format");
        if path.join(COPY).exists() {
            break;
        }
    }
    fs::write(path.join("keystore.redb"), "what the earlier program has written since").unwrap();
    let mut before = content(path);
    before.retain(|name, _| !name.starts_with(COPY));
    run(path, |upgrade| upgrade.prepare());
    change(path);
    run(path, |upgrade| upgrade.undo());
    assert_eq!(content(path), before);
}

#[test]
fn an_undo_overwrites_what_the_later_version_made() {
    let folder = earlier();
    let path = folder.path();
    run(path, |upgrade| upgrade.prepare());
    change(path);
    // Second names keep the bytes of files that are removed.
    let kept = tempfile::tempdir_in(path.parent().unwrap()).unwrap();
    fs::hard_link(path.join("units/1/state-keys"), kept.path().join("in-folder")).unwrap();
    fs::hard_link(path.join("keystore.pin"), kept.path().join("file")).unwrap();
    run(path, |upgrade| upgrade.undo());
    for name in ["in-folder", "file"] {
        assert_eq!(fs::read(kept.path().join(name)).unwrap(), [0; 3], "{name}");
    }
}

#[test]
fn what_cannot_be_copied_is_refused_before_anything_changes() {
    let folder = earlier();
    let path = folder.path();
    let before = content(path);
    let mut step = || Ok(());
    let mut small = Upgrade { room: |_| Ok(1_000_000), ..Upgrade::of(path, &mut step) };
    let refused = small.prepare();
    assert!(matches!(refused, Err(UpgradeError::NoRoom { found: 1_000_000, .. })), "{refused:?}");
    assert_eq!(content(path), before);
    std::os::unix::fs::symlink("/elsewhere", path.join("units/1/slot-a")).unwrap();
    let refused = Upgrade::of(path, &mut || Ok(())).prepare();
    assert!(matches!(refused, Err(UpgradeError::Link(_))), "{refused:?}");
    fs::remove_file(path.join("units/1/slot-a")).unwrap();
    assert_eq!(content(path), before);
}

#[test]
fn a_new_directory_has_the_format_and_no_copy() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("lock"), "1").unwrap();
    run(folder.path(), |upgrade| upgrade.prepare());
    assert_eq!(Upgrade::state(folder.path()), UpgradeState::None);
    assert_eq!(fs::read(folder.path().join(FORMAT_FILE)).unwrap(), b"2\n");
}

#[test]
fn a_directory_of_a_later_version_is_left_alone() {
    let folder = earlier();
    for (text, later) in [("3\n", true), ("", false), ("x", false)] {
        fs::write(folder.path().join(FORMAT_FILE), text).unwrap();
        let before = content(folder.path());
        let refused = Upgrade::of(folder.path(), &mut || Ok(())).prepare().unwrap_err();
        assert_eq!(matches!(refused, UpgradeError::Later { found: 3, .. }), later, "{refused}");
        assert_eq!(content(folder.path()), before);
    }
}
