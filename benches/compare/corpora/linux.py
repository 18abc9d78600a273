"""Two versions of the source of Linux, or of any large tree."""
import os
import subprocess
from pathlib import Path

FETCH = Path(__file__).resolve().parents[2] / "fetch-linux-source.sh"


def trees(options, work):
    """The two versions: those given, or else two that are fetched once."""
    if options.linux:
        return [os.path.abspath(tree) for tree in options.linux]
    both = [f"{work}/linux-v1", f"{work}/linux-v2"]
    for tree, newest in zip(both, ("2", "1")):
        if not os.path.isdir(tree):
            subprocess.run([FETCH, tree, newest], check=True)
    return both


class Linux:
    """The tree moves by content: a file that both versions have keeps its times."""

    name = "linux"
    programs = ("rsync",)

    def __init__(self, options, work):
        self.versions = trees(options, work)
        self.live = f"{work}/{self.name}/live"
        os.makedirs(self.live)

    def first(self):
        """Makes `live` the first version."""
        self.move(self.versions[0])

    def second(self):
        """Makes `live` the second version."""
        self.move(self.versions[1])

    def move(self, version):
        if not os.listdir(self.live):
            subprocess.run(["cp", "-a", f"{version}/.", self.live], check=True)
            return
        how = ["-aH", "--no-times", "--checksum", "--delete", "--inplace", "--no-whole-file"]
        subprocess.run(["rsync", *how, f"{version}/", f"{self.live}/"], check=True)
