//! `dbakfs list`.

use dbakfs::format::Origin;
use dbakfs::repository::{CacheBytes, when};
use indicatif::{HumanBytes, HumanCount};

use super::{Exit, Failure, Global, Result, output, points, store};

/// List the points in time
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Example:\n  dbakfs list www\n\nTIME is UTC; two backups of a name within one second get seconds of their own. SERIES a.b is the b-th point of the series of full a; BASE is the full that a differential stands on. SIZE is what the files hold, STORED what the backup added to the store. (incomplete): some files could not be read."
)]
pub(crate) struct Args {
    /// Only those of this name
    name: Option<String>,
    /// Those that are forgotten and can still be brought back
    #[arg(long)]
    forgotten: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    let reader = store::reader(global, CacheBytes::of_total(1 << 20))?;
    let points = points::list(&reader)?;
    let positions = points::positions(&points);
    let wanted = |name: &str| args.name.as_deref().is_none_or(|wanted| wanted == name);
    if let Some(name) = &args.name
        && !args.forgotten
        && !points.source_names().contains(&name.as_str())
    {
        let known = points.source_names().join(", ");
        return Err(Failure::new(Exit::Failed, format!("there is no source named {name}"))
            .hint(format!("the store has: {known}")));
    }
    let mut rows = Vec::new();
    let all = if args.forgotten { &points.forgotten } else { &points.points };
    for point in all.iter().filter(|point| wanted(&point.source.name)) {
        let position = positions.get(&point.number.0).copied().unwrap_or(0);
        let shown = points::shown(&points, point, position);
        if global.json {
            output::json(&shown)?;
            continue;
        }
        let notes = points.notes_of(point.number);
        let mut remarks: Vec<String> = notes.tags.iter().map(ToString::to_string).collect();
        if notes.pinned {
            remarks.push("(pinned)".to_owned());
        }
        match point.origin {
            Origin::Backup => {}
            Origin::Import => remarks.push("(imported)".to_owned()),
            Origin::Promotion => remarks.push("(promoted)".to_owned()),
        }
        if !point.is_complete() {
            remarks.push("(incomplete)".to_owned());
        }
        if let Some(forgotten) = notes.forgotten {
            remarks.push(format!("(forgotten {})", when::format_point_time(forgotten)));
        }
        if !notes.damaged.is_empty() {
            remarks.push("(damaged)".to_owned());
        }
        let stored = point.counts.stored_bytes + points.catalog_bytes.get(&point.number).copied().unwrap_or(0);
        rows.push(vec![
            point.number.to_string(),
            point.source.name.clone(),
            when::format_point_time(point.time),
            points::kind(point).to_owned(),
            format!("{}.{position}", point.series()),
            if point.is_full() { "-".to_owned() } else { point.series().to_string() },
            HumanCount(point.counts.files).to_string(),
            HumanBytes(point.counts.bytes).to_string(),
            HumanBytes(stored).to_string(),
            remarks.join(" "),
        ]);
    }
    if !global.json {
        let head = [
            ("NUMBER", true),
            ("NAME", false),
            ("TIME", false),
            ("TYPE", false),
            ("SERIES", false),
            ("BASE", true),
            ("FILES", true),
            ("SIZE", true),
            ("STORED", true),
            ("TAGS", false),
        ];
        output::table(&head, &rows)?;
    }
    Ok(Exit::Done)
}
