"""What is backed up: `CORPORA` by name.

A corpus keeps one tree, `live`, and moves it between two versions in place, as a tree that is in use changes: what does not differ
keeps its inode and times. The same seed makes the same bytes everywhere.
"""
from .image import Image
from .linux import Linux
from .tiny import Tiny
from .xattrs import Xattrs

CORPORA = {corpus.name: corpus for corpus in (Linux, Image, Tiny, Xattrs)}
