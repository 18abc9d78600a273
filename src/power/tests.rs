use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use super::mending;
use super::oracle;
use super::script::{self, Script};
use super::search::{Effort, search};
use super::wounds::WOUNDS;
use crate::backup::Mode;
use crate::format::layout;
use crate::storage::recorder::Event;

/// The life of a store, recorded once for all tests that run at the same time; the last of them removes its files.
fn life() -> Arc<Script> {
    static LIFE: Mutex<Weak<Script>> = Mutex::new(Weak::new());
    let mut shared = LIFE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let life = Arc::new(script::life());
        *shared = Arc::downgrade(&life);
        life
    })
}

#[test]
fn no_power_cut_costs_what_was_promised() {
    let began = Instant::now();
    let (effort, life) = (Effort::from_environment(), life());
    let cuts: Vec<usize> = (0..=life.steps.last().unwrap().end).collect();
    match search(&life, oracle::check, &cuts, &|_| false, effort) {
        Ok(tried) => println!("{effort:?}: {tried} in {:?}", began.elapsed()),
        Err(failure) => panic!("{failure}"),
    }
}

/// All syncs that there are; docs/reliability.md says what each is for. A command has a site of its own where it has code of its own.
const SITES: [&str; 25] = [
    "all: content of marks.toml",
    "all: content of points/N.toml",
    "all: content of sources/home.toml",
    "all: content of store.toml",
    "all: content of store.toml.copy",
    "all: names in /: new made",
    "all: names in : marks.toml named",
    "all: names in : store.toml named",
    "all: names in : store.toml.copy named",
    "all: names in catalogs/: catalogs/N.removed named",
    "all: names in catalogs/: catalogs/N.removed removed",
    "all: names in new/: new/store made",
    "all: names in packs/: packs/xx made",
    "all: names in points/: points/N.toml named",
    "all: names in points/: points/N.toml removed",
    "all: names in sources/: sources/home.toml named",
    "backup: content of catalogs/N.catalog",
    "backup: content of packs/xx/N.pack",
    "backup: names in catalogs/: catalogs/N.catalog named",
    "backup: names in packs/xx/: packs/xx/N.pack named",
    "prune: content of catalogs/N.catalog",
    "prune: content of packs/xx/N.pack",
    "prune: names in catalogs/: catalogs/N.catalog named",
    "prune: names in packs/xx/: packs/xx/N.pack named",
    "prune: names in packs/xx/: packs/xx/N.pack removed",
];

/// Every sync that a command makes (any, if none is named), by what it is for, with its places in the log. What several commands have code of their own for is a site for each.
fn sites(script: &Script, of: Option<&str>) -> BTreeMap<String, Vec<usize>> {
    let mut sites: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (at, event) in script.log.iter().enumerate() {
        if let Event::Synced { what, .. } = event
            && let Some(step) = script.steps.iter().find(|step| at < step.end)
            && of.is_none_or(|of| of == step.command)
        {
            let has_own_code = what.contains(".catalog") || what.contains(".pack");
            let command = if has_own_code { step.command } else { "all" };
            let what = what.replace(&format!("{}/", script::STORE), "");
            sites.entry(format!("{command}: {what}")).or_default().push(at);
        }
    }
    sites
}

#[test]
fn every_sync_is_missed_when_it_is_left_out() {
    let effort = Effort { survivals: 5, every_index: false, ..Effort::from_environment() };
    let life = life();
    let end = life.steps.last().unwrap().end;
    let sites = sites(&life, None);
    let mut unnoticed = Vec::new();
    for (site, places) in &sites {
        let cuts: Vec<usize> = (places[0] + 1..=end).collect();
        match search(&life, oracle::check, &cuts, &|at| places.contains(&at), effort) {
            Ok(_) => unnoticed.push(site),
            Err(failure) => println!("without {site}: {failure}"),
        }
    }
    assert_eq!(sites.keys().map(String::as_str).collect::<Vec<_>>(), SITES);
    assert!(unnoticed.is_empty(), "not needed, or not looked for: {unnoticed:#?}");
}

/// A store on which a command is killed right before a sync, and then the next one does its work.
fn killed(command: &str, before: &str) -> Script {
    let options = |tag: &str| script::tagged(&[tag], Mode::Auto);
    let mut stage = script::Stage::new();
    stage.plant();
    stage.step("init", |stage| script::init(&stage.store()).unwrap());
    if command == "backup" {
        stage.killed("a backup that is killed", before, |stage| stage.back_up_somehow(&options("one")));
        // No new pack, so nothing but the old one is needed, and nothing syncs its directory by the way.
        stage.write("tiny", b"changed");
        stage.step("the backup after it", |stage| stage.back_up(&options("two")).unwrap());
    } else {
        stage.step("full", |stage| stage.back_up(&options("one")).unwrap());
        stage.write("dir/passing", &script::noise(41, 30_000));
        stage.write("dir/kept", &script::noise(42, 1700));
        let going = script::made(stage.step("differential", |stage| stage.back_up(&options("two")).unwrap())).0;
        stage.write("dir/passing", &script::noise(43, 700));
        stage.step("another", |stage| stage.back_up(&options("three")).unwrap());
        stage.step("forget", |stage| stage.forget(&[going], false).unwrap());
        stage.killed("a prune that is killed", before, script::Stage::prune);
        stage.step("the prune after it", |stage| stage.prune().unwrap());
    }
    stage.keep_index();
    stage.finish()
}

/// What is synced, and where a kill is of interest: before the names that a command gives or takes are durable.
fn kills(life: &Script) -> BTreeSet<(&'static str, &str)> {
    let mut kills = BTreeSet::new();
    for (step, command) in [("full", "backup"), ("prune that rewrites a pack", "prune")] {
        let at = life.steps.iter().position(|found| found.name == step).unwrap();
        for event in &life.log[life.steps[at - 1].end..life.steps[at].end] {
            if let Event::Synced { what, .. } = event
                && what.starts_with("names in")
            {
                kills.insert((command, what.as_str()));
            }
        }
    }
    kills
}

#[test]
fn what_a_killed_command_left_is_durable_before_it_is_built_upon() {
    let began = Instant::now();
    let from_environment = Effort::from_environment();
    let effort = Effort { survivals: from_environment.survivals.min(16) - 2, every_index: false, ..from_environment };
    let mut noticed = 0;
    for (command, before) in kills(&life()) {
        let script = killed(command, before);
        let at = script.steps.iter().position(|step| !step.has_returned).unwrap();
        let cuts: Vec<usize> = (script.steps[at].end..=script.steps[at + 1].end).collect();
        match search(&script, oracle::check, &cuts, &|_| false, effort) {
            Ok(tried) => println!("{command} killed before {before}: {tried} until {:?}", began.elapsed()),
            Err(failure) => panic!("{command} killed before {before}: {failure}"),
        }
        // The same without what the next writer makes durable at its beginning.
        let is_left_out =
            |at: usize| matches!(&script.log[at], Event::Synced { what, .. } if what.ends_with("as found"));
        if let Err(failure) = search(&script, oracle::check, &cuts, &is_left_out, effort) {
            println!("noticed: {failure}");
            noticed += 1;
        }
    }
    assert!(noticed >= 5, "what the next writer makes durable is never missed: {noticed}");
}

/// Where the power is cut in a life with a repair: in it, and in all that follows.
fn cuts_of_mending(script: &Script) -> Vec<usize> {
    let damage = script.steps.iter().find(|step| step.command == "damage").expect("there is damage");
    (damage.end..=script.steps.last().unwrap().end).collect()
}

#[test]
fn a_repair_that_is_cut_loses_nothing_and_the_next_one_ends_it() {
    let began = Instant::now();
    let effort = Effort::from_environment();
    let mut failures = Vec::new();
    for wound in WOUNDS {
        let script = wound.life();
        match search(&script, mending::check, &cuts_of_mending(&script), &|_| false, effort) {
            Ok(tried) => println!("{wound:?}: {tried} until {:?}", began.elapsed()),
            Err(failure) => failures.push(format!("{wound:?}: {failure}")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// All syncs that a repair makes, on stores with these wounds.
const SITES_OF_REPAIR: [&str; 23] = [
    "all: content of marks.toml",
    "all: content of points/N.toml",
    "all: content of store.toml",
    "all: content of store.toml.copy",
    "all: content of store.toml.damaged",
    "all: names in : marks.toml named",
    "all: names in : store.toml named",
    "all: names in : store.toml.copy named",
    "all: names in : store.toml.damaged named",
    "all: names in packs/: packs/xx made",
    "all: names in points/: points/N.toml named",
    "all: names in points/: points/N.toml.damaged named",
    "all: names in sources/: sources/home.toml.damaged named",
    "repair: content of catalogs/N.catalog",
    "repair: content of packs/xx/N.pack",
    "repair: names in catalogs/: catalogs/N.catalog named",
    "repair: names in catalogs/: catalogs/N.catalog named again",
    "repair: names in catalogs/: catalogs/N.catalog.damaged named",
    "repair: names in catalogs/: catalogs/N.catalog.damaged-1 named",
    "repair: names in packs/xx/: packs/xx/N.pack named",
    "repair: names in packs/xx/: packs/xx/N.pack named again",
    "repair: names in packs/xx/: packs/xx/N.pack.damaged named",
    WITHOUT_CONTENT,
];

/// The one that is not needed: the file is empty, and says by its name alone that there was a backup.
const WITHOUT_CONTENT: &str = "repair: content of catalogs/N.catalog.damaged-1";

/// Whether a sync is for the name of a file that was set aside before.
fn is_of_put_back(script: &Script, at: usize) -> bool {
    matches!(&script.log[at - 1], Event::Renamed { from, .. } if from.name.contains(layout::DAMAGED_SUFFIX))
}

#[test]
fn every_sync_of_a_repair_is_missed_when_it_is_left_out() {
    // The plain answers show each of them.
    let effort = Effort { survivals: 4, every_index: false, ..Effort::from_environment() };
    let lives = WOUNDS.map(|wound| (wound, wound.life()));
    let mut of_all: BTreeMap<String, Vec<(usize, Vec<usize>)>> = BTreeMap::new();
    for (life, (_, script)) in lives.iter().enumerate() {
        for (site, places) in sites(script, Some("repair")) {
            let (back, others): (Vec<_>, Vec<_>) = places.into_iter().partition(|at| is_of_put_back(script, *at));
            for (site, places) in [(format!("{site} again"), back), (site, others)] {
                if !places.is_empty() {
                    of_all.entry(site).or_default().push((life, places));
                }
            }
        }
    }
    let mut unnoticed = Vec::new();
    for (site, places) in of_all.iter().filter(|(site, _)| *site != WITHOUT_CONTENT) {
        let is_missed = places.iter().any(|(life, places)| {
            let (wound, script) = &lives[*life];
            let cuts: Vec<usize> = (places[0] + 1..=script.steps.last().unwrap().end).collect();
            let failure = search(script, mending::check, &cuts, &|at| places.contains(&at), effort).err();
            failure.map(|failure| println!("{wound:?} without {site}: {failure}")).is_some()
        });
        if !is_missed {
            unnoticed.push(site);
        }
    }
    assert!(unnoticed.is_empty(), "not needed, or not looked for: {unnoticed:#?}");
    assert_eq!(of_all.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(SITES_OF_REPAIR));
}
