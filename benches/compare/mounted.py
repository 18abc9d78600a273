"""A point of a source that is mounted for the length of a `with` block."""
import os
import subprocess
import tempfile
import time

from command import Failed

START_SECONDS = 120
END_SECONDS = 20


class Mounted:
    """`root` is the tree, `seconds` how long it took from the command until the tree could be listed."""

    def __init__(self, tool, source, tag, at):
        self.tool, self.source, self.tag, self.at = tool, source, tag, at
        self.process, self.root, self.seconds = None, None, None

    def __enter__(self):
        line = self.tool.mount(self.tag, self.at)
        line = f"exec {line}" if self.tool.server else line
        root = self.tool.root(self.source, self.tag, self.at)
        self.log = tempfile.TemporaryFile()
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            ["bash", "-c", line],
            env={**os.environ, **self.tool.env},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        while not listed(root, self.at):
            late = time.perf_counter() - begun > START_SECONDS
            if late or self.process.poll() not in (None, 0):
                self.__exit__()
                self.log.seek(0)
                raise Failed(f"does not mount: {line}\n{self.log.read()[-800:].decode(errors='replace')}")
            time.sleep(0.001)
        self.seconds = time.perf_counter() - begun
        self.root = os.path.realpath(root)  # the name of a tag may be a link
        return self

    def peak_mib(self):
        """The peak of the server's memory until now; None where the kernel serves."""
        if not self.tool.server:
            return None
        with open(f"/proc/{self.process.pid}/status", encoding="ascii", errors="replace") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

    def __exit__(self, *_):
        end(self.tool.umount(self.at), self.at, self.tool.env)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def listed(root, at):
    """Whether the mount answers."""
    try:
        return os.path.ismount(at) and bool(os.listdir(root))
    except OSError:
        return False


def connection(at):
    """The kernel's number of a FUSE connection; None if nothing of the kind is mounted. Does not ask the mount."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        for fields in (line.split() for line in mounts):
            if fields[4] == at and " - fuse" in " ".join(fields):
                return fields[2].split(":")[1]
    return None


def end(line, at, env):
    """Unmounts, gently and, where that fails, by breaking the connection: a dead server must not hang the run."""
    begun = time.perf_counter()
    while is_mounted(at):
        subprocess.run(["timeout", "10", "bash", "-c", line], env={**os.environ, **env}, capture_output=True)
        if not is_mounted(at):
            return
        if time.perf_counter() - begun > END_SECONDS:
            number = connection(at)
            if number:
                with open(f"/sys/fs/fuse/connections/{number}/abort", "w", encoding="ascii") as abort:
                    abort.write("1")
            subprocess.run(["umount", "-l", at], capture_output=True)
            return
        time.sleep(0.2)


def is_mounted(at):
    """Whether anything is mounted there. Does not ask the mount."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        return any(line.split()[4] == at for line in mounts)
