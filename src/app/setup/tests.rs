//! First starts: finished, cut short at every step, undone, and two at once.

use super::*;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o777
}

#[test]
fn folders_and_file_are_private_and_gone_again_when_undone() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("etc/keepgate/config.toml"), folder.path().join("var/data"));
    assert_eq!(obstacles(&config, &data), Vec::<String>::new());
    let mut setup = prepare(&config, &data).unwrap();
    assert!(!config.exists(), "it comes last");
    fs::write(data.join("store"), "").unwrap();
    setup.finish(&config, "text", &data).unwrap();
    assert_eq!((mode(&config), mode(&data)), (0o600, 0o700));
    assert_eq!((setup.made().len(), fs::read_dir(config.parent().unwrap()).unwrap().count()), (5, 1));
    assert_eq!(obstacles(&config, &data).len(), 2);
    setup.undo();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A kill leaves what a dropped setup leaves: nothing is undone.
#[test]
fn a_start_that_was_cut_short_is_begun_anew_at_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("etc/config.toml"), folder.path().join("data"));
    let setup = prepare(&config, &data).unwrap();
    assert_eq!(obstacles(&config, &data).len(), 1, "another that is at work is not disturbed");
    drop(setup);
    assert_eq!(obstacles(&config, &data), Vec::<String>::new());
    // In the middle of the stores, with a half-written draft beside the place of the configuration.
    fs::create_dir_all(data.join("store/journal")).unwrap();
    fs::write(data.join("master.key"), "half").unwrap();
    fs::write(folder.path().join("etc/config.toml.init"), "half").unwrap();
    assert_eq!(obstacles(&config, &data), Vec::<String>::new());
    let mut setup = prepare(&config, &data).unwrap();
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "the marker alone");
    fs::write(data.join("master.key"), "whole").unwrap();
    // Stores that are whole are never cleared away, with or without their configuration.
    fs::remove_file(data.join(UNFINISHED)).unwrap();
    assert!(obstacles(&config, &data).concat().contains("master.key"));
    fs::write(data.join(UNFINISHED), "").unwrap();
    setup.finish(&config, "text", &data).unwrap();
    drop(setup);
    assert_eq!(obstacles(&config, &data).len(), 2);
    assert_eq!(fs::read_to_string(&config).unwrap(), "text");
    assert_eq!(fs::read_dir(config.parent().unwrap()).unwrap().count(), 1, "no draft is left");
}

#[test]
fn between_the_last_two_steps_both_stores_and_configuration_are_there_and_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("etc/config.toml"), folder.path().join("data"));
    let setup = prepare(&config, &data).unwrap();
    fs::write(data.join("master.key"), "key").unwrap();
    let draft = draft_of(&config);
    setup.draft(&draft, "text").unwrap();
    assert!(data.join(UNFINISHED).exists(), "the draft is whole before the folder is");
    settle(&data).unwrap();
    drop(setup);
    let expected = [
        format!("the data folder {} with master.key", data.display()),
        format!("{}.init, left by an `init` that was cut short", config.display()),
    ];
    assert_eq!(obstacles(&config, &data), expected);
    fs::rename(&draft, &config).unwrap();
    assert_eq!((fs::read_to_string(&config).unwrap().as_str(), mode(&config)), ("text", 0o600));
}

/// As the configuration's draft cannot be written, for example.
#[test]
fn an_end_that_fails_leaves_no_draft_and_the_marker_until_the_draft_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("etc/config.toml"), folder.path().join("data"));
    let mut setup = prepare(&config, &data).unwrap();
    fs::create_dir(draft_of(&config)).unwrap();
    setup.finish(&config, "text", &data).unwrap_err();
    assert!(data.join(UNFINISHED).exists(), "the next first start may clear the folder");
    fs::remove_dir(draft_of(&config)).unwrap();
    fs::write(&config, "another's").unwrap();
    setup.finish(&config, "text", &data).unwrap_err();
    assert!(!draft_of(&config).exists());
}

#[test]
fn what_others_put_into_the_folders_meanwhile_stays_when_undone() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("srv/etc/config.toml"), folder.path().join("srv/var/data"));
    let setup = prepare(&config, &data).unwrap();
    fs::write(data.join("master.key"), "ours").unwrap();
    let others = [folder.path().join("srv/var/other"), folder.path().join("srv/etc/other.toml")];
    others.iter().for_each(|other| fs::write(other, "theirs").unwrap());
    let lines = crate::observe::logging::testing::lines(|| setup.undo());
    assert!(others.iter().all(|other| other.exists()) && !data.exists());
    assert_eq!(lines, Vec::<String>::new(), "that is nothing to be warned of");
}

/// Whoever looked while the folder was empty, and goes on when another has filled it.
#[test]
fn a_node_that_another_finished_meanwhile_is_not_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("etc/config.toml"), folder.path().join("data"));
    let other = folder.path().join("etc/other.toml");
    assert_eq!(obstacles(&other, &data), Vec::<String>::new());
    let mut first = prepare(&config, &data).unwrap();
    fs::create_dir_all(data.join("store/journal")).unwrap();
    fs::write(data.join("master.key"), "key").unwrap();
    let late = prepare(&other, &data).unwrap_err();
    assert_eq!(late.path, data, "while it is at work");
    first.finish(&config, "text", &data).unwrap();
    // A marker whose maker was killed before it looked speaks for nothing either.
    for left in [false, true] {
        if left {
            fs::write(data.join(UNFINISHED), "").unwrap();
        }
        let late = prepare(&other, &data).unwrap_err();
        assert!(late.to_string().contains("not empty any more"), "{late}");
        assert_eq!(obstacles(&other, &data).len(), 1);
        assert_eq!(fs::read_to_string(data.join("master.key")).unwrap(), "key");
        assert!(data.join("store/journal").is_dir() && data.join(UNFINISHED).exists() == left);
    }
}

#[test]
fn a_marker_that_is_a_link_a_pipe_or_a_folder_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (data, elsewhere) = (folder.path().join("data"), folder.path().join("elsewhere"));
    fs::create_dir(&data).unwrap();
    let marker = data.join(UNFINISHED);
    fs::write(&elsewhere, SAYS).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &marker).unwrap();
    claim(&data).unwrap_err();
    fs::remove_file(&elsewhere).unwrap();
    claim(&data).unwrap_err();
    assert!(!elsewhere.exists());
    fs::remove_file(&marker).unwrap();
    rustix::fs::mkfifoat(CWD, &marker, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    claim(&data).unwrap_err();
    fs::remove_file(&marker).unwrap();
    fs::create_dir(&marker).unwrap();
    claim(&data).unwrap_err();
}

#[test]
fn what_stood_there_before_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("config.toml"), folder.path().join("data"));
    fs::create_dir(&data).unwrap();
    fs::write(&config, "mine").unwrap();
    let mut setup = prepare(&config, &data).unwrap();
    let error = setup.finish(&config, "text", &data).unwrap_err();
    assert!(error.to_string().contains("config.toml"), "{error}");
    setup.undo();
    assert_eq!(fs::read_to_string(&config).unwrap(), "mine");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "an empty folder that was there");
    fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), &config).unwrap();
    assert_eq!(obstacles(&config, &data).len(), 1);
    let mut setup = prepare(&config, &data).unwrap();
    setup.finish(&config, "text", &data).unwrap_err();
    setup.undo();
    assert!(!folder.path().join("elsewhere").exists(), "a link is not followed");
}

#[test]
fn the_owner_of_a_data_folder_can_read_the_configuration() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("etc/config.toml"), folder.path().join("data"));
    fs::create_dir(&data).unwrap();
    chown(&data, Some(65534), Some(65533)).unwrap();
    let mut setup = prepare(&config, &data).unwrap();
    setup.finish(&config, "text", &data).unwrap();
    setup.made().iter().for_each(|path| {
        assert_eq!(path.metadata().unwrap().gid(), 65533, "{}", path.display());
    });
    assert_eq!((mode(&config), mode(config.parent().unwrap())), (0o640, 0o750));
}
