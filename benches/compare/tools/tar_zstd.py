"""GNU tar and zstd; a change is an incremental archive on the full one."""
from .tool import Tool, q

KEEP = "--xattrs --xattrs-include='*' --acls"


class TarZstd(Tool):
    name = "tar+zstd"
    programs = ("tar", "zstd")

    def version(self):
        return 'echo "$(tar --version | head -n 1), $(zstd --version)"'

    def backup(self, source, tag):
        seen, full = f"{q(self.side)}/{tag}.snar", f"{q(self.side)}/full.snar"
        begin = "" if tag == "full" else f"cp {full} {seen} && "
        return (
            f"{begin}tar -C {q(source)} --listed-incremental={seen} {KEEP} --sparse -cf - . "
            f"| zstd -q -3 -T2 -f -o {q(self.store)}/{tag}.tar.zst"
        )

    def restore(self, source, tag, into):
        archives = ["full"] if tag == "full" else ["full", tag]
        return " && ".join(
            f"zstd -dcq {q(self.store)}/{archive}.tar.zst | tar -C {q(into)} --listed-incremental=/dev/null {KEEP} -xpf -"
            for archive in archives
        )
