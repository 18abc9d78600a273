"""dbakfs. `DBAKFS` names the binary; without it, it is the release build of this checkout, or the one in PATH."""
import os
import shutil
from pathlib import Path

from .tool import Tool, q

BUILT = Path(__file__).resolve().parents[3] / "target/release/dbakfs"
BINARY = os.environ.get("DBAKFS") or (str(BUILT) if BUILT.exists() else shutil.which("dbakfs") or "dbakfs")
SOURCE_NAME = "live"


class Dbakfs(Tool):
    name = "dbakfs"
    ours = True
    programs = (BINARY,)
    # None of the others reads back what it has written.
    verify = "off"

    def __init__(self, place):
        super().__init__(place)
        self.env = {"DBAKFS_STORE": self.store, "XDG_STATE_HOME": self.side}

    def init(self):
        return f"{q(BINARY)} init"

    def backup(self, source, tag):
        kind = "--full" if tag == "full" else "--differential"
        # Forced, because the others make a point of an unchanged tree too.
        return f"{q(BINARY)} --quiet backup {q(source)} --name {SOURCE_NAME} {kind} --force --tag {tag} --verify {self.verify}"

    def list(self):
        """Lists the points."""
        return f"{q(BINARY)} list"

    def restore(self, source, tag, into):
        return f"{q(BINARY)} --quiet restore {SOURCE_NAME}/{tag} {q(into)}"

    def mount(self, tag, at):
        return f"{q(BINARY)} mount --foreground {q(at)}"

    def umount(self, at):
        return f"{q(BINARY)} umount {q(at)}"

    def root(self, source, tag, at):
        return f"{at}/{SOURCE_NAME}/tags/{tag}"


class DbakfsVerify(Dbakfs):
    """As it comes: each backup reads back what it has written. Of its mount there is nothing else to say."""

    name = "dbakfs+verify"
    verify = "written"

    def mount(self, tag, at):
        return None
