//! `GET /metrics`, answered on a thread of its own.
//!
//! Owns the listener, its thread and how many connections are served at once. Refuses to write to the store. Invariant: however many connect, and whatever they send,
//! at most [`AT_ONCE`] threads serve them, and the store is read at most once in [`FRESH`].

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::http::{self, Answer, Request};
use super::text;
use crate::format::Timestamp;
use crate::report::{Beside, State};
use crate::repository::{Points, RepositoryError, Store};

/// Connections that are served at once; further ones are closed.
const AT_ONCE: usize = 8;
/// Scrapes within this time of one another get the same text.
const FRESH: Duration = Duration::from_secs(1);
/// After an accept that failed, for want of descriptors say, the next is not tried at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Why metrics are not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no thread to be had.
    #[error("cannot start the thread that serves metrics: {0}")]
    Thread(io::Error),
}

/// A server of metrics. It ends with the value.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    waker: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens: the port that the system chose, where 0 was asked for.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its end of the pair wakes the thread.
        drop(self.waker.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves the metrics of a store at `addr` until the answer is dropped. `beside` is asked at each reading of the store for what is known outside it.
///
/// # Errors
/// The address cannot be listened on, or the system has no thread.
pub fn serve(
    addr: SocketAddr,
    store: Store,
    beside: impl FnMut() -> Beside + Send + 'static,
) -> Result<Server, ServeError> {
    let failed = |source| ServeError::Listen { addr, source };
    let listener = TcpListener::bind(addr).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    let (waker, woken) = UnixStream::pair().map_err(failed)?;
    let page = Arc::new(Mutex::new(Page { store, beside: Box::new(beside), points: Points::default(), last: None }));
    let thread = thread::Builder::new().name("metrics".to_owned());
    let thread = thread.spawn(move || listen(&listener, &woken, &page)).map_err(ServeError::Thread)?;
    Ok(Server { addr, waker: Some(waker), thread: Some(thread) })
}

fn listen(listener: &TcpListener, woken: &UnixStream, page: &Arc<Mutex<Page>>) {
    let busy = Arc::new(AtomicUsize::new(0));
    loop {
        let mut waits = [PollFd::new(listener, PollFlags::IN), PollFd::new(woken, PollFlags::IN)];
        match poll(&mut waits, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) if !waits[1].revents().is_empty() => return,
            Ok(_) => {}
        }
        match listener.accept() {
            Ok((stream, _)) => answer(stream, &busy, page),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted) => {}
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Answers a connection on a thread of its own, which ends with it.
fn answer(stream: TcpStream, busy: &Arc<AtomicUsize>, page: &Arc<Mutex<Page>>) {
    if busy.fetch_add(1, Ordering::AcqRel) >= AT_ONCE {
        busy.fetch_sub(1, Ordering::AcqRel);
        return;
    }
    let served = Served(Arc::clone(busy));
    let page = Arc::clone(page);
    // Where there is no thread to be had, the connection is closed, and the count goes down, with the closure.
    let _ = thread::Builder::new().name("metrics-answer".to_owned()).spawn(move || {
        let _served = served;
        // Whoever asked has gone, or was too slow: nobody else need know.
        let _ = http::converse(stream, |request| answer_to(request, &page));
    });
}

/// A connection that is served; no longer when it goes.
struct Served(Arc<AtomicUsize>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn answer_to(request: Request, page: &Mutex<Page>) -> Answer {
    match request {
        Request::Metrics | Request::MetricsHead => {
            let answer = page.lock().unwrap_or_else(PoisonError::into_inner).text();
            match answer {
                Ok(body) => Answer { status: "200 OK", kind: "text/plain; version=0.0.4; charset=utf-8", body },
                Err(error) => Answer::plain("500 Internal Server Error", format!("{error}\n")),
            }
        }
        Request::Elsewhere => Answer::plain("404 Not Found", "the metrics are at /metrics\n"),
        Request::Otherwise => Answer::plain("405 Method Not Allowed", "GET /metrics\n"),
        Request::Garbage => Answer::plain("400 Bad Request", "GET /metrics\n"),
    }
}

/// The text, as long as it is fresh.
struct Page {
    store: Store,
    beside: Box<dyn FnMut() -> Beside + Send>,
    points: Points,
    last: Option<(Instant, String)>,
}

impl Page {
    fn text(&mut self) -> Result<String, RepositoryError> {
        if let Some((_, text)) = self.last.as_ref().filter(|(made, _)| made.elapsed() < FRESH) {
            return Ok(text.clone());
        }
        self.last = None;
        let beside = (self.beside)();
        // Anew: a store whose disk was unmounted must not look like one without sources.
        self.store = Store::open(self.store.path())?;
        let (state, points) = State::read(self.store.storage(), &self.points, &beside, Timestamp::now())?;
        self.points = points;
        let text = text::render(&state);
        self.last = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}
