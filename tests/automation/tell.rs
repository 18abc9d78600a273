//! Webhook and mail.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::Site;

/// An HTTP server that gives these answers, one after the other, and hands on what it was sent.
fn serve(answers: &'static [&'static str]) -> (String, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?secret=s3cr3t", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let (mut head, mut len) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    len = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
                head.push_str(&line);
            }
            let mut body = vec![0; len];
            reader.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            reader.into_inner().write_all(answer.as_bytes()).unwrap();
            sender.send((head, serde_json::from_slice(&body).unwrap())).unwrap();
        }
    });
    (url, receiver)
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn webhook_gets_the_report_and_is_tried_again() {
    let (url, received) = serve(&["503 Busy", "204 Taken"]);
    let site = Site::new(&format!("[notify]\nwebhook = '{url}'\non = 'always'"), "");
    let ran = site.run(["run", "src"]).exits(0);
    assert_eq!(ran.stderr, "");
    for _ in 0..2 {
        let (head, report) = received.recv_timeout(SOON).unwrap();
        assert!(head.starts_with("POST /hook?secret=s3cr3t HTTP/1.1\r\n"), "{head}");
        assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
        assert_eq!((&report["name"], &report["result"]), (&"src".into(), &"made".into()));
    }
}

#[test]
fn webhook_that_refuses_changes_nothing_about_the_run() {
    for answer in [&["404 Gone"], &["302 Elsewhere\r\nLocation: http://127.0.0.1:1/"]] {
        let (url, received) = serve(answer);
        let site = Site::new(&format!("[notify]\nwebhook = '{url}'\non = 'always'"), "");
        let ran = site.run(["run", "src"]).exits(0).says("warning: the webhook was not told");
        assert!(!ran.stderr.contains("s3cr3t"), "{ran:?}");
        received.recv_timeout(SOON).unwrap();
        assert_eq!(site.ends("src"), ["made"]);
    }
}

/// Puts a sendmail into a directory that goes before all others in `PATH`: it keeps its arguments and the mail.
fn with_sendmail(site: &Site, more: &str) -> String {
    let bin = site.place.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let script = format!("#!/bin/sh\necho \"$@\" > \"$PLACE/arguments\"\ncat > \"$PLACE/mail\"\n{more}\n");
    fs::write(bin.join("sendmail"), script).unwrap();
    fs::set_permissions(bin.join("sendmail"), PermissionsExt::from_mode(0o755)).unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

#[test]
fn mail_goes_out_about_failures_only_unless_asked_for_all() {
    let site =
        Site::new("[notify]\nmail = ['admin@example.org', 'root']", "hooks.before = 'test ! -e \"$PLACE/full\"'");
    let path = with_sendmail(&site, "");
    let run =
        |code| crate::support::process::limited(site.command().env("PATH", &path).args(["run", "src"])).exits(code);
    run(0);
    assert_eq!(site.written("mail"), "");
    fs::write(site.place.path("full"), "").unwrap();
    run(1);
    let mail = site.written("mail");
    assert_eq!(site.written("arguments"), "-t -i\n");
    assert!(mail.starts_with("To: admin@example.org, root\nSubject: [dbakfs] backup of src on "), "{mail}");
    assert!(mail.lines().any(|line| line.starts_with("error:") && line.contains("the hook before failed")), "{mail}");
}

#[test]
fn mail_that_cannot_be_sent_is_a_warning() {
    let site = Site::new("[notify]\nmail = ['root']\non = 'always'", "");
    let path = with_sendmail(&site, "echo queue full >&2; exit 75");
    let ran = crate::support::process::limited(site.command().env("PATH", &path).args(["run", "src"]));
    ran.exits(0).says("warning: no mail was sent: sendmail failed: exit status: 75: queue full");
}
