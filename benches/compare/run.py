#!/usr/bin/env python3
"""Compares dbakfs with its peers: every tool over the same trees in one run, in turn, each copy checked to be exact."""
import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import needs
import table
from command import Failed
from copies import Copies
from corpora import CORPORA
from exact import Inexact
from history import History
from record import Record
from steps import STEPS, Round
from tools import TOOLS

HISTORY = "history"


def listed(known):
    """An option that is a list of known words."""

    def parse(text):
        words = text.split(",")
        for word in words:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word} is none of {', '.join(known)}")
        return words

    return parse


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("corpora", nargs="+", choices=[*CORPORA, HISTORY], metavar="CORPUS", help=f"any of {', '.join([*CORPORA, HISTORY])}")
    add("--tools", type=listed(TOOLS), default=list(TOOLS), help="separated by commas [default: all that are installed]")
    add("--steps", type=listed(STEPS), default=list(STEPS), help=f"of {','.join(STEPS)}; full and change are made always [default: all]")
    add("--rounds", type=int, default=3)
    add("--cold", action="store_true", help="empties the page cache before each backup and restore, instead of filling it")
    add("--check", choices=["every", "first"], default="every", help="in which rounds copies are compared [default: every]")
    add("--linux", nargs=2, metavar=("V1", "V2"), help="two versions of a tree, for linux and xattrs [default: Debian's linux-source, fetched]")
    add("--image-tree", metavar="DIR", help="what the image holds [default: the first version of linux]")
    add("--image-mib", type=int, default=2048)
    add("--tiny-files", type=int, default=1_000_000)
    add("--points", type=int, default=200, help="of the history [default: 200]")
    add("--every", type=int, default=20, help="so manieth point of the history is looked at [default: 20]")
    add("--dir", help="where to work, on ext4; what is made there is removed at the end [default: the temporary directory]")
    add("--copies-gib", type=int, default=8, help="size of the file system that copies go to [default: 8]")
    add("--results", default="compare.jsonl", help="written anew [default: compare.jsonl]")
    add("--limit", type=int, default=1800, help="seconds that one command may take [default: 1800]")
    add("--patience", type=int, default=90, help="a step that reads and takes longer than so many seconds is not repeated [default: 90]")
    return parser.parse_args()


def installed(options):
    """The adapters of the tools that are there; those that are not are said loudly."""
    there = []
    for name in options.tools:
        missing = TOOLS[name].missing()
        if missing:
            print(f"!!! NOT COMPARED: {name}: {', '.join(missing)} not installed", file=sys.stderr)
        else:
            there.append(TOOLS[name])
    return there


def machine(tools, options):
    """What the figures were made on and with."""
    versions = {}
    for tool in tools:
        with tempfile.TemporaryDirectory() as place:
            done = subprocess.run(["bash", "-c", tool(place).version()], capture_output=True, text=True)
            versions[tool.name] = (done.stdout or done.stderr).strip()
    return {
        "cpus": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": " ".join((os.uname().sysname, os.uname().release)),
        "file_system": needs.file_system(options.work),
        "begun": time.strftime("%Y-%m-%d %H:%M"),
        "versions": versions,
    }


def compare(corpus, tools, copies, record, options):
    """All rounds over one corpus."""
    slow = set()
    for number in range(1, options.rounds + 1):
        record.context = {"corpus": corpus.name, "round": number}
        with scratch(options.work, "stores") as stores:
            made = [tool(os.path.join(stores, tool.name)) for tool in tools]
            check = options.check == "every" or number == 1
            Round(corpus, made, copies, record, options, check).run(slow)


def look_back(corpus, record, options):
    """The history."""
    record.context = {"corpus": HISTORY}
    with scratch(options.work, "stores") as stores:
        History(corpus, record, options, os.path.join(stores, "dbakfs")).run()


@contextlib.contextmanager
def scratch(*path):
    """A directory that is gone afterwards."""
    path = os.path.join(*path)
    os.makedirs(path, exist_ok=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def main():
    options = arguments()
    programs = {program for name in options.corpora if name != HISTORY for program in CORPORA[name].programs}
    if "dbakfs" in options.tools or HISTORY in options.corpora:
        programs.update(TOOLS["dbakfs"].programs)
    missing = needs.missing(programs)
    if missing:
        sys.exit("cannot run, for there is missing:\n  " + "\n  ".join(missing))
    tools = installed(options)
    options.work = os.path.realpath(tempfile.mkdtemp(prefix="dbakfs-compare.", dir=options.dir))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that what is mounted is unmounted
    with contextlib.ExitStack() as ends:
        ends.enter_context(scratch(options.work))
        os.makedirs(f"{options.work}/mount")
        record = Record(options.results)
        record.add("machine", **machine(tools, options))
        if needs.file_system(options.work) != "ext4":
            print(f"!!! {options.work} is not on ext4: what the tables call ext4 is something else", file=sys.stderr)
        copies = ends.enter_context(Copies(options.work, options.copies_gib))
        corpus = None
        try:
            for name in options.corpora:
                kind = CORPORA["tiny" if name == HISTORY else name]
                if type(corpus) is not kind:
                    if corpus:
                        shutil.rmtree(os.path.dirname(corpus.live))  # it makes room
                    corpus = kind(options, options.work)
                if name == HISTORY:
                    look_back(corpus, record, options)
                else:
                    compare(corpus, tools, copies, record, options)
        except (Failed, subprocess.CalledProcessError) as failure:
            sys.exit(f"\n!!! the run ends here: {failure}")
        except Inexact as difference:
            sys.exit(f"\n!!! NOT EXACT, and so nothing of this counts: {difference}")
    table.main(options.results)
    if record.inexact:
        sys.exit("\n!!! not exact: " + ", ".join(f"{tool} ({key})" for tool, key in record.inexact))


if __name__ == "__main__":
    main()
