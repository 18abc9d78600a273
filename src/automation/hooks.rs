//! Commands that a person wants run before and after a backup.

use std::process::{Command, ExitStatus};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::child::{self, End};
use super::report::Report;
use crate::policy::Secs;

/// Why a hook did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// There is no shell to be had.
    #[error("cannot run the hook {hook}")]
    Start {
        /// Which.
        hook: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with something else than 0.
    #[error("the hook {hook} failed: {status}")]
    Failed {
        /// Which.
        hook: &'static str,
        /// How it ended.
        status: ExitStatus,
    },
    /// Its time was up.
    #[error("the hook {hook} was ended: it took longer than {timeout}")]
    TimedOut {
        /// Which.
        hook: &'static str,
        /// How long it may take.
        timeout: Secs,
    },
    /// The run was stopped meanwhile.
    #[error("the hook {hook} was stopped")]
    Stopped {
        /// Which.
        hook: &'static str,
    },
}

/// Runs `text` by the shell and waits for it. Each line that it says goes to `say`.
pub(super) fn call(
    hook: &'static str,
    text: &str,
    timeout: Secs,
    report: &Report,
    stop: Option<&AtomicBool>,
    say: &mut dyn FnMut(&[u8]),
) -> Result<(), HookError> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(text).envs(report.environment()).env("DBAKFS_HOOK", hook).env_remove("NOTIFY_SOCKET");
    let mut input = report.to_json().into_bytes();
    input.push(b'\n');
    match child::run(command, &input, Duration::from_secs(timeout.0), stop, say) {
        Ok(End::Exited(status)) if status.success() => Ok(()),
        Ok(End::Exited(status)) => Err(HookError::Failed { hook, status }),
        Ok(End::TimedOut) => Err(HookError::TimedOut { hook, timeout }),
        Ok(End::Stopped) => Err(HookError::Stopped { hook }),
        Err(source) => Err(HookError::Start { hook, source }),
    }
}
