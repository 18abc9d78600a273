//! Inputs that nobody has seen yet: the corpora, mutated at random, a little longer at every run of the tests.
//!
//! No fuzzer, which would see what its inputs reach; but it needs none of its tools, and runs each time.

use std::time::{Duration, Instant};

use crate::fuzz::{TARGETS, run};
use crate::replay::corpus;

/// Time for each target; `DBAKFS_FRESH_MILLIS` gives more.
const MILLIS: u64 = 300;

/// A generator of numbers (xorshift64*), so that a seed says everything.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 11).unwrap() % bound.max(1)
    }
}

const ODD: [&[u8]; 10] = [
    &[0],
    &[0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0, 0, 0, 0, 1, 0, 0, 0],
    &[0xff; 8],
    &[0, 0, 0, 0x80],
    b"..",
    b"/",
    &[0, 2, 0, 0],
    &[8],
];

fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], chance: &mut Chance) {
    for _ in 0..=chance.below(4) {
        let at = chance.below(input.len() + 1);
        let end = (at + chance.below(16)).min(input.len());
        match chance.below(7) {
            0 if at < input.len() => input[at] ^= 1 << chance.below(8),
            1 if at < input.len() => input[at] = chance.next().to_le_bytes()[0],
            2 => drop(input.splice(at..end, ODD[chance.below(ODD.len())].iter().copied())),
            3 => drop(input.drain(at..end)),
            4 => {
                let part = input[at..end].to_vec();
                drop(input.splice(at..at, part));
            }
            5 => input.truncate(at),
            _ => {
                let other = &others[chance.below(others.len())];
                let from = chance.below(other.len() + 1);
                let to = (from + chance.below(64)).min(other.len());
                drop(input.splice(at..end, other[from..to].iter().copied()));
            }
        }
    }
    input.truncate(64 << 10);
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn fresh_inputs_do_no_harm() {
    let seed = number_of("DBAKFS_FRESH_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos().into()
    });
    let millis = Duration::from_millis(number_of("DBAKFS_FRESH_MILLIS").unwrap_or(MILLIS));
    let mut total = 0;
    for target in TARGETS {
        let inputs: Vec<Vec<u8>> = corpus(target.name).into_iter().map(|(_, input)| input).collect();
        let mut chance = Chance((seed << 1) | 1);
        let begun = Instant::now();
        let mut count = 0_u64;
        while begun.elapsed() < millis || count < 100 {
            let mut input = inputs[chance.below(inputs.len())].clone();
            mutate(&mut input, &inputs, &mut chance);
            let outcome = std::panic::catch_unwind(|| run(target.name, &input));
            assert!(
                outcome.is_ok(),
                "DBAKFS_FRESH_SEED={seed}: input {count} of {} does harm: {}",
                target.name,
                input.escape_ascii()
            );
            count += 1;
        }
        println!("{}: {count} inputs", target.name);
        total += count;
    }
    println!("DBAKFS_FRESH_SEED={seed}: {total} inputs");
}
