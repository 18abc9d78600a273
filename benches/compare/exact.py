"""Whether a copy is exact: contents, names, links, owners, modes, times, attributes and ACLs, of directories too."""
import subprocess

COMPARE = ["rsync", "-naHAX", "--checksum", "--delete", "--itemize-changes"]


class Inexact(Exception):
    """A copy of ours that differs: nothing that the run has measured counts."""


def differences(source, copy, nanoseconds):
    """What rsync would still do, line by line. It looks at whole seconds unless told otherwise."""
    window = ["--modify-window=-1"] if nanoseconds else []
    done = subprocess.run(
        [*COMPARE, *window, f"{source}/", f"{copy}/"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines = done.stdout.splitlines()
    return lines if done.returncode == 0 else [*lines, f"rsync: exit {done.returncode}"]


def demand(record, tool, key, source, copy):
    """Takes down what differs. Of a peer that marks its figure; of dbakfs it ends the run."""
    lines = differences(source, copy, tool.nanoseconds)
    if lines:
        record.differs(tool.name, key, lines)
        if tool.ours:
            raise Inexact(f"{tool.name}, {key}: {len(lines)} entries differ")
