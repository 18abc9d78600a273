//! A command of somebody else's that is given something to read, is listened to, and cannot outstay its time.
//!
//! What it leaves running in the background when it ends well may stay; when its time is up, all of its process group goes.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// How long after SIGTERM comes SIGKILL.
const MERCY: Duration = Duration::from_secs(5);
/// How often it is looked whether to stop.
const TICK: Duration = Duration::from_millis(100);
/// A longer line is said in parts.
const LINE_BYTES: usize = 4 << 10;

/// How a command ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself, or by a signal of somebody else's.
    Exited(ExitStatus),
    /// Its time was up.
    TimedOut,
    /// It was to be stopped.
    Stopped,
}

/// Runs `command` with `input` on its standard input; each line of its output, standard error among it, goes to `line`. A command that does not read its
/// input loses nothing but that. `stop` ends it early.
pub(super) fn run(
    mut command: Command,
    input: &[u8],
    timeout: Duration,
    stop: Option<&AtomicBool>,
    line: &mut dyn FnMut(&[u8]),
) -> io::Result<End> {
    let (output, writer) = io::pipe()?;
    command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let mut child = command.spawn()?;
    // It holds the writing ends, and would keep the output from ending.
    drop(command);
    let stdin = child.stdin.take();
    let answer = attend(&mut child, stdin, input, output, timeout, stop, line);
    if answer.is_err() {
        // Nobody listens to it any more.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        let _ = child.wait();
    }
    answer
}

fn attend(
    child: &mut Child,
    mut stdin: Option<ChildStdin>,
    mut input: &[u8],
    output: io::PipeReader,
    timeout: Duration,
    stop: Option<&AtomicBool>,
    line: &mut dyn FnMut(&[u8]),
) -> io::Result<End> {
    let pid = Pid::from_child(child);
    let ended: OwnedFd = pidfd_open(pid, PidfdFlags::empty())?;
    set_nonblocking(&output)?;
    if let Some(stdin) = &stdin {
        set_nonblocking(stdin)?;
    }
    let begun = Instant::now();
    let (mut forced, mut killed_at): (Option<End>, Option<Instant>) = (None, None);
    let mut lines = Lines { output: Some(output), partial: Vec::new() };
    loop {
        if input.is_empty() {
            // It has all there is: the end of the input says so.
            stdin = None;
        }
        let mut watched = vec![PollFd::new(&ended, PollFlags::IN)];
        watched.extend(lines.output.as_ref().map(|output| PollFd::new(output, PollFlags::IN)));
        watched.extend(stdin.as_ref().map(|stdin| PollFd::new(stdin, PollFlags::OUT)));
        let tick = Timespec::try_from(TICK).map_err(|_| Errno::INVAL)?;
        match poll(&mut watched, Some(&tick)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let has_ended = !watched[0].revents().is_empty();
        drop(watched);
        lines.read(line)?;
        if let Some(pipe) = &mut stdin {
            match pipe.write(input) {
                Ok(written) => input = &input[written..],
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                // It does not want to know.
                Err(_) => input = &[],
            }
        }
        if has_ended {
            if forced.is_some() {
                // Those of the group who did not follow; the number is still theirs until the child is waited for.
                let _ = kill_process_group(pid, Signal::KILL);
            }
            lines.finish(line);
            let status = child.wait()?;
            return Ok(forced.unwrap_or(End::Exited(status)));
        }
        let is_stopped = stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
        match killed_at {
            None if is_stopped || begun.elapsed() >= timeout => {
                forced = Some(if is_stopped { End::Stopped } else { End::TimedOut });
                killed_at = Some(Instant::now());
                let _ = kill_process_group(pid, Signal::TERM);
            }
            Some(at) if at.elapsed() >= MERCY => {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            _ => {}
        }
    }
}

fn set_nonblocking(pipe: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&pipe)?;
    Ok(rustix::fs::fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?)
}

/// What the command says, line by line.
struct Lines {
    /// None once it has ended.
    output: Option<io::PipeReader>,
    partial: Vec<u8>,
}

impl Lines {
    /// Takes what there is, without waiting.
    fn read(&mut self, line: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = [0; 8 << 10];
        while let Some(output) = &mut self.output {
            match output.read(&mut buffer) {
                Ok(0) => self.output = None,
                Ok(read) => {
                    self.partial.extend_from_slice(&buffer[..read]);
                    while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                        line(&self.partial[..end]);
                        self.partial.drain(..=end);
                    }
                    if self.partial.len() >= LINE_BYTES {
                        line(&std::mem::take(&mut self.partial));
                    }
                    // One that never stops talking must not keep us from looking at the clock.
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What is left in the pipe when the command has ended; what it left running may still write, and is not waited for.
    fn finish(&mut self, line: &mut dyn FnMut(&[u8])) {
        const MOST_READS: usize = 64;
        for _ in 0..MOST_READS {
            if self.output.is_none() || self.read(line).is_err() {
                break;
            }
        }
        if !self.partial.is_empty() {
            line(&std::mem::take(&mut self.partial));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(text: &str, input: &[u8], timeout: Duration, stop: Option<&AtomicBool>) -> (End, Vec<String>) {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(text);
        let mut lines = Vec::new();
        let end =
            run(command, input, timeout, stop, &mut |line| lines.push(String::from_utf8_lossy(line).into_owned()));
        (end.unwrap(), lines)
    }

    fn code(end: &End) -> Option<i32> {
        if let End::Exited(status) = end { status.code() } else { None }
    }

    #[test]
    fn who_reads_nothing_neither_hangs_nor_fails_us() {
        // More than any pipe holds.
        let input = vec![b'x'; 4 << 20];
        for text in ["exit 5", "exec 0<&-; exit 5", "head -c 10 >/dev/null; exit 5"] {
            assert_eq!(code(&shell(text, &input, LONG, None).0), Some(5), "{text}");
        }
    }

    #[test]
    fn all_input_arrives_while_output_is_taken() {
        let input: Vec<u8> = (0..200_000).flat_map(|number| format!("{number}\n").into_bytes()).collect();
        let (end, lines) = shell("tee /dev/stderr", &input, LONG, None);
        assert_eq!((code(&end), lines.len()), (Some(0), 400_000));
        assert_eq!(shell("wc -c", &input, LONG, None).1, [input.len().to_string()]);
    }

    #[test]
    fn what_is_left_running_in_the_background_is_not_waited_for() {
        let begun = Instant::now();
        let (end, lines) = shell("sleep 50 & echo $!; printf partial", b"", LONG, None);
        assert_eq!((code(&end), lines.len(), lines[1].as_str()), (Some(0), 2, "partial"));
        assert!(begun.elapsed() < Duration::from_secs(40));
        let left = Pid::from_raw(lines[0].parse().unwrap()).unwrap();
        rustix::process::kill_process(left, Signal::KILL).expect("it may stay");
    }

    #[test]
    fn who_outstays_the_time_or_is_to_stop_goes_with_the_whole_group() {
        let text = "sleep 50 & echo $!; echo ready; wait";
        // Whoever is killed takes a moment to die.
        let is_gone = |line: &str| {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(20) {
                let status = std::fs::read_to_string(format!("/proc/{line}/status")).unwrap_or_default();
                if status.is_empty() || status.contains("State:\tZ") {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            false
        };
        let (end, lines) = shell(text, b"", Duration::from_millis(300), None);
        assert!(matches!(end, End::TimedOut) && is_gone(&lines[0]), "{end:?} {lines:?}");
        let stop = AtomicBool::new(true);
        let (end, lines) = shell(text, b"", LONG, Some(&stop));
        assert!(matches!(end, End::Stopped), "{end:?}");
        assert!(lines.first().is_none_or(|line| is_gone(line)));
    }
}
