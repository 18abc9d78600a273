"""A long history of dbakfs: whether anything grows with the points that nobody looks at."""
import os
import time

import command
from exact import demand
from mounted import Mounted
from steps import SETTLE_SECONDS
from tools.dbakfs import Dbakfs
from tools.tool import q


class History:
    """Backs up a corpus full and then so many times, each after 1 % of it was rewritten, and looks at every so manieth point."""

    def __init__(self, corpus, record, options, place):
        self.corpus, self.record, self.options = corpus, record, options
        self.at = f"{options.work}/mount"
        self.tool = Dbakfs(place)

    def run(self):
        """Makes all points."""
        self.command(self.tool.init())
        changed = set()
        for point in range(self.options.points + 1):
            if point:
                changed.update(self.corpus.rewrite(point))
            # The point before one that is looked at too: files that were too young in it would be read once more.
            if self.counts(point) or self.counts(point + 1):
                os.sync()
                time.sleep(SETTLE_SECONDS)
            tag = f"p{point}" if point else "full"
            backup = self.tool.backup(self.corpus.live, tag)
            if not self.counts(point):
                self.command(backup)
                continue
            self.record.context["point"] = point
            self.add("changed", len(changed))
            self.add("find_source", self.command(stats(self.corpus.live)).seconds)
            before = self.tool.store_bytes()
            self.add("backup", self.command(backup).seconds)
            self.add("growth", (self.tool.store_bytes() - before) / 1e6)
            self.add("list", self.command(f"{self.tool.list()} >/dev/null").seconds)
            self.look(tag, point)

    def counts(self, point):
        """Whether a point is looked at: the first two, each so manieth, the last."""
        return point in (0, 1, self.options.points) or point % self.options.every == 0

    def look(self, tag, point):
        with Mounted(self.tool, self.corpus.live, tag, self.at) as mount:
            self.add("mount", mount.seconds)
            self.add("memory_mounted", mount.peak_mib())
            directory = f"{mount.root}/{os.path.basename(os.path.dirname(self.corpus.path(0)))}"
            self.add("find_directory", self.command(stats(directory)).seconds)
            self.add("memory_looked", mount.peak_mib())
            if self.options.check == "every" or point == self.options.points:
                demand(self.record, self.tool, tag, self.corpus.live, mount.root)

    def add(self, key, value):
        self.record.value(self.tool.name, key, value)

    def command(self, line):
        return command.run(line, self.tool.env, self.options.limit)


def stats(path):
    """Asks for the `stat` of each entry."""
    return f"find {q(path)} -printf '%s %m %T@\\n' >/dev/null"
