"""The tools that are compared, each an adapter of its own.

An adapter says how a tool does a thing, as a line of bash, or None where the tool cannot. It measures nothing and checks nothing.
`TOOLS` has them in the order in which a round runs them.
"""
from .borg import Borg
from .bupstash import Bupstash
from .dbakfs import Dbakfs, DbakfsVerify
from .ext4 import Ext4
from .restic import Restic
from .rustic import Rustic
from .squashfs import Squashfs
from .tar_zstd import TarZstd

TOOLS = {tool.name: tool for tool in (Ext4, TarZstd, Squashfs, Dbakfs, DbakfsVerify, Bupstash, Restic, Borg, Rustic)}
