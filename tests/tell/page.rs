//! `dbakfs report --html`.

use std::fs;

use dbakfs::format::Timestamp;
use dbakfs::report::{Beside, State, html, status};
use dbakfs::repository::runs::{BackupType, CheckEnd, CheckKind, RunEnd, RunNotes};
use dbakfs::repository::{Points, Store};

use crate::shelf::{DAY, HOUR, Shelf, check, run};
use crate::support::points::noise;

/// Ten weeks: a full each Sunday, a differential on each day between and at two more times of it, growing; one day in nine fails.
pub(crate) fn ten_weeks(shelf: &mut Shelf, name: &str) {
    let mut runs = Vec::new();
    for week in 0..10_i64 {
        let begin = (10 - week) * 7 * DAY;
        let size = 40_000_000_000 + u64::try_from(week).unwrap() * 700_000_000;
        let full = shelf.full(name, shelf.ago(begin), size);
        let mut ran = run(shelf.ago(begin), BackupType::Full, RunEnd::Made);
        ran.secs = 5_400.0;
        runs.push(ran);
        for at in 1..20_i64 {
            let time = shelf.ago(begin - at * 8 * HOUR);
            let odd = noise(u64::try_from(week * 20 + at).unwrap(), 1)[0];
            let mut ran = run(time, BackupType::Differential, if odd < 28 { RunEnd::Failed } else { RunEnd::Made });
            ran.secs = 200.0 + f64::from(odd) * 2.0;
            if ran.end == RunEnd::Made {
                let grown = u64::try_from(at).unwrap() * 900_000_000 + u64::from(odd) * 8_000_000;
                shelf.differential(name, full, time, grown);
            }
            runs.push(ran);
        }
    }
    shelf.note(name, |notes| {
        runs.into_iter().for_each(|run| notes.push_run(run));
        notes.push_check(check(shelf.ago(HOUR), CheckKind::Full, CheckEnd::Pass, BackupType::Full));
    });
}

fn report(shelf: &Shelf) -> String {
    let path = shelf.place.path("page.html");
    shelf.place.run(["report", "--html", path.to_str().unwrap()]).exits(0);
    fs::read_to_string(path).unwrap()
}

/// Every tag is closed by its own, but for those that HTML leaves open; no attribute is without its quotes.
#[track_caller]
fn is_well_formed(page: &str) {
    let open = ["!doctype", "meta", "tr", "td", "th", "li", "line", "rect", "circle", "path", "polyline", "p"];
    let mut stack: Vec<&str> = Vec::new();
    let body = page.split("</style>").collect::<Vec<_>>().join("</style>");
    for tag in body.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap();
        if open.contains(&name) {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(stack.pop(), Some(name), "<{tag}>");
        } else if !tag.ends_with('/') {
            stack.push(name);
        }
    }
    assert!(stack.is_empty(), "{stack:?}");
}

/// Nothing is fetched, and nothing runs.
#[track_caller]
fn is_self_contained(page: &str) {
    for foreign in ["http:", "https:", "src=", "@import", "url(", "<script", "<link", "<iframe", "javascript:"] {
        assert!(!page.to_lowercase().contains(foreign), "{foreign} is in the page");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn page_holds_all_it_needs_and_a_chart_of_each_kind() {
    let mut shelf = Shelf::new();
    ten_weeks(&mut shelf, "www");
    let page = report(&shelf);
    is_well_formed(&page);
    is_self_contained(&page);
    assert_eq!(page.matches("<svg ").count(), 3);
    let points = shelf.place.points();
    let of = |kind: &str| points.iter().filter(|point| point["type"] == kind).count();
    assert!(points.len() > 150);
    assert_eq!(page.matches("<rect class=\"full\"").count(), of("full"), "a bar for each full");
    assert_eq!(page.matches("<rect class=\"differential\"").count(), of("differential"));
    assert_eq!(page.matches("class=\"cross\"").count(), 200 - points.len(), "a cross for each failure");
    assert!(page.contains("50 % of the full</text>"), "the line that differentials are held against");
    assert_eq!(page.matches("<polyline class=\"now\"").count(), 1);
    assert_eq!(page.matches("<polyline class=\"old\"").count(), 9);
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("name=\"viewport\""));
    assert!(page.len() < 300_000, "{}", page.len());
}

#[test]
fn one_point_or_none_or_several_sources_make_a_page() {
    let mut shelf = Shelf::new();
    let empty = report(&shelf);
    is_well_formed(&empty);
    assert!(empty.contains("There is no backup yet."));
    shelf.full("www", shelf.ago(HOUR), 0);
    let one = report(&shelf);
    is_well_formed(&one);
    assert!(!one.contains("NaN") && !one.contains("inf"), "{one}");
    assert!(one.contains("There is nothing to draw yet."));
    for name in ["db", "home", "mail"] {
        shelf.full(name, shelf.ago(HOUR), 100);
    }
    let several = report(&shelf);
    is_well_formed(&several);
    assert_eq!(several.matches("<a href=\"#s").count(), 4);
    // One is asked for, and the page is a result like any other.
    let db = shelf.place.run(["report", "db", "--html", "-"]).exits(0).stdout;
    assert!(db.contains("<h2>db</h2>") && !db.contains("mail"), "{db}");
    shelf.place.run(["report", "gone", "--html", "-"]).exits(1).says("known are: db, home, mail, www");
}

#[test]
fn hostile_names_and_reasons_are_text() {
    let hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u{202e}&amp;";
    let mut shelf = Shelf::new();
    ten_weeks(&mut shelf, "www");
    let mut points = Points::list(Store::open(&shelf.place.store()).unwrap().storage()).unwrap();
    points.points.iter_mut().for_each(|point| point.source.name = hostile.to_owned());
    let mut runs = RunNotes { name: hostile.to_owned(), ..RunNotes::default() };
    let mut failed = run(Timestamp::new(i64::MAX, 0), BackupType::Full, RunEnd::Failed);
    (failed.reason, failed.secs) = (hostile.to_owned(), f64::INFINITY);
    runs.push_run(failed);
    let mut check = check(Timestamp::new(i64::MIN, 0), CheckKind::Written, CheckEnd::Fail, BackupType::Full);
    check.findings.push(hostile.to_owned());
    runs.push_check(check);
    let state = State::of(&points, Vec::new(), vec![runs], &Beside::default());
    let all = status::all(&state, shelf.now);
    let page = html::page(&state, &all, hostile, shelf.now);
    is_well_formed(&page);
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\u{202e}'), "{page}");
    assert!(page.matches("&lt;script&gt;").count() > 3, "it is shown, as text");
    // The terminal is no safer.
    let sources: Vec<&str> = all.iter().map(|status| status.name.as_str()).collect();
    assert_eq!(sources, [hostile]);
}

#[test]
fn page_is_replaced_whole_or_not_at_all() {
    let mut shelf = Shelf::new();
    shelf.full("www", shelf.ago(HOUR), 10);
    let dir = shelf.place.path("site");
    fs::create_dir(&dir).unwrap();
    let path = dir.join("index.html");
    fs::write(&path, "old").unwrap();
    let held = fs::File::open(&path).unwrap();
    shelf.place.run(["report", "--html", path.to_str().unwrap()]).exits(0);
    assert_eq!(std::io::read_to_string(held).unwrap(), "old");
    assert!(fs::read_to_string(&path).unwrap().ends_with("</html>\n"));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    fs::create_dir(dir.join("taken")).unwrap();
    shelf.place.run(["report", "--html", dir.join("taken").to_str().unwrap()]).exits(1).says("cannot write");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "nothing is left beside it");
}
