"""Keeps results, one JSON object a line."""
import json
import sys


class Record:
    """Writes a file, and tells standard error as the run goes on."""

    def __init__(self, path):
        self.out = open(path, "w", encoding="utf-8")
        self.inexact = []
        self.context = {}

    def add(self, what, **values):
        line = {"what": what, **self.context, **values}
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()
        said = {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}
        print(what, *self.context.values(), *said.values(), file=sys.stderr)

    def value(self, tool, key, value, **besides):
        """One measurement of one tool."""
        self.add("value", tool=tool, key=key, value=value, **besides)

    def failed(self, tool, key, why):
        """A step that a tool could not make."""
        self.add("failed", tool=tool, key=key, why=why)

    def differs(self, tool, key, lines):
        """A copy that is not exact: nothing else in the run is as loud."""
        self.inexact.append((tool, key))
        print(f"\n!!! DIFFERS: {tool}, {key}: {len(lines)} entries\n    " + "\n    ".join(lines[:10]) + "\n", file=sys.stderr)
        self.add("differs", tool=tool, key=key, entries=len(lines), some=lines[:10])
