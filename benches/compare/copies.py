"""Where copies and restores go: a freshly made ext4 on a loop device, each time.

Not an emptied directory: ext4 does not hand out at once the inodes of files that were deleted a moment ago, and looks at each of
them for every file it makes, so 80,000 files made soon after 80,000 were deleted take many times as long, whatever the tool.
"""
import os
import subprocess


class Copies:
    """One file system at a time; a `with` block ends the last."""

    def __init__(self, work, gib):
        self.image, self.path = f"{work}/copies.img", f"{work}/copies"
        os.makedirs(self.path)
        subprocess.run(["fallocate", "-l", f"{gib}G", self.image], check=True)

    def fresh(self):
        """An empty directory that is a file system of its own; what was there is gone."""
        self.end()
        # The blocks of the image are kept, so that no run waits for them to be found.
        make = ["mke2fs", "-q", "-F", "-t", "ext4", "-E", "nodiscard", "-N", "2000000", self.image]
        subprocess.run(make, check=True)
        attach = ["losetup", "-f", "--show", "--direct-io=on", self.image]
        device = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
        try:
            subprocess.run(["mount", "-o", "noinit_itable", device, self.path], check=True)
        finally:
            subprocess.run(["losetup", "-d", device], check=True)  # as soon as it is not mounted any more
        os.rmdir(f"{self.path}/lost+found")
        return self.path

    def end(self):
        """Unmounts it."""
        if os.path.ismount(self.path):
            subprocess.run(["umount", self.path], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
