//! `dbakfs run` and its hooks.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::Site;
use crate::support::cli::wait_for;
use crate::support::points::noise;

/// Each hook appends its name and the result to `order`, and keeps the report.
const EACH: &str = r#"
    hooks.before = 'cat > "$PLACE/before.json"; echo "$DBAKFS_HOOK $DBAKFS_RESULT" >> "$PLACE/order"'
    hooks.after = 'cat > "$PLACE/after.json"; echo "$DBAKFS_HOOK $DBAKFS_RESULT $DBAKFS_TYPE $DBAKFS_NUMBER" >> "$PLACE/order"'
    hooks.failed = 'cat > "$PLACE/failed.json"; echo "$DBAKFS_HOOK $DBAKFS_RESULT $DBAKFS_ERROR" >> "$PLACE/order"'
    hooks.finally = 'cat > "$PLACE/finally.json"; echo "$DBAKFS_HOOK $DBAKFS_RESULT" >> "$PLACE/order"'
"#;

fn report(site: &Site, name: &str) -> Value {
    serde_json::from_str(&site.written(name)).expect("a report")
}

#[test]
fn hooks_run_in_their_order_and_get_the_report() {
    let site = Site::new("", EACH);
    site.run(["run", "src"]).exits(0).prints("full 1: 1 files");
    assert_eq!(site.written("order"), "before running\nafter made full 1\nfinally made\n");
    let (before, after) = (report(&site, "before.json"), report(&site, "after.json"));
    assert_eq!(
        (&before["result"], &before["point"], &before["name"]),
        (&"running".into(), &Value::Null, &"src".into())
    );
    assert_eq!((&after["result"], &after["number"], &after["counts"]["files"]), (&"made".into(), &1.into(), &1.into()));
    assert_eq!(after["store"].as_str().unwrap(), site.place.store().to_str().unwrap());
    assert!(after["point"].as_str().unwrap().starts_with("src/20"), "{after}");

    fs::remove_file(site.place.path("order")).unwrap();
    site.run(["run", "src"]).exits(0).prints("nothing changed");
    assert_eq!(site.written("order"), "before running\nafter unchanged differential 1\nfinally unchanged\n");
    assert_eq!(site.ends("src"), ["made", "unchanged"]);
}

#[test]
fn before_that_fails_is_no_backup_and_the_run_has_failed() {
    let site = Site::new("", &EACH.replace("hooks.before = 'cat", "hooks.before = 'echo no room >&2; exit 7; cat"));
    site.run(["run", "src"])
        .exits(1)
        .says("src: before: no room")
        .says("error: the hook before failed: exit status: 7");
    assert_eq!(
        site.written("order"),
        "failed failed the hook before failed: exit status: 7\nfinally failed\n",
        "neither before nor after"
    );
    assert_eq!(report(&site, "finally.json")["error"], "the hook before failed: exit status: 7");
    assert_eq!(site.place.points().len(), 0);
    assert_eq!((site.totals("src", "full"), site.ends("src")), ((0, 1), vec!["failed".to_owned()]));
}

#[test]
fn no_hook_runs_under_the_writer_lock() {
    let inner = r#""$DBAKFS" backup "$PLACE/src" --name inner --force --quiet"#;
    let site = Site::new("", &format!("hooks.before = '{inner}'\nhooks.after = '{inner}'\nhooks.finally = '{inner}'"));
    site.run(["run", "src"]).exits(0);
    assert_eq!(site.place.points().len(), 4);
}

#[test]
fn hook_that_outstays_its_time_goes_with_all_that_it_started() {
    let before = r#"hooks.before = 'sleep 600 & echo $! > "$PLACE/child"; wait'"#;
    let site = Site::new("", &format!("{before}\nhooks.timeout = '1s'"));
    site.run(["run", "src"]).exits(1).says("the hook before was ended: it took longer than 1s");
    let child = site.written("child");
    wait_for(Duration::from_secs(20), "what it started to be gone", || {
        let status = fs::read_to_string(Path::new("/proc").join(child.trim()).join("status")).unwrap_or_default();
        // Nobody may have asked yet how it died.
        status.is_empty() || status.contains("State:\tZ")
    });
    assert_eq!(site.place.points().len(), 0);
}

#[test]
fn hook_that_fails_after_the_backup_takes_nothing_back_and_is_not_hidden() {
    let site = Site::new("", "hooks.after = 'exit 3'\nhooks.finally = 'exec 0<&-; echo tidied'");
    let ran = site.run(["run", "src", "--json"]).exits(1).says("warning: the hook after failed: exit status: 3");
    let report = &ran.json()[0];
    assert_eq!(
        (&report["result"], &report["warnings"][0]),
        (&"made".into(), &"the hook after failed: exit status: 3".into())
    );
    ran.says("src: finally: tidied");
    assert_eq!(site.place.points().len(), 1);
    assert_eq!(site.ends("src"), ["made"]);
}

#[test]
fn what_is_not_configured_is_wrong_usage_and_is_said_with_the_remedy() {
    let site = Site::new("", "");
    site.run(["run", "www"]).exits(2).says("no source named www").says("hint: it has src");
    let none = site.place.path("none.toml");
    site.run(["run", "src", "--config", none.to_str().unwrap()]).exits(2).says("cannot read the configuration");
    site.configure("stor = '/x'", "");
    site.run(["run", "src"]).exits(2).says("stor");
    assert_eq!(site.place.points().len(), 0);
}

#[test]
fn source_settings_hold_for_the_run() {
    let site = Site::new("", "exclude = ['*.tmp', '/cache/']\nfull_day = 'Sunday'\nmax_series_length = 2");
    let src = site.place.src();
    fs::write(src.join("x.tmp"), "x").unwrap();
    fs::create_dir(src.join("cache")).unwrap();
    fs::write(src.join("cache/x"), "x").unwrap();
    let first = site.run(["run", "src", "--json", "--task", "full"]).exits(0).json().remove(0);
    assert_eq!(first["counts"]["files"], 1, "{first}");
    site.run(["run", "src", "--force", "--task", "differential"]).exits(0).prints("differential 2 on full 1");
    let third = site.run(["run", "src", "--force", "--json"]).exits(0).json().remove(0);
    assert_eq!(third["type"], "full", "{third}");
}

#[test]
fn verification_is_a_task_and_damage_is_its_exit_code() {
    let site = Site::new("", EACH);
    fs::write(site.place.src().join("large"), noise(1, 100_000)).unwrap();
    site.run(["run", "src"]).exits(0);
    fs::remove_file(site.place.path("order")).unwrap();
    site.run(["run", "src", "--task", "verify"]).exits(0).prints("found no damage");
    let pack = site.place.packs().remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    site.run(["run", "src", "--task", "verify"]).exits(4).prints("found DAMAGE").prints("damaged: pack");
    let notes = site.noted("src");
    let checks = notes["checks"].as_array().unwrap();
    let full = checks.iter().filter(|check| check["kind"].as_str() == Some("full"));
    let ends: Vec<_> = full.map(|check| (check["kind"].as_str(), check["end"].as_str())).collect();
    assert_eq!(ends, [(Some("full"), Some("pass")), (Some("full"), Some("fail"))]);
    assert_eq!(site.written("order"), "", "hooks are for backups");
}
