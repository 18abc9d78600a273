//! Lives of stores that are damaged and repaired.
//!
//! Owns the wounds. Refuses to judge. Its invariant: a wound is the medium's own doing, durable and known to it; what the repair is to do with it is seen to be done.

use std::fs;
use std::path::{Path, PathBuf};

use super::script::{self, Script, Stage, noise};
use crate::backup::Mode;
use crate::format::{Number, layout};
use crate::repair::Action;

/// What the medium does to a store of a full and two differentials. Together they need all that a repair can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wound {
    /// A byte of a small file differs in a pack of the full.
    Byte,
    /// Two packs lie under each other's names; marks and what is noted of a point are rubbish.
    Packs,
    /// Two catalogs lie under each other's names; the description and what is noted of the source are rubbish.
    Catalogs,
    /// A catalog and a pack lie in the places of others, and their own are rubbish; so is the copy of the description.
    Strays,
    /// A catalog and a pack have no end.
    Ends,
}

pub(super) const WOUNDS: [Wound; 5] = [Wound::Byte, Wound::Packs, Wound::Catalogs, Wound::Strays, Wound::Ends];

/// Of these a repair keeps no damaged text: what they say is known from elsewhere.
pub(super) const MADE_ANEW: [&str; 2] = [layout::MARKS_TOML, layout::STORE_COPY];

const TWO: Number = Number(2);
const THREE: Number = Number(3);

impl Wound {
    /// The life of a store with this wound.
    pub(super) fn life(self) -> Script {
        let options = |tag: &str| script::tagged(&[tag], Mode::Auto);
        let mut stage = Stage::new();
        stage.plant();
        stage.step("init", |stage| script::init(&stage.store()).unwrap());
        let mut packs = Vec::new();
        for (name, tag) in [("full", "one"), ("differential", "two"), ("another", "three")] {
            stage.step(name, |stage| stage.back_up(&options(tag)).unwrap());
            packs.push(stage.new_pack());
            if tag == "one" {
                stage.keep_index();
            }
            stage.write("tiny", tag.as_bytes());
            stage.write(&format!("dir/{tag}"), &noise(u32::try_from(50 + packs.len()).unwrap(), 3000));
        }
        stage.step("damage", |stage| self.inflict(stage, &packs));
        let report = stage.step("repair", |stage| script::repair(&stage.store()).unwrap());
        let done: Vec<String> = report.actions.iter().map(short).collect();
        assert_eq!(done, self.mended_by(), "{report:#?}");
        stage.step("backup after it", |stage| stage.back_up_somehow(&options("four")).unwrap());
        if self == Self::Byte {
            stage.step("forget", |stage| stage.forget(&[TWO], false).unwrap());
            stage.step("prune after it", |stage| stage.prune().unwrap());
        }
        stage.keep_index();
        stage.write("dir/last", &noise(60, 2500));
        stage.finish()
    }

    /// Does it, to a store whose backups have these packs.
    fn inflict(self, stage: &Stage, packs: &[PathBuf]) {
        let store = stage.store();
        let catalog = |number| store.join(layout::catalog(number));
        let damage = |path: &Path, bytes: &[u8]| stage.recorder.damage(path, bytes.to_vec());
        let rubbish = |name: &str| damage(&store.join(name), &rubbish(name));
        let swap = |one: &Path, two: &Path| {
            let bytes = [fs::read(one).unwrap(), fs::read(two).unwrap()];
            damage(one, &bytes[1]);
            damage(two, &bytes[0]);
        };
        let stray = |from: &Path, to: &Path| {
            damage(to, &fs::read(from).unwrap());
            damage(from, b"rubbish where something else was");
        };
        let end = |path: &Path| {
            let mut bytes = fs::read(path).unwrap();
            let at = bytes.len() - 5;
            bytes[at] ^= 1;
            damage(path, &bytes);
        };
        match self {
            Self::Byte => {
                let mut bytes = fs::read(&packs[0]).unwrap();
                let other = &noise(2, 1500)[700..720];
                let at = bytes.windows(other.len()).position(|found| found == other).expect("noise is stored as it is");
                bytes[at] ^= 1;
                damage(&packs[0], &bytes);
            }
            Self::Packs => {
                swap(&packs[0], &packs[1]);
                rubbish(layout::MARKS_TOML);
                rubbish(&layout::point(TWO));
            }
            Self::Catalogs => {
                swap(&catalog(TWO), &catalog(THREE));
                rubbish(layout::STORE_TOML);
                rubbish(&format!("{}/{}{}", layout::SOURCES, script::SOURCE, layout::TOML_SUFFIX));
            }
            Self::Strays => {
                stray(&catalog(THREE), &catalog(TWO));
                stray(&packs[0], &packs[2]);
                rubbish(layout::STORE_COPY);
            }
            Self::Ends => {
                end(&catalog(TWO));
                end(&packs[2]);
            }
        }
    }

    /// What a repair does about it, in order.
    fn mended_by(self) -> &'static [&'static str] {
        match self {
            Self::Byte => &["packs set aside", "1 marked", "2 marked", "3 marked"],
            Self::Packs => &[
                "points/00000002.toml set aside",
                "packs set aside",
                "packs set aside",
                "packs put back",
                "packs put back",
                "marks.toml made anew",
            ],
            Self::Catalogs => &[
                "sources/home.toml set aside",
                "catalogs/00000002.catalog set aside",
                "catalogs/00000003.catalog set aside",
                "catalogs/00000003.catalog put back",
                "catalogs/00000002.catalog put back",
            ],
            Self::Strays => &[
                "catalogs/00000002.catalog set aside",
                "catalogs/00000003.catalog set aside",
                "catalogs/00000003.catalog put back",
                "packs set aside",
                "packs set aside",
                "packs put back",
                "2 marked",
                "3 marked",
            ],
            Self::Ends => &["catalogs/00000002.catalog set aside", "packs set aside", "2 marked", "3 marked"],
        }
    }
}

/// What becomes of a small file.
pub(super) fn rubbish(name: &str) -> Vec<u8> {
    format!("rubbish in {name}").into_bytes()
}

/// An action without what differs from one run to the next.
fn short(action: &Action) -> String {
    let kind = |name: &str| if name.starts_with(layout::PACKS) { layout::PACKS.to_owned() } else { name.to_owned() };
    match action {
        Action::MadeAnew { name, .. } => format!("{} made anew", kind(name)),
        Action::SetAside { name, .. } => format!("{} set aside", kind(name)),
        Action::PutBack { name } => format!("{} put back", kind(name)),
        Action::Left { name, .. } => format!("{} left", kind(name)),
        Action::Marked { number, .. } => format!("{number} marked"),
        Action::Whole { number } => format!("{number} whole"),
    }
}
