//! The report as a mail, handed to the local sendmail.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::child::{self, End};
use super::report::Report;

/// How long it may take to be rid of a mail.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a mail could not be handed over.
#[derive(Debug, thiserror::Error)]
pub(super) enum MailError {
    /// There is nobody to hand it to.
    #[error("there is no sendmail in PATH, /usr/sbin or /usr/lib")]
    NoSendmail,
    /// It cannot be run.
    #[error("cannot run {}", path.display())]
    Start {
        /// It.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It refused.
    #[error("sendmail failed: {status}: {said}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// What it said last.
        said: String,
    },
    /// It did not end.
    #[error("sendmail did not end within {} seconds", PATIENCE.as_secs())]
    TimedOut,
}

/// Sends the report to `addresses`, which the configuration has checked.
pub(super) fn send(addresses: &[String], report: &Report) -> Result<(), MailError> {
    let path = find(std::env::var_os("PATH").as_deref()).ok_or(MailError::NoSendmail)?;
    let mut command = Command::new(&path);
    command.args(["-t", "-i"]);
    let mut said = String::new();
    let message = message(addresses, report);
    let end = child::run(command, message.as_bytes(), PATIENCE, None, &mut |line| {
        said = String::from_utf8_lossy(line).into_owned();
    });
    match end.map_err(|source| MailError::Start { path, source })? {
        End::Exited(status) if status.success() => Ok(()),
        End::Exited(status) => Err(MailError::Failed { status, said }),
        End::TimedOut | End::Stopped => Err(MailError::TimedOut),
    }
}

/// Where sendmail is: the directories in which it usually lies are seldom in the PATH of a service.
fn find(path: Option<&OsStr>) -> Option<PathBuf> {
    let listed = path.map(std::env::split_paths).into_iter().flatten();
    let usual = ["/usr/sbin", "/usr/lib"].map(PathBuf::from);
    listed
        .chain(usual)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("sendmail"))
        .find(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && !Path::is_dir(path))
}

/// The mail. No value that stands in a header can begin another: lines are ended nowhere but here.
fn message(addresses: &[String], report: &Report) -> String {
    let mut mail = String::new();
    let _ = writeln!(mail, "To: {}", one_line(&addresses.join(", ")));
    let _ = writeln!(mail, "Subject: {}", subject(&format!("[dbakfs] {}", report.headline())));
    mail.push_str("Auto-Submitted: auto-generated\nMIME-Version: 1.0\n");
    mail.push_str("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n");
    // A line of mail has at most 998 bytes.
    for line in report.text().lines().flat_map(|line| pieces(line, 900)) {
        mail.push_str(&one_line(line));
        mail.push('\n');
    }
    mail
}

/// A text without anything that ends a line or steers a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// A subject: ASCII as it is, anything else by the words of RFC 2047, of at most 75 letters each.
fn subject(text: &str) -> String {
    let plain = one_line(text);
    if plain.is_ascii() {
        return plain;
    }
    let words = pieces(&plain, 20).into_iter().map(|piece| {
        let encoded: String = piece.bytes().map(|byte| format!("={byte:02X}")).collect();
        format!("=?utf-8?Q?{encoded}?=")
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Parts of at most so many bytes, cut between letters.
fn pieces(text: &str, most_bytes: usize) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while rest.len() > most_bytes {
        let end = (1..=most_bytes).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (piece, more) = rest.split_at(end);
        pieces.push(piece);
        rest = more;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automation::report::Told;
    use crate::format::Timestamp;
    use crate::policy::schedule::Task;

    fn report(name: &str, error: &str) -> Report {
        let told = Told {
            host: "machine",
            store: Path::new("/srv/backups"),
            name,
            path: Path::new("/srv/www"),
            task: Task::Auto,
        };
        let mut report = Report::begin(told, Timestamp::new(0, 0));
        report.result = super::super::Outcome::Failed;
        report.error = Some(error.to_owned());
        report
    }

    #[test]
    fn no_value_begins_a_header_or_ends_the_mail() {
        let hostile = "x\r\nBcc: everybody@example.org\n\n.\nmore";
        let mail = message(&["admin@example.org".to_owned()], &report("www\nBcc: a@example.org", hostile));
        let (head, body) = mail.split_once("\n\n").unwrap();
        let names: Vec<&str> = head.lines().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(
            names,
            ["To", "Subject", "Auto-Submitted", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"]
        );
        assert!(body.lines().all(|line| line != "."), "{body}");
        assert!(!mail.contains('\r'));
    }

    #[test]
    fn subject_of_any_letters_is_ascii_and_reads_back() {
        let mail = message(&["admin@example.org".to_owned()], &report("Bücher und 書類", "x"));
        let subject = mail.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap();
        assert!(subject.is_ascii() && subject.split(' ').all(|word| word.len() <= 75), "{subject}");
        let mut bytes = Vec::new();
        for word in subject.split(' ') {
            let word = word.strip_prefix("=?utf-8?Q?").unwrap().strip_suffix("?=").unwrap();
            bytes.extend(word.split('=').skip(1).map(|digits| u8::from_str_radix(digits, 16).unwrap()));
        }
        assert_eq!(String::from_utf8(bytes).unwrap(), "[dbakfs] backup of Bücher und 書類 on machine FAILED");
    }

    #[test]
    fn long_lines_are_cut_between_letters() {
        let mail = message(&["admin@example.org".to_owned()], &report("www", &"é".repeat(5_000)));
        assert!(mail.lines().all(|line| line.len() <= 998));
        assert_eq!(mail.matches('é').count(), 5_000);
    }
}
