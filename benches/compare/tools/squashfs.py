"""squashfs, mounted by the kernel: the yardstick for reading. Every point is a whole image. It keeps no ACLs, and times to the second."""
from .tool import Tool, q


class Squashfs(Tool):
    name = "squashfs"
    programs = ("mksquashfs", "unsquashfs")
    server = False
    nanoseconds = False

    def version(self):
        return "mksquashfs -version | head -n 1"

    def image(self, tag):
        return f"{q(self.store)}/{tag}.squashfs"

    def backup(self, source, tag):
        how = "-comp zstd -Xcompression-level 3 -no-progress -quiet"
        return f"mksquashfs {q(source)} {self.image(tag)} {how} >/dev/null"

    def restore(self, source, tag, into):
        return f"unsquashfs -q -n -f -d {q(into)} {self.image(tag)} >/dev/null"

    def mount(self, tag, at):
        return f"mount -o loop,ro {self.image(tag)} {q(at)}"
