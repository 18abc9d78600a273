//! Owns one connection to the kernel while it is served: its threads, and the handles to it. Does not know where it is mounted.
//!
//! Invariant: when the kernel has ended the connection, the threads end and no descriptor of the device is left.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use fuser::{Session, SessionACL};

use crate::adapter::{Adapter, Answers};
use crate::crew::Crew;
use crate::ending::Ending;
use crate::error::{MountError, Result};
use crate::live::Live;
use crate::push::Pusher;
use crate::tree::Tree;

/// A connection that is being served.
#[derive(Debug)]
pub(crate) struct Connection {
    /// To invalidate what the kernel remembers.
    pub(crate) live: Live,
    /// To wait for its end.
    pub(crate) ending: Arc<Ending>,
}

impl Connection {
    /// Begins to answer the messages of `device`, in so many threads. `path` is for errors to name.
    pub(crate) fn serve<T: Tree>(answers: Answers<T>, device: OwnedFd, threads: usize, path: &Path) -> Result<Self> {
        let start = |error| MountError::io("start the threads of", path)(error);
        let ending = Arc::new(Ending::of(&device).map_err(MountError::io("watch", path))?);
        let crew = Crew::new(&device).map_err(start)?;
        let pushing = device.try_clone().and_then(|device| Pusher::start(Arc::clone(&answers.tree), device));
        let (pusher, pushing) = pushing.map_err(start)?;
        let for_live = device.try_clone().map_err(start)?;
        let adapter = Adapter::new(answers, crew, pusher);
        let mut config = fuser::Config::default();
        config.n_threads = Some(threads.max(1));
        // The kernel lets in whom the mount options allow; fuser's second check would only shut out programs that change their user.
        let session = Session::from_fd(adapter, device, SessionACL::All, config)
            .map_err(MountError::io("begin serving", path))?;
        let live = Live::new(session.notifier(), for_live);
        let connection = Self { live: live.clone(), ending: Arc::clone(&ending) };
        std::thread::Builder::new()
            .name("dbakfs-mount".to_owned())
            .spawn(move || {
                if let Err(error) = session.run() {
                    tracing::error!(%error, "serving the mount ended with an error");
                }
                live.close();
                // With the adapter its pusher is gone. Only when the thread is, too, is nothing of the connection left in this process.
                if pushing.join().is_err() {
                    tracing::error!("the thread that pushes ahead panicked");
                }
                ending.reach();
            })
            .map_err(start)?;
        Ok(connection)
    }
}
