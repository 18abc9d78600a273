use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Instant;

use super::script::{self, Script};
use super::search::{Effort, search};
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

/// Every sync of the life, by the step and what it is for, with its places in the log.
fn sites(script: &Script) -> BTreeMap<(&'static str, &str), Vec<usize>> {
    let mut sites: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (at, event) in script.log.iter().enumerate() {
        if let Event::Synced { what, .. } = event
            && let Some(step) = script.steps.iter().find(|step| at < step.end)
        {
            sites.entry((step.name, what.as_str())).or_default().push(at);
        }
    }
    sites
}

#[test]
fn every_sync_is_missed_when_it_is_left_out() {
    let began = Instant::now();
    let effort = Effort { survivals: 4, seed: 1, every_index: false, threads: 2 };
    let end = LIFE.steps.last().unwrap().end;
    let mut unnoticed = Vec::new();
    for ((step, what), places) in sites(&LIFE) {
        let cuts: Vec<usize> = (places[0] + 1..=end).collect();
        match search(&LIFE, &cuts, &|at| places.contains(&at), effort) {
            Ok(_) => {
                println!("UNNOTICED {step}: {what}");
                unnoticed.push((step, what));
            }
            Err(failure) => println!("{step}: {what}: {failure}"),
        }
    }
    println!("{:?}", began.elapsed());
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}
