"""restic, 0.15 or later. It encrypts always, and compresses with its default level of zstd."""
from .tool import Tool, q


class Restic(Tool):
    name = "restic"
    programs = ("restic",)

    def __init__(self, place):
        super().__init__(place)
        self.env = {"RESTIC_REPOSITORY": self.store, "RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": self.side}

    def version(self):
        return "restic version"

    def init(self):
        return "restic init -q --repository-version 2"

    def backup(self, source, tag):
        # By its whole path, for of a root that is "." restic keeps nothing.
        return f"restic backup -q --no-scan --tag {tag} {q(source)}"

    def restore(self, source, tag, into):
        return f"restic restore -q --sparse --tag {tag} latest --target {q(into)}"

    def restored(self, source, into):
        return f"{into}{source}"

    def mount(self, tag, at):
        return f"restic mount --path-template tags/%t/%T {q(at)}"

    def root(self, source, tag, at):
        return f"{at}/tags/{tag}/latest{source}"
