use std::sync::LazyLock;
use std::time::Instant;

use super::script::{self, Script};
use super::search::{Effort, search};

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
