//! One bounded cache of decoded things: at most so many bytes, and each thing decoded once however many wait for it.
//!
//! Knows nothing of what it holds. Invariant: what is held never weighs more than the bound, but for one entry
//! that alone is heavier.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// A cache from `K` to shared `V`, bounded in bytes.
pub struct ByteCache<K, V> {
    state: Mutex<State<K, V>>,
    loaded: Condvar,
    limit_bytes: usize,
    before_wait: fn(),
}

struct State<K, V> {
    held: LruCache<K, (Arc<V>, usize)>,
    loading: HashSet<K>,
    bytes: usize,
}

impl<K: Hash + Eq + Copy, V> ByteCache<K, V> {
    /// An empty cache that holds at most `limit_bytes`.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self::with_notice(limit_bytes, || ())
    }

    /// As [`ByteCache::new`]; `before_wait` is called by whoever is about to load something, or to wait for another who does.
    #[must_use]
    pub fn with_notice(limit_bytes: usize, before_wait: fn()) -> Self {
        let state = State { held: LruCache::unbounded(), loading: HashSet::new(), bytes: 0 };
        Self { state: Mutex::new(state), loaded: Condvar::new(), limit_bytes, before_wait }
    }

    /// The value of `key`: held, or made by `load`, which also says how many bytes it weighs. While one caller loads, others that
    /// want the same key wait for it; when it fails, one of them tries anew.
    ///
    /// # Errors
    /// What `load` says.
    pub fn get<E>(&self, key: K, load: impl FnOnce() -> Result<(V, usize), E>) -> Result<Arc<V>, E> {
        let mut state = self.lock();
        loop {
            if let Some((value, _)) = state.held.get(&key) {
                return Ok(Arc::clone(value));
            }
            if state.loading.insert(key) {
                break;
            }
            (self.before_wait)();
            state = self.loaded.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        (self.before_wait)();
        // Dropped on every way out, a panic in `load` included: nobody waits for ever.
        let loading = Loading { cache: self, key };
        let (value, bytes) = load()?;
        let value = Arc::new(value);
        loading.cache.keep(key, Arc::clone(&value), bytes);
        Ok(value)
    }

    /// Bytes held now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn keep(&self, key: K, value: Arc<V>, bytes: usize) {
        let mut dropped = Vec::new();
        let mut state = self.lock();
        state.bytes += bytes;
        if let Some((_, before)) = state.held.push(key, (value, bytes)) {
            state.bytes -= before.1;
        }
        while state.bytes > self.limit_bytes && state.held.len() > 1 {
            let Some((_, oldest)) = state.held.pop_lru() else { break };
            state.bytes -= oldest.1;
            dropped.push(oldest);
        }
        drop(state);
        // Freed here, outside the lock.
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Loading<'a, K: Hash + Eq + Copy, V> {
    cache: &'a ByteCache<K, V>,
    key: K,
}

impl<K: Hash + Eq + Copy, V> Drop for Loading<'_, K, V> {
    fn drop(&mut self) {
        self.cache.lock().loading.remove(&self.key);
        self.cache.loaded.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_bound_is_kept_and_the_least_used_goes() {
        let cache = ByteCache::new(100);
        let load = |key: u32| cache.get(key, || Ok::<_, Infallible>((key, 40))).unwrap();
        load(1);
        load(2);
        load(1);
        load(3);
        assert_eq!(cache.bytes(), 80);
        let mut again = false;
        cache.get(1, || Ok::<_, Infallible>((1, 40))).unwrap();
        cache
            .get(2, || {
                again = true;
                Ok::<_, Infallible>((2, 40))
            })
            .unwrap();
        assert!(again, "2 was used least and had to go");
    }

    #[test]
    fn many_waiters_load_once() {
        let cache = ByteCache::new(100);
        let loads = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let value = cache.get(7, || {
                        loads.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(20));
                        Ok::<_, Infallible>((42, 1))
                    });
                    assert_eq!(*value.unwrap(), 42);
                });
            }
        });
        assert_eq!(loads.into_inner(), 1);
    }

    #[test]
    fn a_failed_load_is_tried_again() {
        let cache: ByteCache<u8, u8> = ByteCache::new(100);
        assert_eq!(cache.get(1, || Err::<(u8, usize), _>("no")), Err("no"));
        assert_eq!(cache.get(1, || Ok::<_, &str>((5, 1))).map(|value| *value), Ok(5));
    }
}
