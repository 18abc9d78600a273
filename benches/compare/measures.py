"""What is measured: the rows of the table, in its order."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """`yardstick` is the tool that the row is held against; without one the row has a bound, not a ratio."""

    key: str
    title: str
    unit: str
    yardstick: str | None = None
    more_is_better: bool = False


MEASURES = [
    Measure("full", "full backup", "s", "tar+zstd"),
    Measure("full_memory", "memory of a full backup, peak", "MiB"),
    Measure("store", "store after it", "MB", "tar+zstd"),
    Measure("same", "nothing changed", "s", "ext4"),
    Measure("same_memory", "memory where nothing changed, peak", "MiB"),
    Measure("change", "the change", "s", "tar+zstd"),
    Measure("change_memory", "memory of the change, peak", "MiB"),
    Measure("growth", "growth of the store", "MB", "tar+zstd"),
    Measure("restore", "restore", "s", "squashfs"),
    Measure("restore_allocated", "what it allocates", "MB", "ext4"),
    Measure("mount", "mount until `ls` answers", "s"),
    Measure("find_first", "`find`, first", "s", "ext4"),
    Measure("find_again", "`find`, again", "s", "ext4"),
    Measure("cp", "`cp -a` out of the mount", "s", "ext4"),
    Measure("grep_first", "`grep -r`, first", "s", "ext4"),
    Measure("grep_second", "`grep -r`, second", "s", "ext4"),
    Measure("cat_first", "`cat`, first", "MB/s", "squashfs", more_is_better=True),
    Measure("cat_again", "`cat`, again", "MB/s", "ext4", more_is_better=True),
    Measure("random_read", "random reads of 4 KiB", "IOPS", "ext4", more_is_better=True),
    Measure("server_memory", "memory of the server, peak", "MiB"),
]

# Of one large file the whole is read where the change is looked for, so that is the limit there.
FOR_IMAGE = {"change": "ext4"}


def yardstick(measure, corpus):
    """The tool that a row of a corpus is held against."""
    return FOR_IMAGE.get(measure.key, measure.yardstick) if corpus == "image" else measure.yardstick

# What is taken down at each point of a history that is looked at: key, title, unit.
HISTORY = [
    ("changed", "files that differ from the full", ""),
    ("find_source", "`find -printf` over the source", "s"),
    ("backup", "backup", "s"),
    ("growth", "growth of the store", "MB"),
    ("list", "`dbakfs list`", "s"),
    ("mount", "mount until `ls` answers", "s"),
    ("memory_mounted", "memory of the server then", "MiB"),
    ("find_directory", "`find` of one directory in the newest", "s"),
    ("memory_looked", "memory of the server then", "MiB"),
]
