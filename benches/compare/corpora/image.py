"""A raw ext4 image of a disk, made from a tree, and the same after about 2 % of its blocks have changed in place.

Changed as a disk that is in use changes: most changes are of one block, and most changed blocks belong to a few long runs (in an
image with new and rewritten files, 785 runs: nine in ten of one block, the longest of 2,000). One block gets random bytes, as a page
of a database; a run is a copy of another place of the disk, or lines of a log.
"""
import os
import random
import subprocess

from . import linux

BLOCK_BYTES = 4096
CHANGED = 0.02
LONGEST_RUN_BLOCKS = 2048
SEED = 20_261_120
# All that mke2fs would draw or take from the clock.
FIXED = ["-U", "5eed0000-0000-4000-8000-000000000001", "-E", "hash_seed=5eed0000-0000-4000-8000-000000000002,root_owner=0:0"]


class Image:
    name = "image"
    programs = ("mke2fs", "fio")

    def __init__(self, options, work):
        tree = options.image_tree or linux.trees(options, work)[0]
        self.live = f"{work}/image/live"
        os.makedirs(self.live)
        self.disk = f"{self.live}/disk.img"
        self.pristine = f"{work}/image/pristine.img"
        with open(self.pristine, "wb") as image:
            image.truncate(options.image_mib << 20)
        subprocess.run(
            ["mke2fs", "-q", "-F", "-t", "ext4", *FIXED, "-d", tree, self.pristine],
            env={**os.environ, "E2FSPROGS_FAKE_TIME": "1700000000"},
            check=True,
        )
        subprocess.run(["cp", "--sparse=always", self.pristine, self.disk], check=True)
        self.runs = list(runs(self.pristine))

    def first(self):
        """Writes back what was there."""
        with open(self.pristine, "rb") as pristine, open(self.disk, "r+b") as disk:
            for start, blocks in self.runs:
                pristine.seek(start * BLOCK_BYTES)
                disk.seek(start * BLOCK_BYTES)
                disk.write(pristine.read(blocks * BLOCK_BYTES))

    def second(self):
        """Writes over the runs."""
        numbers = random.Random(SEED)
        with open(self.pristine, "rb") as pristine, open(self.disk, "r+b") as disk:
            for start, blocks in self.runs:
                disk.seek(start * BLOCK_BYTES)
                disk.write(fresh(numbers, pristine, self.runs, blocks))


def runs(path):
    """What changes, as (first block, blocks), in order and apart from each other; only where the image holds data."""
    numbers = random.Random(SEED)
    data = list(extents(path))
    taken, left = set(), int(os.path.getsize(path) // BLOCK_BYTES * CHANGED)
    while left > 0:
        first, end = numbers.choices(data, weights=[end - first for first, end in data])[0]
        blocks = 1
        if numbers.random() > 0.9:  # of these half are of up to 7 blocks, and one in 20 is longer than 1,000
            blocks = min(int(LONGEST_RUN_BLOCKS ** (numbers.random() ** 2)) + 1, left)
        start = numbers.randrange(first, end)
        run = range(start, min(start + blocks, end))
        if taken.isdisjoint(run):
            taken.update(run)
            left -= len(run)
            yield start, len(run)


def extents(path):
    """Where the file has data, as (first block, end)."""
    with open(path, "rb") as image:
        size, at = os.fstat(image.fileno()).st_size, 0
        while at < size:
            try:
                at = os.lseek(image.fileno(), at, os.SEEK_DATA)
            except OSError:  # only a hole is left
                return
            end = os.lseek(image.fileno(), at, os.SEEK_HOLE)
            yield at // BLOCK_BYTES, end // BLOCK_BYTES
            at = end


def fresh(numbers, pristine, places, blocks):
    """New bytes for a run."""
    if blocks == 1:
        return numbers.randbytes(BLOCK_BYTES)
    if numbers.random() < 0.5:
        start, _ = numbers.choice(places)
        pristine.seek(start * BLOCK_BYTES)
        return pristine.read(blocks * BLOCK_BYTES).ljust(blocks * BLOCK_BYTES, b"\0")
    length, log = blocks * BLOCK_BYTES, bytearray()
    while len(log) < length:
        second, number, value = numbers.randrange(60), numbers.randrange(9999), numbers.getrandbits(32)
        log += b"Nov 20 11:00:%02d host daemon[%d]: request %08x done\n" % (second, number, value)
    return bytes(log[:length])
