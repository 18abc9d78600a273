//! What `status`, `report` and `metrics` tell: the store's own word, the configuration's, and what is not recorded yet.

use dbakfs::automation;
use dbakfs::format::Timestamp;
use dbakfs::report::{Beside, SourceStatus, State, status};
use dbakfs::repository::Points;

use super::{Exit, Failure, Global, Result, output, settings, store};

/// What stands beside the store.
pub(crate) fn beside(global: &Global) -> Result<Beside> {
    let settings = settings::load(global)?;
    let state = settings::existing_state();
    Ok(automation::beside(settings.as_ref(), state.as_ref(), &store::chosen(global)?))
}

/// All sources, with what could not be read said.
pub(crate) fn state(global: &Global) -> Result<State> {
    let store = store::open(global)?;
    let (state, _) = State::read(store.storage(), &Points::default(), &beside(global)?, Timestamp::now())?;
    for problem in &state.problems {
        output::complain(&format!("warning: {problem}"));
    }
    Ok(state)
}

/// How all sources stand, or the one of that name.
pub(crate) fn statuses(state: &State, name: Option<&str>) -> Result<Vec<SourceStatus>> {
    let mut all = status::all(state, Timestamp::now());
    let Some(name) = name else { return Ok(all) };
    let known = all.iter().map(|status| status.name.as_str()).collect::<Vec<_>>().join(", ");
    all.retain(|status| status.name == name);
    if all.is_empty() {
        let failure = Failure::new(Exit::Failed, format!("there is no source named {name}"));
        return Err(if known.is_empty() { failure } else { failure.hint(format!("known are: {known}")) });
    }
    Ok(all)
}
