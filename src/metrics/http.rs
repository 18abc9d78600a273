//! One HTTP request and its answer, on a connection that may be anybody's.
//!
//! Owns the bounds: a head of [`HEAD_BYTES`], one request a connection, everything within [`PATIENCE`]. Refuses to know what is answered. Invariant: whatever comes
//! in, the connection is closed in time.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// A request's head is at most so long.
const HEAD_BYTES: usize = 8 << 10;
const HEADERS: usize = 64;
/// A connection lives no longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Of what a client sends beyond its request, so much is read before the connection is closed under it.
const DRAINED_BYTES: usize = 64 << 10;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// `GET /metrics`.
    Metrics,
    /// `HEAD /metrics`.
    MetricsHead,
    /// Another path.
    Elsewhere,
    /// Another method.
    Otherwise,
    /// No request that HTTP knows, or one with a head that is too long.
    Garbage,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) kind: &'static str,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn plain(status: &'static str, body: impl Into<String>) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: body.into() }
    }
}

/// Reads one request, has it answered, and closes.
pub(super) fn converse(mut stream: TcpStream, answer: impl FnOnce(Request) -> Answer) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    // Some systems hand the listener's mode on.
    stream.set_nonblocking(false)?;
    let request = read(&mut stream, end)?;
    let answer = answer(request);
    let mut text = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        answer.status,
        answer.kind,
        answer.body.len()
    );
    if request != Request::MetricsHead {
        text.push_str(&answer.body);
    }
    let mut left = text.as_bytes();
    while !left.is_empty() {
        stream.set_write_timeout(Some(remaining(end)?))?;
        let written = stream.write(left)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        left = &left[written..];
    }
    stream.shutdown(Shutdown::Write)?;
    // A connection that is closed before its input was read is reset, and the answer with it.
    let mut scratch = [0; 4 << 10];
    let mut drained = 0;
    while drained < DRAINED_BYTES {
        stream.set_read_timeout(Some(remaining(end)?))?;
        match stream.read(&mut scratch)? {
            0 => break,
            read => drained += read,
        }
    }
    Ok(())
}

fn read(stream: &mut TcpStream, end: Instant) -> io::Result<Request> {
    let mut head = Vec::with_capacity(1 << 10);
    let mut scratch = [0; 1 << 10];
    loop {
        stream.set_read_timeout(Some(remaining(end)?))?;
        let read = stream.read(&mut scratch)?;
        head.extend_from_slice(&scratch[..read]);
        match parse(&head) {
            Some(request) => return Ok(request),
            None if read == 0 || head.len() > HEAD_BYTES => return Ok(Request::Garbage),
            None => {}
        }
    }
}

fn remaining(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// What a head asks for; none where it is not whole yet.
fn parse(head: &[u8]) -> Option<Request> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => None,
        Err(_) => Some(Request::Garbage),
        Ok(httparse::Status::Complete(_)) => {
            let path = request.path.map(|path| path.split('?').next().unwrap_or(path));
            Some(match (request.method, path) {
                (Some("GET"), Some("/metrics")) => Request::Metrics,
                (Some("HEAD"), Some("/metrics")) => Request::MetricsHead,
                (Some("GET" | "HEAD"), _) => Request::Elsewhere,
                _ => Request::Otherwise,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_and_half_a_head_is_none() {
        for (head, request) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Some(Request::Metrics)),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", Some(Request::Metrics)),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", Some(Request::MetricsHead)),
            ("GET /../metrics HTTP/1.1\r\n\r\n", Some(Request::Elsewhere)),
            ("POST /metrics HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", Some(Request::Otherwise)),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n", None),
            ("\x16\x03\x01\x02", Some(Request::Garbage)),
            ("GET  HTTP/1.1\r\n\r\n", Some(Request::Garbage)),
        ] {
            assert_eq!(parse(head.as_bytes()), request, "{head:?}");
        }
        let crowded = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
        assert_eq!(parse(crowded.as_bytes()), Some(Request::Garbage));
    }
}
