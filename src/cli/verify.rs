//! `dbakfs verify`.

use std::time::Instant;

use dbakfs::automation;
use dbakfs::format::{Number, Timestamp};
use dbakfs::repository::{CacheBytes, RunNotes};
use dbakfs::verify::{self, Depth, Event, Harm, Object, Report, written};
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::{Exit, Failure, Global, Result, check, output, points, progress, store};

/// Check the store, and say which points and files damage touches
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Without --data the structure is checked: every catalog wholly, and the tables of every pack. With it every byte is read and every \
chunk compared with its hash, and the verdict is kept with each source. Damage ends it with exit code 4; what is whole and what is not is printed.

Example:
  dbakfs verify --data")]
pub(crate) struct Args {
    /// Read every byte
    #[arg(long)]
    data: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let reader = store::reader(global, CacheBytes::of_total(48 << 20))?;
    // What cannot be listed is for the verification to say.
    let points = reader.points()?;
    let depth = if args.data { Depth::Data } else { Depth::Structure };
    let name = |number: Number| {
        points
            .get(number)
            .map_or_else(|| format!("backup {number}"), |point| format!("{} ({number})", points::name(point)))
    };
    let mut printed = Ok(());
    let (began, begun) = (Timestamp::now(), Instant::now());
    let report = progress::of_verification(global, |bar, tell| {
        let mut show = |event: Event<'_>| {
            if printed.is_ok() {
                printed = bar.suspend(|| print(global, &event, &name));
            }
        };
        verify::verify(&reader, depth, tell, &mut show)
    })
    .map_err(|error| Failure::of(Exit::Failed, &error))?;
    if args.data {
        let outcome = written::of_report(&report, began, begun.elapsed().as_secs_f64());
        let store = reader.store();
        check::keep(store, |lock| {
            outcome.mark(store, lock)?;
            let mut problem = None;
            for name in automation::known_sources(store)? {
                problem = RunNotes::keep_check(store, lock, &name, outcome.check.clone())?.or(problem);
            }
            Ok(problem)
        });
    }
    printed?;
    summarize(global, &report, args.data, &name)?;
    Ok(if report.is_whole() { Exit::Done } else { Exit::Damage })
}

fn print(global: &Global, event: &Event<'_>, name: &dyn Fn(Number) -> String) -> Result<()> {
    match event {
        Event::Damage(damage) if global.json => output::json(&json!({
            "event": "damage",
            "object": damage.object.to_string(),
            "error": damage.to_string(),
            "harm": harm(damage.harm),
        })),
        Event::Touched { point, path, cause } if global.json => output::json(&json!({
            "event": "touched",
            "number": point,
            "path": dbakfs::format::point::bytes_as_text::encode(path),
            "cause": cause.to_string(),
        })),
        Event::Damage(damage) => output::line(&format!("damaged: {damage}")),
        Event::Touched { point, path, cause } => {
            output::line(&format!("unreadable: {}: {}: {cause}", name(*point), output::printable(path)))
        }
    }
}

const fn harm(harm: Harm) -> &'static str {
    match harm {
        Harm::Data => "data",
        Harm::Latent => "latent",
        Harm::Point => "point",
        Harm::Notes => "notes",
    }
}

fn summarize(global: &Global, report: &Report, is_data: bool, name: &dyn Fn(Number) -> String) -> Result<()> {
    let shown = |(_, point): &(&Number, &verify::PointReport)| !point.is_forgotten;
    let (whole, hurt): (Vec<_>, Vec<_>) = report.points.iter().filter(shown).partition(|(_, point)| point.is_whole());
    if global.json {
        let hurt: Vec<_> = hurt
            .iter()
            .map(|(number, point)| {
                let objects: Vec<String> = point.damaged.iter().map(Object::to_string).collect();
                json!({ "number": number, "files": point.touched_files, "damaged": objects })
            })
            .collect();
        return output::json(&json!({
            "event": "summary",
            "depth": if is_data { "data" } else { "structure" },
            "whole": report.is_whole(),
            "damages": report.damages.len(),
            "catalogs": report.catalogs,
            "packs": report.packs,
            "blocks": report.blocks,
            "chunks": report.chunks,
            "pack_bytes": report.pack_bytes,
            "orphan_packs": report.orphan_packs,
            "orphan_bytes": report.orphan_bytes,
            "points_whole": whole.iter().map(|(number, _)| number).collect::<Vec<_>>(),
            "points_hurt": hurt,
        }));
    }
    for (number, point) in &hurt {
        let objects: Vec<String> = point.damaged.iter().map(Object::to_string).collect();
        output::line(&format!(
            "hurt: {}: {} files unreadable; damaged: {}",
            name(**number),
            HumanCount(point.touched_files),
            objects.join(", ")
        ))?;
    }
    if !hurt.is_empty() {
        let names: Vec<String> = whole.iter().map(|(number, _)| name(**number)).collect();
        output::line(&format!("whole: {}", if names.is_empty() { "no point".to_owned() } else { names.join(", ") }))?;
    }
    if report.orphan_packs > 0 {
        output::line(&format!(
            "{} packs ({}) are referred to by no point: no damage",
            report.orphan_packs,
            HumanBytes(report.orphan_bytes)
        ))?;
    }
    output::line(&format!(
        "{} {} points, {} packs, {} blocks, {} chunks, {}: {}",
        if is_data { "read" } else { "checked the structure of" },
        report.catalogs,
        report.packs,
        HumanCount(report.blocks),
        HumanCount(report.chunks),
        HumanBytes(report.pack_bytes),
        if report.is_whole() { "no damage".to_owned() } else { format!("{} damaged", report.damages.len()) },
    ))
}
