//! What a backup tells while it runs, in words.

use dbakfs::backup::Notice;
use dbakfs::source::Descend;
use indicatif::{HumanBytes, ProgressBar};

use super::output;

/// Says it on standard error, past a progress bar.
pub(crate) fn say(bar: &ProgressBar, notice: &Notice) {
    let text = match notice {
        Notice::Unread { path, error } => format!("warning: cannot read {}: {error}", path.display()),
        Notice::Torn { path } => {
            format!("warning: {} changed each time it was read; what is kept may be torn", path.display())
        }
        Notice::LeftOut { path, why } => {
            let why = match why {
                Descend::Store => "it is a store",
                Descend::Mount => "it is a dbakfs mount",
                // What --one-file-system leaves out is what was asked for.
                Descend::OtherFilesystem | Descend::No | Descend::Yes => return,
            };
            format!("note: {} is recorded empty: {why}", path.display())
        }
        Notice::IndexRebuilt { reason, packs } => {
            format!("note: the index was rebuilt from {packs} packs: {reason}")
        }
        Notice::IndexMended { added, dropped: 0 } => {
            format!("note: {added} packs of a backup that was broken off are taken over")
        }
        Notice::IndexMended { added, dropped } => {
            format!("note: the index was set right: {added} packs entered, {dropped} dropped")
        }
        Notice::ClockBehind => {
            "warning: the clock stands before the newest point; the new one is dated just after it".to_owned()
        }
        Notice::FullInstead => "warning: there is no full to build on; making a full".to_owned(),
        Notice::LargeDifferential { bytes, full_bytes } => format!(
            "warning: the differential holds {} where its full holds {}: a new full would be better",
            HumanBytes(*bytes),
            HumanBytes(*full_bytes)
        ),
        Notice::BecomesFull => "note: the differential grows too large; making a full instead".to_owned(),
        Notice::BaseUnusable { number, error } => format!("warning: backup {number} cannot be built on: {error}"),
        Notice::Alarm(alarm) => format!(
            "warning: ALARM: {}; nothing of the source is forgotten by its rules or pruned until `dbakfs acknowledge`",
            alarm.reason
        ),
        Notice::Problem(text) => format!("warning: {text}"),
    };
    bar.suspend(|| output::complain(&text));
}
