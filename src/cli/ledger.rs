//! What a backup from the command line notes of itself, as one that is configured does.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dbakfs::automation::{self, Entry};
use dbakfs::backup::{Done, Session};
use dbakfs::causes::chain;
use dbakfs::format::Timestamp;
use dbakfs::policy::schedule::Task;
use dbakfs::repository::{SourceName, Store};

use super::{Failure, Global, output, settings, store};

/// When something began, by the clock and by the time that passes.
pub(super) struct Began {
    at: Timestamp,
    since: Instant,
}

impl Began {
    pub(super) fn now() -> Self {
        Self { at: Timestamp::now(), since: Instant::now() }
    }

    pub(super) fn secs(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }
}

/// What is noted of the backups of one command.
pub(super) struct Ledger<'a> {
    global: &'a Global,
    began: Began,
    /// Those of which something is noted.
    noted: RefCell<BTreeSet<SourceName>>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(global: &'a Global) -> Self {
        Self { global, began: Began::now(), noted: RefCell::default() }
    }

    /// Notes a backup that ended well.
    pub(super) fn note_done(&self, session: &Session, name: &SourceName, done: &Done, began: &Began) {
        let run = automation::run_of(began.at, began.secs(), done);
        self.note(session, Entry::run(name, run));
    }

    /// Notes one that failed.
    pub(super) fn note_failure(
        &self,
        session: &Session,
        name: &SourceName,
        task: Task,
        failure: &Failure,
        began: &Began,
        was_stopped: bool,
    ) {
        let store = session.store();
        if self.concerns(Some(store), name) {
            let kind = automation::asked_type(task, Some(store), name);
            let run = automation::failed(began.at, began.secs(), kind, failure.to_string());
            self.note(session, Entry { was_stopped, ..Entry::run(name, run) });
        }
    }

    /// Notes that the command failed before it came to these sources.
    pub(super) fn note_failures(&self, names: &[SourceName], task: Task, failure: &Failure) {
        let Ok(path) = store::chosen(self.global) else { return };
        let store = Store::open(&path).ok();
        let noted = self.noted.borrow();
        let open = names.iter().filter(|name| !noted.contains(name) && self.concerns(store.as_ref(), name));
        let entries: Vec<Entry> = open
            .map(|name| {
                let kind = automation::asked_type(task, store.as_ref(), name);
                Entry::run(name, automation::failed(self.began.at, self.began.secs(), kind, failure.to_string()))
            })
            .collect();
        if !entries.is_empty() {
            let state = settings::state();
            automation::note(store.as_ref(), &path, &entries, state.as_ref(), Duration::ZERO, &warn);
        }
    }

    /// Whether somebody counts on the source being backed up; else a slip of the pen would be a source that fails for ever.
    fn concerns(&self, store: Option<&Store>, name: &SourceName) -> bool {
        store.is_some_and(|store| automation::is_known(store, name))
            || settings::of_source(self.global, name).is_ok_and(|settings| settings.is_some())
    }

    fn note(&self, session: &Session, entry: Entry) {
        let Some(writer) = session.writer() else { return };
        self.noted.borrow_mut().insert(entry.name.clone());
        let state = settings::existing_state();
        let entries = [entry];
        if let Err(error) = automation::write(session.store(), writer, &entries, state.as_ref(), &warn) {
            warn(format!("the run is not noted in the store: {}", chain(&error)));
            let state = state.or_else(settings::state);
            automation::note(None, session.store().path(), &entries, state.as_ref(), Duration::ZERO, &warn);
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what the library calls")]
fn warn(text: String) {
    output::complain(&format!("warning: {text}"));
}
