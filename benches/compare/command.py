"""Runs a line of bash and says what it took."""
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass


class Failed(Exception):
    """A command that failed or took too long."""


@dataclass
class Took:
    """What one run took. `peak_mib` is the memory of the largest of its processes."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str


def run(line, env=None, limit=1800):
    """Runs it after a `sync`, timed. `limit` is in seconds."""
    with tempfile.NamedTemporaryFile("r") as usage:
        command = ["/usr/bin/time", "-q", "-o", usage.name, "-f", "%U %S %M", "bash", "-o", "pipefail", "-c", line]
        os.sync()
        begun = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise Failed(f"took more than {limit} s: {line}") from None
        seconds = time.perf_counter() - begun
        if process.returncode:
            raise Failed(f"exit {process.returncode}: {line}\n{output[-800:].strip()}")
        user, system, peak_kib = usage.read().split()[-3:]
    return Took(seconds, float(user) + float(system), int(peak_kib) / 1024, output)
