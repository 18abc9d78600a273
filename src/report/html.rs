//! The status of all sources as one page: no script, nothing that is fetched, charts drawn in place.
//!
//! Owns its parts and words. Refuses to judge: what is amiss is in the status. Invariant: no text of a store or a configuration is markup in it.

use std::fmt::Write as _;

use super::chart::{self, Axis, Mark};
use super::state::{SourceState, State, StoredPoint, is_success};
use super::status::{self, CheckStatus, LastPoint, SourceStatus};
use super::words::{self, escape};
use crate::format::Timestamp;
use crate::policy::decision::{DecisionRules, threshold_bytes};
use crate::repository::runs::{BackupType, CheckEnd, CheckKind, Run, RunEnd};

const STYLE: &str = include_str!("page.css");
/// Of more points or runs than that only the newest are drawn.
const DRAWN: usize = 400;
/// Series before the newest that are drawn beside it.
const OLD_SERIES: usize = 9;
const DAY: f64 = 86_400.0;

/// The page for these sources at the moment `now`. `store` says which store they are in.
#[must_use]
pub fn page(state: &State, sources: &[SourceStatus], store: &str, now: Timestamp) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Backups</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Backups</h1>\n\
         <p class=\"soft\">{} as of {} UTC</p>\n",
        escape(store),
        words::moment(now)
    );
    if !state.problems.is_empty() {
        list(&mut html, &state.problems);
    }
    if sources.is_empty() {
        html.push_str("<section><p>There is no backup yet.</p></section>\n");
    }
    if sources.len() > 1 {
        overview(&mut html, sources);
    }
    for (at, status) in sources.iter().enumerate() {
        if let Some(source) = state.sources.get(&status.name) {
            section(&mut html, at, status, source);
        }
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

fn list(html: &mut String, lines: &[String]) {
    html.push_str("<ul class=\"amiss\">\n");
    for line in lines {
        let _ = writeln!(html, "<li>{}</li>", escape(line));
    }
    html.push_str("</ul>\n");
}

fn overview(html: &mut String, sources: &[SourceStatus]) {
    html.push_str(
        "<section class=\"scroll\"><table>\n<tr><th>Source<th>State<th class=\"number\">Points<th class=\"number\">Stored\
         <th class=\"number\">Last full<th class=\"number\">Last differential</tr>\n",
    );
    for (at, status) in sources.iter().enumerate() {
        let state = match status.amiss.len() {
            0 => "<span class=\"good\">as it should be</span>".to_owned(),
            1 => "<span class=\"bad\">1 thing amiss</span>".to_owned(),
            several => format!("<span class=\"bad\">{several} things amiss</span>"),
        };
        let _ = writeln!(
            html,
            "<tr><td class=\"name\"><a href=\"#s{at}\">{}</a><td class=\"fixed\">{state}<td class=\"number\">{}<td class=\"number\">{}\
             <td class=\"number\">{}<td class=\"number\">{}</tr>",
            escape(&status.name),
            status.points,
            words::bytes(status.stored_bytes),
            ago(status.last_full.as_ref()),
            ago(status.last_differential.as_ref()),
        );
    }
    html.push_str("</table></section>\n");
}

fn ago(last: Option<&LastPoint>) -> String {
    last.map_or_else(|| "none".to_owned(), |last| format!("{} ago", words::span(chart::size(last.age_secs))))
}

fn section(html: &mut String, at: usize, status: &SourceStatus, source: &SourceState) {
    let _ = writeln!(html, "<section id=\"s{at}\">\n<h2>{}</h2>", escape(&status.name));
    if status.amiss.is_empty() {
        html.push_str("<p class=\"good\">As it should be</p>\n");
    } else {
        list(html, &status.amiss);
    }
    tiles(html, status);
    html.push_str("<div class=\"charts\">\n");
    sizes(html, source);
    growth(html, status, source);
    durations(html, &source.ledger.runs);
    html.push_str("</div>\n");
    runs(html, status);
    checks(html, &status.checks);
    html.push_str("</section>\n");
}

fn tiles(html: &mut String, status: &SourceStatus) {
    let point = |last: Option<&LastPoint>| {
        let more = last.map(|last| format!("{}, {}", words::moment(last.time), words::bytes(last.size_bytes)));
        (ago(last), more.unwrap_or_default())
    };
    let (full, differential) = (point(status.last_full.as_ref()), point(status.last_differential.as_ref()));
    let wanted = |secs: Option<u64>| secs.map(|secs| format!("wanted: {} at most", words::span(chart::size(secs))));
    let success = match status.rpo.measured_secs.zip(status.last_success) {
        Some((age, time)) => (format!("{} ago", words::span(age)), words::moment(time)),
        None => ("never".to_owned(), String::new()),
    };
    let success = (success.0, wanted(status.rpo.wanted_secs).unwrap_or(success.1));
    let growth = match (status.growth.differentials.last(), status.growth.crosses) {
        (None, _) => ("none yet".to_owned(), String::new()),
        (Some(last), crosses) => {
            let more = match crosses {
                Some(_) if last.percent > f64::from(status.growth.threshold_percent) => {
                    "above the threshold".to_owned()
                }
                Some(day) => format!("{} % on {}", status.growth.threshold_percent, words::day(day)),
                None => format!("will not reach {} %", status.growth.threshold_percent),
            };
            let more = if status.growth.bytes_per_day.is_none() { String::new() } else { more };
            (format!("{:.0} % of its full", last.percent), more)
        }
    };
    let tiles = [
        ("Last full", full),
        ("Last differential", differential),
        ("Last success", success),
        (
            "Restore of everything",
            (
                status.rto.measured_secs.map_or_else(|| "not rehearsed".to_owned(), words::span),
                wanted(status.rto.wanted_secs).unwrap_or_default(),
            ),
        ),
        ("Differential", growth),
        ("Points", (status.points.to_string(), format!("{} stored", words::bytes(status.stored_bytes)))),
    ];
    html.push_str("<div class=\"tiles\">\n");
    for (head, (value, more)) in &tiles {
        let _ = writeln!(
            html,
            "<div class=\"tile\"><span class=\"soft\">{head}</span><b>{}</b><span class=\"soft\">{}</span></div>",
            escape(value),
            escape(more)
        );
    }
    html.push_str("</div>\n");
}

const KEYS: &str = "<span class=\"key\"><i class=\"full\"></i>full</span><span class=\"key\"><i class=\"differential\"></i>differential</span>";

fn figure(html: &mut String, head: &str, keys: &str, drawn: Option<String>) {
    let _ = writeln!(
        html,
        "<figure>\n<h3>{head}</h3>\n<p class=\"soft\">{keys}</p>\n{}</figure>",
        drawn.unwrap_or_else(|| "<p class=\"soft\">There is nothing to draw yet.</p>\n".to_owned())
    );
}

const fn class_of(of: BackupType) -> &'static str {
    match of {
        BackupType::Full => "full",
        BackupType::Differential => "differential",
    }
}

/// The series over time.
fn sizes(html: &mut String, source: &SourceState) {
    let points = &source.points[source.points.len().saturating_sub(DRAWN)..];
    let drawn = points.first().zip(points.last()).map(|(first, last)| {
        let most = points.iter().map(|stored| stored.point.counts.size_bytes).max().unwrap_or(0);
        let bars: Vec<Mark> = points.iter().map(bar).collect();
        chart::svg("Size of each backup", &Axis::times(first.point.time, last.point.time), &Axis::bytes(most), &bars)
    });
    figure(html, "Size of each backup", KEYS, drawn);
}

fn bar(stored: &StoredPoint) -> Mark {
    let point = &stored.point;
    let class = class_of(stored.backup_type());
    Mark::Bar {
        at: (chart::at(point.time), chart::size(point.counts.size_bytes)),
        class,
        title: format!(
            "{} UTC, {class} {}, series {}: {}",
            words::moment(point.time),
            point.number,
            point.series(),
            words::bytes(point.counts.size_bytes)
        ),
    }
}

/// The differentials of each series against its full, by their distance from it.
fn growth(html: &mut String, status: &SourceStatus, source: &SourceState) {
    let newest = source.newest_full().map(|full| full.point.number);
    let mut series: Vec<(bool, Vec<(f64, f64)>)> = Vec::new();
    let fulls: Vec<&StoredPoint> = source.points.iter().filter(|stored| stored.point.is_full()).collect();
    for full in &fulls[fulls.len().saturating_sub(OLD_SERIES + 1)..] {
        let full_bytes = full.point.counts.size_bytes;
        let mut through = vec![(0.0, 0.0)];
        through.extend(source.differentials_on(full.point.number).map(|on| {
            let grown = status::grown(on, full_bytes);
            (chart::at(grown.time).max(chart::at(full.point.time)) - chart::at(full.point.time), grown.percent)
        }));
        through.iter_mut().for_each(|place| place.0 /= DAY);
        let first = through.len().saturating_sub(DRAWN);
        series.push((newest == Some(full.point.number), through.split_off(first)));
    }
    let threshold = f64::from(status.growth.threshold_percent);
    let ahead = forecast(status, source);
    let places = || series.iter().flat_map(|(_, through)| through).chain(&ahead);
    let days = places().map(|place| place.0).fold(1.0, f64::max);
    let percent = places().map(|place| place.1).fold(threshold * 1.2, f64::max);
    let is_empty = series.iter().all(|(_, through)| through.len() < 2);
    let drawn = (!is_empty).then(|| {
        let mut marks: Vec<Mark> = Vec::new();
        let (now, old): (Vec<_>, Vec<_>) = series.into_iter().partition(|(is_newest, _)| *is_newest);
        marks.extend(old.into_iter().map(|(_, through)| Mark::Line { through, class: "old" }));
        marks.push(Mark::Level { at: threshold, label: format!("{threshold:.0} % of the full") });
        if !ahead.is_empty() {
            marks.push(Mark::Line { through: ahead, class: "ahead" });
        }
        for (_, through) in now {
            let dot = |at: &(f64, f64)| Mark::Dot {
                at: *at,
                class: "differential",
                title: format!("+{:.1} days: {:.1} %", at.0, at.1),
            };
            let dots: Vec<Mark> =
                if through.len() <= 40 { through.iter().skip(1).map(dot).collect() } else { Vec::new() };
            marks.push(Mark::Line { through, class: "now" });
            marks.extend(dots);
        }
        chart::svg("Differentials in percent of their full", &Axis::days(days), &Axis::percent(percent), &marks)
    });
    let keys = "<span class=\"key\"><i class=\"differential\"></i>this series</span><span class=\"key\"><i class=\"old\"></i>series before</span>";
    figure(html, "Differentials in percent of their full", keys, drawn);
}

/// From the newest differential to where the line crosses the threshold, if that is not much farther than the series has come.
fn forecast(status: &SourceStatus, source: &SourceState) -> Vec<(f64, f64)> {
    let growth = &status.growth;
    let last = growth.differentials.last();
    let (Some(full), Some(last), Some(crosses)) = (source.newest_full(), last, growth.crosses) else {
        return Vec::new();
    };
    let rules = DecisionRules { diff_threshold: growth.threshold_percent, ..DecisionRules::default() };
    let day = |time| (chart::at(time) - chart::at(full.point.time)) / DAY;
    let is_near = day(crosses) <= (3.0 * day(last.time)).max(14.0);
    let is_ahead = growth.full_bytes.is_some_and(|full| last.size_bytes <= threshold_bytes(&rules, full));
    if !is_near || !is_ahead {
        return Vec::new();
    }
    vec![(day(last.time), last.percent), (day(crosses), f64::from(growth.threshold_percent))]
}

/// How long the runs took.
fn durations(html: &mut String, runs: &[Run]) {
    let runs = &runs[runs.len().saturating_sub(DRAWN)..];
    let drawn = runs.first().zip(runs.last()).map(|(first, last)| {
        let most = runs.iter().map(|run| run.secs).filter(|secs| secs.is_finite()).fold(1.0, f64::max);
        let mark = |run: &Run| {
            let at = (chart::at(run.began), run.secs);
            let (class, took) = (class_of(run.r#type), words::span(run.secs));
            let title = format!("{} UTC, {class}, {}: {took}", words::moment(run.began), end_of(run.end));
            if is_success(run) { Mark::Dot { at, class, title } } else { Mark::Cross { at, title } }
        };
        let marks: Vec<Mark> = runs.iter().map(mark).collect();
        chart::svg("Duration of each run", &Axis::times(first.began, last.began), &Axis::secs(most), &marks)
    });
    let keys = format!("{KEYS}<span class=\"key\"><span class=\"x\">×</span> failed</span>");
    figure(html, "Duration of each run", &keys, drawn);
}

const fn end_of(end: RunEnd) -> &'static str {
    match end {
        RunEnd::Made => "made",
        RunEnd::Incomplete => "incomplete",
        RunEnd::Unchanged => "unchanged",
        RunEnd::Failed => "failed",
    }
}

fn runs(html: &mut String, status: &SourceStatus) {
    if status.runs.is_empty() {
        return;
    }
    html.push_str(
        "<details open><summary>Last runs</summary>\n<div class=\"scroll\"><table>\n<tr><th>Began (UTC)<th>Type<th>End\
         <th class=\"number\">Took<th class=\"number\">Size<th>Reason</tr>\n",
    );
    for run in &status.runs {
        let class = if run.end == RunEnd::Failed { " class=\"bad\"" } else { "" };
        let _ = writeln!(
            html,
            "<tr><td class=\"fixed\">{}<td>{}<td{class}>{}<td class=\"number\">{}<td class=\"number\">{}<td class=\"name\">{}</tr>",
            words::moment(run.began),
            class_of(run.r#type),
            end_of(run.end),
            words::span(run.secs),
            words::bytes(run.size_bytes),
            escape(&run.reason)
        );
    }
    html.push_str("</table></div></details>\n");
}

fn checks(html: &mut String, checks: &[CheckStatus]) {
    if checks.is_empty() {
        return;
    }
    html.push_str(
        "<details open><summary>Last checks</summary>\n<div class=\"scroll\"><table>\n<tr><th>Began (UTC)<th>Of\
         <th>Result<th class=\"number\">Took<th>Found</tr>\n",
    );
    for check in checks {
        let what = match check.kind {
            CheckKind::Written => "what was written",
            CheckKind::Sample => "a sample",
            CheckKind::Full => "the whole store",
            CheckKind::Rehearsal => "a restore",
        };
        let (class, word) = match check.end {
            CheckEnd::Pass => ("good", "PASS"),
            CheckEnd::Fail => ("bad", "FAIL"),
            CheckEnd::NotRun => ("bad", "not run"),
        };
        let _ = writeln!(
            html,
            "<tr><td class=\"fixed\">{}<td>{what}<td class=\"fixed {class}\">{word}<td class=\"number\">{}<td class=\"name\">{}</tr>",
            words::moment(check.began),
            words::span(check.secs),
            escape(&check.findings.join("; "))
        );
    }
    html.push_str("</table></div></details>\n");
}
