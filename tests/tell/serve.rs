//! `dbakfs metrics --listen`, the real binary, asked by friends and others.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dbakfs::metrics;
use dbakfs::report::Beside;
use dbakfs::repository::Store;
use dbakfs::repository::runs::{BackupType, RunEnd};
use rustix::process::Signal;

use crate::shelf::{DAY, FULL, HOUR, Metrics, Shelf, WWW, get, run, send};
use crate::support::cli::{Place, wait_for};
use crate::support::process::signal;

/// A process that ends with the value.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves metrics at a port that the system chooses.
pub(crate) fn listen(place: &Place) -> (Running, SocketAddr) {
    let mut command = place.command();
    command.args(["metrics", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr = line.trim().strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap().parse().unwrap();
    (Running(child), addr)
}

#[test]
fn scrape_shows_what_the_store_holds_now() {
    let shelf = Shelf::new();
    shelf.ran("www", run(shelf.ago(HOUR), BackupType::Full, RunEnd::Made));
    let (mut running, addr) = listen(&shelf.place);
    let (head, body) = get(addr, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    assert_eq!(body, shelf.metrics().0, "the same as the command prints");

    // Another process fails; the next scrape says so, a second later at most.
    shelf.ran("www", run(shelf.now, BackupType::Full, RunEnd::Failed));
    wait_for(Duration::from_secs(10), "the failure to be shown", || {
        Metrics(get(addr, "/metrics").1).value("backup_job_status", &[WWW, FULL]) == Some(0.0)
    });
    signal(running.0.id().try_into().unwrap(), Signal::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
}

#[test]
fn store_that_cannot_be_read_is_no_set_of_metrics() {
    let shelf = Shelf::new();
    let (_running, addr) = listen(&shelf.place);
    // As where its disk was unmounted: that must not look like a store without sources.
    std::fs::rename(shelf.place.store(), shelf.place.path("away")).unwrap();
    let (head, body) = get(addr, "/metrics");
    assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    assert!(!body.contains("backup_"), "{body}");
    std::fs::rename(shelf.place.path("away"), shelf.place.store()).unwrap();
    assert!(get(addr, "/metrics").0.starts_with("HTTP/1.1 200 "), "and it goes on when it can");
}

#[test]
fn hostile_requests_get_a_refusal_and_do_no_harm() {
    let shelf = Shelf::new();
    let (_running, addr) = listen(&shelf.place);
    let long = "x".repeat(1 << 20);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("GET /metrics/../../etc/passwd HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\nabc".to_owned(), "405"),
        ("DELETE /metrics HTTP/1.1\r\n\r\n".to_owned(), "405"),
        ("\0\u{1}\u{2}\r\n\r\n".to_owned(), "400"),
        ("GET /metrics\r\n\r\n".to_owned(), "400"),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), "400"),
        (format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1_000)), "400"),
        ("GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_owned(), "200"),
    ] {
        let (head, _) = send(addr, request.as_bytes());
        // Who sends more than is read of it may find the connection reset before the refusal.
        let is_reset = head.is_empty() && request.len() > 64 << 10;
        assert!(is_reset || head.starts_with(&format!("HTTP/1.1 {status} ")), "{:.60}: {head}", request);
    }
    let (head, body) = send(addr, b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}{body}");
    assert!(get(addr, "/metrics").0.starts_with("HTTP/1.1 200 "));
}

#[test]
fn connections_that_say_nothing_are_few_and_short() {
    let shelf = Shelf::new();
    let (_running, addr) = listen(&shelf.place);
    let begun = Instant::now();
    let idle: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(addr).unwrap()).collect();
    // One that sends a letter now and then gets no more time for it.
    let (sender, receiver) = mpsc::channel::<()>();
    let mut slow = idle[0].try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while receiver.recv_timeout(Duration::from_millis(200)).is_err() && slow.write_all(b"G").is_ok() {}
    });
    for mut stream in idle {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut answer = Vec::new();
        // Closed, or reset where something had come.
        let _ = stream.read_to_end(&mut answer);
        assert!(begun.elapsed() < Duration::from_secs(25), "it was not closed");
    }
    let _ = sender.send(());
    dripping.join().unwrap();
    assert!(get(addr, "/metrics").0.starts_with("HTTP/1.1 200 "));
}

#[test]
fn server_ends_with_its_value_and_frees_its_port() {
    let mut shelf = Shelf::new();
    shelf.full("www", shelf.ago(DAY), 7);
    let open = || Store::open(&shelf.place.store()).unwrap();
    let server = metrics::serve("127.0.0.1:0".parse().unwrap(), open(), Beside::default).unwrap();
    let addr = server.addr();
    Metrics(get(addr, "/metrics").1).is("backup_size_bytes", &[WWW, FULL], 7.0);
    let taken = metrics::serve(addr, open(), Beside::default).unwrap_err().to_string();
    assert!(taken.contains(&addr.to_string()), "{taken}");
    drop(server);
    let again = metrics::serve(addr, open(), Beside::default).unwrap();
    assert_eq!(again.addr(), addr);
}
