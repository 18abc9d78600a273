"""Very many files of 0 to 100 bytes, of which any may be rewritten."""
import os
import random

FILES_IN_EACH = 1000
SEED = 20_261_120
CHANGED = 0.01
SENTENCE = b"the quick brown fox jumps over the lazy dog 0123456789 " * 2


class Tiny:
    """A file's bytes follow from its number and its generation."""

    name = "tiny"
    programs = ()

    def __init__(self, options, work):
        self.live = f"{work}/tiny/live"
        self.files = options.tiny_files
        for start in range(0, self.files, FILES_IN_EACH):
            os.makedirs(os.path.dirname(self.path(start)))
            for file in range(start, min(start + FILES_IN_EACH, self.files)):
                self.write(file, 0)

    def path(self, file):
        return f"{self.live}/d{file // FILES_IN_EACH:04}/f{file % FILES_IN_EACH:03}"

    def write(self, file, generation):
        length = random.Random(SEED + file).randint(0, 100)
        with open(self.path(file), "wb") as out:
            out.write((b"%d.%d " % (file, generation) + SENTENCE)[:length])

    def some(self, generation):
        """The files that a generation rewrites."""
        return random.Random(SEED ^ generation).sample(range(self.files), int(self.files * CHANGED))

    def rewrite(self, generation):
        """Rewrites 1 % of the files in place; which they are."""
        files = self.some(generation)
        for file in files:
            self.write(file, generation)
        return files

    def first(self):
        """Writes back what was there."""
        for file in self.some(1):
            self.write(file, 0)

    def second(self):
        """Rewrites 1 % of the files."""
        self.rewrite(1)
