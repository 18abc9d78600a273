use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Instant;

use super::script::{self, Script};
use super::search::{Effort, search};
use crate::backup::Mode;
use crate::storage::recorder::Event;

static LIFE: LazyLock<Script> = LazyLock::new(script::life);

#[test]
fn no_power_cut_costs_what_was_promised() {
    let began = Instant::now();
    let effort = Effort::from_environment();
    println!("{effort:?}");
    for step in &LIFE.steps {
        println!("{:>5} changes until the end of {}", step.end, step.name);
    }
    let recorded = began.elapsed();
    let cuts: Vec<usize> = (0..=LIFE.steps.last().unwrap().end).collect();
    match search(&LIFE, &cuts, &|_| false, effort) {
        Ok(tried) => println!("{tried:?} in {:?}, recorded in {recorded:?}", began.elapsed()),
        Err(failure) => panic!("{failure}"),
    }
}

/// Every sync, by what it is for, with its places in the log. What several commands have code of their own for is a site for each.
fn sites(script: &Script) -> BTreeMap<String, Vec<usize>> {
    let mut sites: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (at, event) in script.log.iter().enumerate() {
        if let Event::Synced { what, .. } = event
            && let Some(step) = script.steps.iter().find(|step| at < step.end)
        {
            let has_own_code = what.contains(".catalog") || what.contains(".pack");
            let command = if has_own_code { step.command } else { "all" };
            sites.entry(format!("{command}: {what}")).or_default().push(at);
        }
    }
    sites
}

#[test]
fn every_sync_is_missed_when_it_is_left_out() {
    let began = Instant::now();
    let effort = Effort { survivals: 8, every_index: false, ..Effort::from_environment() };
    let end = LIFE.steps.last().unwrap().end;
    let mut unnoticed = Vec::new();
    for (site, places) in sites(&LIFE) {
        let cuts: Vec<usize> = (places[0] + 1..=end).collect();
        match search(&LIFE, &cuts, &|at| places.contains(&at), effort) {
            Ok(_) => {
                println!("UNNOTICED {site}");
                unnoticed.push(site);
            }
            Err(failure) => println!("{site}: {failure}"),
        }
    }
    println!("{:?}", began.elapsed());
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}

/// A store on which a command is killed right before the sync of `site`, and then another goes on; nothing but the end of that is cut.
fn killed(before: &str, command: &'static str) -> Script {
    let mut stage = script::Stage::new();
    stage.plant();
    stage.step("init", |stage| script::init(&stage.store()).unwrap());
    if command == "backup" {
        stage.killed("a backup that is killed", before, |stage| stage.back_up(&script::tagged(&["one"], Mode::Auto)));
        stage.write("dir/more", &script::noise(40, 1700));
        stage.step("the next backup", |stage| stage.back_up(&script::tagged(&["two"], Mode::Auto)).unwrap());
    } else {
        let full = script::made(stage.step("full", |stage| stage.back_up(&script::tagged(&[], Mode::Auto)).unwrap()));
        stage.write("dir/passing", &script::noise(41, 30_000));
        stage.write("dir/kept", &script::noise(42, 1700));
        let going = script::made(stage.step("going", |stage| stage.back_up(&script::tagged(&[], Mode::Auto)).unwrap()));
        stage.write("dir/passing", &script::noise(43, 700));
        stage.step("staying", |stage| stage.back_up(&script::tagged(&[], Mode::Auto)).unwrap());
        assert!(full.0 < going.0);
        stage.step("forget", |stage| stage.forget(&[going.0], false).unwrap());
        stage.killed("a prune that is killed", before, |stage| stage.prune());
        stage.step("the next prune", |stage| stage.prune().unwrap());
    }
    stage.keep_index();
    stage.finish()
}

#[test]
fn what_a_killed_command_left_is_not_built_upon_before_it_is_durable() {
    let effort = Effort::from_environment();
    let began = Instant::now();
    let mut killed_at = 0;
    for command in ["backup", "prune"] {
        let whole = &LIFE.steps.iter().filter(|step| step.command == command).map(|step| step.name).collect::<Vec<_>>();
        let names: BTreeSet<&str> = sync_names(&LIFE, whole);
        for before in names.iter().filter(|name| name.starts_with("names in")) {
            let script = killed(before, command);
            let from = script.steps.iter().position(|step| !step.has_returned).unwrap();
            let cuts: Vec<usize> = (script.steps[from].end..=script.steps[from + 1].end).collect();
            killed_at += 1;
            match search(&script, &cuts, &|_| false, effort) {
                Ok(tried) => println!("{command} killed before {before}: {tried:?}"),
                Err(failure) => println!("{command} killed before {before}: FAILED {failure}"),
            }
        }
    }
    println!("{killed_at} in {:?}", began.elapsed());
}

fn sync_names<'a>(script: &'a Script, steps: &[&str]) -> BTreeSet<&'a str> {
    let mut begin = 0;
    let mut names = BTreeSet::new();
    for step in &script.steps {
        if steps.contains(&step.name) {
            names.extend(script.log[begin..step.end].iter().filter_map(|event| match event {
                Event::Synced { what, .. } => Some(what.as_str()),
                _ => None,
            }));
        }
        begin = step.end;
    }
    names
}
