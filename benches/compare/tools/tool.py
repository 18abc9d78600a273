"""What every adapter answers."""
import os
import shlex
import shutil
from pathlib import Path

q = shlex.quote


class Tool:
    """One tool and one store of it, which lies in `store`. What the tool keeps besides (caches, keys) goes to `side`."""

    name = ""
    programs = ()  # that must be installed
    server = True  # whether its mount is served by a process, which stays in the foreground; else by the kernel
    ours = False  # then a failure of it ends the run
    nanoseconds = True  # whether it keeps times to the nanosecond

    def __init__(self, place):
        self.store = os.path.join(place, "store")
        self.side = os.path.join(place, "side")
        self.env = {}
        for path in (self.store, self.side):
            os.makedirs(path)

    @classmethod
    def missing(cls):
        """The programs that are not installed."""
        return [program for program in cls.programs if not shutil.which(program)]

    def version(self):
        """Prints one line."""
        return f"{self.programs[0]} --version | head -n 1"

    def init(self):
        """Makes the store."""
        return None

    def backup(self, source, tag):
        """Backs up what stands in `source` as the point `tag`: `full`, then `same` (nothing changed), then `change`."""
        return None

    def restore(self, source, tag, into):
        """Writes the point into an empty directory. `source` is what was backed up, as it is now."""
        return None

    def restored(self, source, into):
        """Where the tree stands after that."""
        return into

    def mount(self, tag, at):
        """Mounts, as a server in the foreground or by the kernel."""
        return None

    def umount(self, at):
        """Ends the mount."""
        return f"fusermount3 -u {q(at)}" if self.server else f"umount {q(at)}"

    def root(self, source, tag, at):
        """Where the point's tree stands in the mount."""
        return at

    def store_bytes(self):
        """The length of all files of the store."""
        return sum(path.lstat().st_size for path in Path(self.store).rglob("*") if path.is_file())
