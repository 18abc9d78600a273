//! Which of the serving threads waits for messages: one leads, the others rest until the leader has something slow to do.
//!
//! A sleeping thread costs more to wake than most messages cost to answer, and several threads at the device are woken in turn. So one thread
//! waits at the device and answers whatever is quick; before it does something slow it calls [`step_aside`], and another takes its place. While
//! messages come one upon the other the leader does not sleep at all but asks again and again (`O_NONBLOCK`, which fuser answers by retrying);
//! after a millisecond of silence it sleeps. Nor do idle processors, where that is of use ([`NoHalt`]).
//!
//! Invariant: while the session lives, some thread is at the device or answers a message that it will finish without waiting for another message.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::halting::NoHalt;

/// So much silence ends the asking without sleep. Also how often it is looked for.
const SILENCE: Duration = Duration::from_millis(1);

/// Messages that follow one another no slower than this make a burst…
const BURST_GAP: Duration = Duration::from_micros(200);

/// …once there are so many of them.
const BURST: u32 = 16;

thread_local! {
    /// Set on serving threads from their first message on.
    static MEMBER: RefCell<Option<Member>> = const { RefCell::new(None) };
}

/// The serving threads of one session.
#[derive(Debug)]
pub(crate) struct Crew {
    state: Mutex<State>,
    /// Somebody at rest is wanted, or the session is over.
    wanted: Condvar,
    /// A burst began, or the session is over.
    burst: Condvar,
    messages: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// To set `O_NONBLOCK`; closed with the session.
    device: Option<OwnedFd>,
    flags: OFlags,
    /// Members that wait at the device or are on their way there. A thread that never had a message is no member yet, and waits there too.
    waiting: usize,
    resting: usize,
    /// Members that may leave their rest.
    called: usize,
    may_stay_awake: bool,
    /// The leader does not sleep.
    is_awake: bool,
    /// Whether processors are kept from halting while it does not.
    stops_halting: bool,
    no_halt: Option<NoHalt>,
    last: Instant,
    streak: u32,
}

/// A message being answered. Dropped when the answer is sent: then the thread goes back to the device, or rests.
pub(crate) struct Turn<'a>(&'a Crew);

/// The place of a thread in its crew. A serving thread ends only with the session, and then takes the resting ones along.
struct Member(Arc<Crew>);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Crew {
    /// The threads that will serve `device`.
    pub(crate) fn new(device: &OwnedFd) -> io::Result<Arc<Self>> {
        let flags = rustix::fs::fcntl_getfl(device)?;
        let state = State {
            device: Some(device.try_clone()?),
            flags,
            waiting: 0,
            resting: 0,
            called: 0,
            may_stay_awake: false,
            is_awake: false,
            stops_halting: NoHalt::is_of_use(),
            no_halt: None,
            last: Instant::now(),
            streak: 0,
        };
        let crew = Arc::new(Self {
            state: Mutex::new(state),
            wanted: Condvar::new(),
            burst: Condvar::new(),
            messages: AtomicU64::new(0),
        });
        // Where there is one processor only, whoever asks without sleep would take it from who is to be served.
        if std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1) {
            crew.lock().may_stay_awake = true;
            let watched = Arc::clone(&crew);
            std::thread::Builder::new().name("dbakfs-silence".to_owned()).spawn(move || watched.watch_for_silence())?;
        }
        Ok(crew)
    }

    /// This thread has a message.
    pub(crate) fn take(self: &Arc<Self>) -> Turn<'_> {
        let is_new = MEMBER.with_borrow_mut(|member| {
            let is_new = member.is_none();
            if is_new {
                *member = Some(Member(Arc::clone(self)));
            }
            is_new
        });
        self.messages.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        if !is_new {
            state.waiting -= 1;
        }
        if state.may_stay_awake && !state.is_awake {
            let now = Instant::now();
            state.streak = if now.duration_since(state.last) < BURST_GAP { state.streak + 1 } else { 0 };
            state.last = now;
            if state.streak >= BURST {
                self.wake(&mut state);
            }
        }
        Turn(self)
    }

    /// This thread will be slow: somebody else is to wait at the device.
    fn step_aside(&self) {
        let mut state = self.lock();
        if state.waiting == 0 && state.resting > state.called {
            state.called += 1;
            state.waiting += 1;
            drop(state);
            self.wanted.notify_one();
        }
    }

    fn go_back(&self) {
        let mut state = self.lock();
        if state.waiting == 0 || state.device.is_none() {
            state.waiting += 1;
            return;
        }
        state.resting += 1;
        while state.called == 0 && state.device.is_some() {
            state = self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.resting -= 1;
        // Who called has counted this thread as waiting already.
        state.called = state.called.saturating_sub(1);
    }

    /// The session is over.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.device = None;
        state.no_halt = None;
        drop(state);
        self.wanted.notify_all();
        self.burst.notify_all();
    }

    fn wake(&self, state: &mut State) {
        state.streak = 0;
        let Some(device) = &state.device else { return };
        // Where it cannot be set, the leader sleeps as before.
        state.is_awake = rustix::fs::fcntl_setfl(device, state.flags | OFlags::NONBLOCK).is_ok();
        state.no_halt = if state.is_awake && state.stops_halting { NoHalt::ask() } else { None };
        self.burst.notify_one();
    }

    /// Lets the leader sleep when no message came for a while. Sleeps itself while there is no burst.
    fn watch_for_silence(&self) {
        let mut state = self.lock();
        loop {
            while !state.is_awake && state.device.is_some() {
                state = self.burst.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let before = self.messages.load(Ordering::Relaxed);
            drop(state);
            std::thread::sleep(SILENCE);
            state = self.lock();
            let Some(device) = &state.device else { return };
            if self.messages.load(Ordering::Relaxed) == before {
                // Cannot fail where it could be set; if it did, the next look would try again.
                state.is_awake = rustix::fs::fcntl_setfl(device, state.flags).is_err();
                state.no_halt = None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.go_back();
    }
}

/// To be called by a tree before it does something slow, such as reading or decoding: then messages that are quick to answer need not wait.
/// Does nothing on a thread that serves no mount.
pub fn step_aside() {
    MEMBER.with_borrow(|member| {
        if let Some(Member(crew)) = member {
            crew.step_aside();
        }
    });
}
