//! `dbakfs repair`.

use std::sync::atomic::Ordering;

use dbakfs::backup::{self, Notice};
use dbakfs::repair::{self, Action, Event};
use dbakfs::repository::Store;
use dbakfs::storage::Wait;
use serde_json::json;

use super::{Exit, Failure, Global, Result, output, progress, signals, store};

/// Save what can be saved of a damaged store
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Reads every byte. What is damaged is set aside under its name with .damaged behind it; nothing is removed. Of damaged packs all chunks that are still whole are \
copied, and points read them there. Points that lost something are marked, and `dbakfs list` shows it. The next backup of a source reads again what was lost and is still \
there. Exit code 4 says that something is lost.

Example:
  dbakfs repair && dbakfs backup --full /srv/www")]
pub(crate) struct Args {
    /// Wait while another writer is busy
    #[arg(long)]
    wait: bool,
}

pub(crate) fn run(global: &Global, args: &Args) -> Result<Exit> {
    if Store::mend_description(&store::chosen(global)?)? {
        let why = "it was lost or damaged; its copy was not";
        print(global, &Event::Done(&Action::MadeAnew { name: "store.toml".to_owned(), why: why.to_owned() }))?;
    }
    let (store, lock) = store::writer(global, args.wait)?;
    let stop = signals::stop_flag()?;
    let mut printed = Ok(());
    let report = progress::of_verification(global, |bar, tell| {
        repair::repair(&store, &lock, &|| stop.load(Ordering::Relaxed), tell, &mut |event| {
            if printed.is_ok() {
                printed = bar.suspend(|| print(global, &event));
            }
        })
    })
    .map_err(|error| Failure::of(Exit::Failed, &error))?;
    printed?;
    drop(lock);
    // The index names packs that were set aside.
    let say = |notice| {
        if let Notice::Problem(text) = notice {
            output::complain(&format!("warning: {text}"));
        }
    };
    if let Err(error) = backup::rebuild_index(&store, Wait::Never, &say) {
        // The next backup does it by itself.
        output::complain(&format!("warning: the index was not rebuilt: {error}"));
    }
    let count = |is_forgotten: bool| {
        report.after.points.values().filter(|point| !point.is_whole() && point.is_forgotten == is_forgotten).count()
    };
    let (hurt, hurt_forgotten) = (count(false), count(true));
    let forgotten = match hurt_forgotten {
        0 => String::new(),
        1 => "; 1 forgotten is not".to_owned(),
        more => format!("; {more} forgotten are not"),
    };
    let exit = if hurt == 0 { Exit::Done } else { Exit::Damage };
    if global.json {
        output::json(
            &json!({ "event": "summary", "actions": report.actions.len(), "points_hurt": hurt, "forgotten_hurt": hurt_forgotten }),
        )?;
    } else if report.actions.is_empty() {
        let lost = match (hurt, hurt_forgotten) {
            (0, 0) => String::new(),
            (0, _) => format!("; every point that is not forgotten is whole{forgotten}"),
            _ => format!("; {hurt} points have lost something before{forgotten}"),
        };
        output::line(&format!("nothing had to be mended{lost}"))?;
    } else {
        let lost = match (hurt, hurt_forgotten) {
            (0, 0) => "every point is whole".to_owned(),
            (0, _) => format!("every point that is not forgotten is whole{forgotten}"),
            _ => format!("{hurt} points have lost something{forgotten}"),
        };
        output::line(&format!("mended: {lost}"))?;
    }
    Ok(exit)
}

fn print(global: &Global, event: &Event<'_>) -> Result<()> {
    let action = match event {
        Event::Damage(damage) if global.json => {
            let object = damage.object.to_string();
            return output::json(&json!({ "event": "damage", "object": object, "error": damage.to_string() }));
        }
        Event::Damage(damage) => return output::line(&format!("damaged: {damage}")),
        Event::Done(action) => *action,
    };
    if global.json {
        let (what, name, number, text) = match action {
            Action::MadeAnew { name, why } => ("made anew", Some(name), None, vec![why.clone()]),
            Action::SetAside { name, why, .. } => ("set aside", Some(name), None, vec![why.clone()]),
            Action::PutBack { name } => ("put back", Some(name), None, Vec::new()),
            Action::Left { name, why } => ("left", Some(name), None, vec![why.clone()]),
            Action::Marked { number, damaged } => ("marked", None, Some(number), damaged.clone()),
            Action::Whole { number } => ("whole", None, Some(number), Vec::new()),
        };
        return output::json(&json!({ "event": "done", "action": what, "name": name, "number": number, "text": text }));
    }
    output::line(&match action {
        Action::MadeAnew { name, why } => format!("made {name} anew: {why}"),
        Action::SetAside { name, to, why } => format!("set {name} aside as {to}: {why}"),
        Action::PutBack { name } => format!("put {name} back in its place"),
        Action::Left { name, why } => format!("left {name} where it is: {why}"),
        Action::Marked { number, damaged } => format!("marked backup {number}: {}", damaged.join("; ")),
        Action::Whole { number } => format!("backup {number} is whole, and is no longer marked"),
    })
}
