"""One round: every step of every tool, in turn, so that what the machine does meanwhile meets all of them alike."""
import json
import os
import subprocess
import time

import command
from command import Failed
from exact import demand
from mounted import Mounted
from tools.tool import q

# Steps that read what was backed up, in this order; and all of them.
READING = ("restore", "mount", "grep", "cat", "random_read")
STEPS = ("full", "same", "change", *READING)
# A file whose times are younger than this is not trusted by a careful tool.
SETTLE_SECONDS = 3
RANDOM_READ_SECONDS = 10
NEEDLE = "no line of any corpus says this"


class Round:
    """The tools that still run, over one corpus, each with a store of its own."""

    def __init__(self, corpus, tools, copies, record, options, check):
        self.corpus, self.tools, self.copies, self.record = corpus, tools, copies, record
        self.options, self.check = options, check
        self.at = f"{options.work}/mount"

    def run(self, slow):
        """Makes the steps that are asked for. `slow` holds (tool, step) that took too long before, and gains such."""
        self.slow = slow
        steps = self.options.steps
        self.corpus.first()
        self.settle()
        self.each("init", self.init)
        for tag in ("full", "same", "change"):
            if tag == "change":
                self.corpus.second()
                self.settle()
            if tag in steps or tag != "same":  # the steps that read need the others
                self.each(tag, lambda tool: self.backup(tool, tag))
        for step in READING:
            if step in steps:
                self.each(step, getattr(self, step))

    def each(self, step, make):
        """Makes a step with every tool in turn. A peer that fails is out of it: of the round, or where it only reads, of the step."""
        for tool in list(self.tools):
            if (tool.name, step) in self.slow:
                continue
            self.spent = 0.0
            try:
                make(tool)
            except Failed as failure:
                self.record.failed(tool.name, step, str(failure))
                if tool.ours:
                    raise
                if step in READING:
                    self.slow.add((tool.name, step))
                else:
                    self.tools.remove(tool)
            if step in READING and self.spent > self.options.patience:
                self.slow.add((tool.name, step))

    def settle(self):
        """Lets times grow old, and fills the page cache."""
        time.sleep(SETTLE_SECONDS)
        os.sync()
        self.warm()

    def warm(self):
        if self.options.cold:
            return
        subprocess.run(f"find {q(self.corpus.live)} -type f -print0 | xargs -0r cat >/dev/null", shell=True, check=True)

    def command(self, tool, line):
        took = command.run(line, tool.env, self.options.limit)
        self.spent += took.seconds
        return took

    def cool(self):
        """Empties the page cache, and that of inodes, if that is asked for."""
        if self.options.cold:
            os.sync()
            with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as drop:
                drop.write("3")

    def timed(self, tool, key, line):
        took = self.command(tool, line)
        self.record.value(tool.name, key, took.seconds, cpu_seconds=round(took.cpu_seconds, 2))
        return took

    def exact(self, tool, key, copy):
        demand(self.record, tool, key, self.corpus.live, copy)

    def init(self, tool):
        line = tool.init()
        if line:
            self.command(tool, line)

    def backup(self, tool, tag):
        line = tool.backup(self.corpus.live, tag)
        if not line:
            return
        before = tool.store_bytes()
        self.cool()
        took = self.timed(tool, tag, line)
        grown = tool.store_bytes() - before
        if tool.name == "ext4":
            return
        self.record.value(tool.name, f"{tag}_memory", took.peak_mib)
        if tag == "full":
            self.record.value(tool.name, "store", (before + grown) / 1e6)
        elif tag == "change":
            self.record.value(tool.name, "growth", grown / 1e6)
        if self.check and (tag != "change" or "restore" not in self.options.steps):
            into = self.copies.fresh()
            self.command(tool, tool.restore(self.corpus.live, tag, into))
            self.exact(tool, tag, tool.restored(self.corpus.live, into))

    def restore(self, tool):
        into = self.copies.fresh()
        line = tool.restore(self.corpus.live, "change", into)
        if not line:
            return
        self.cool()
        self.timed(tool, "restore", line)
        if self.corpus.name == "image":
            os.sync()
            allocated = os.stat(f"{tool.restored(self.corpus.live, into)}/disk.img").st_blocks * 512
            self.record.value(tool.name, "restore_allocated", allocated / 1e6)
        if self.check:
            self.exact(tool, "restore", tool.restored(self.corpus.live, into))

    def mounted(self, tool):
        """The changed tree as a tool shows it; None if it cannot."""
        if tool.name == "ext4":
            return InPlace(self.corpus.live)
        return Mounted(tool, self.corpus.live, "change", self.at) if tool.mount("change", self.at) else None

    def watched(self, tool, see):
        """Mounts, looks at the tree, and takes down what the server needed."""
        mounted = self.mounted(tool)
        if mounted is None:
            return
        with mounted as mount:
            if mount.seconds is not None:
                self.record.value(tool.name, "mount", mount.seconds)
            see(mount.root)
            if mount.peak_mib() is not None:
                self.record.value(tool.name, "server_memory", mount.peak_mib())

    def mount(self, tool):
        def see(root):
            for key in ("find_first", "find_again"):
                self.timed(tool, key, f"find {q(root)} -printf '%s %m %T@\\n' >/dev/null")
            into = self.copies.fresh()
            self.timed(tool, "cp", f"cp -a {q(root)}/. {q(into)}/")
            if self.check:
                self.exact(tool, "cp", into)

        self.watched(tool, see)

    def grep(self, tool):
        def see(root):
            for key in ("grep_first", "grep_second"):
                self.timed(tool, key, f"grep -rF {q(NEEDLE)} {q(root)}; [ $? = 1 ]")

        self.watched(tool, see)

    def cat(self, tool):
        if self.corpus.name != "image":
            return

        def see(root):
            disk = f"{root}/disk.img"
            for key in ("cat_first", "cat_again"):
                took = self.command(tool, f"cat {q(disk)} >/dev/null")
                self.record.value(tool.name, key, os.path.getsize(disk) / 1e6 / took.seconds)

        self.watched(tool, see)

    def random_read(self, tool):
        if self.corpus.name != "image":
            return

        def see(root):
            disk = f"{root}/disk.img".replace(":", "\\:")  # a bare colon separates names
            how = "--rw=randread --bs=4k --ioengine=psync --time_based --readonly --output-format=json"
            line = f"fio --name=r --filename={q(disk)} --runtime={RANDOM_READ_SECONDS} {how}"
            output = self.command(tool, line).output
            read = json.loads(output[output.index("{") :])["jobs"][0]["read"]
            p99 = read["clat_ns"]["percentile"]["99.000000"] / 1000
            self.record.value(tool.name, "random_read", read["iops"], p99_microseconds=p99)

        self.watched(tool, see)
        self.warm()  # fio drops the file's pages before it begins


class InPlace:
    """The source itself where another tool has a mount."""

    seconds = None

    def __init__(self, root):
        self.root = root

    def peak_mib(self):
        """There is no server."""
        return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
