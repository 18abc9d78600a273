"""rustic. It encrypts always, and compresses with its default level of zstd."""
from .tool import Tool, q

RUSTIC = "rustic --no-progress --log-level=error"


class Rustic(Tool):
    name = "rustic"
    programs = ("rustic",)

    def __init__(self, place):
        super().__init__(place)
        self.env = {"RUSTIC_REPOSITORY": self.store, "RUSTIC_PASSWORD": "x", "RUSTIC_CACHE_DIR": self.side}

    def init(self):
        return f"{RUSTIC} init"

    def backup(self, source, tag):
        return f"cd {q(source)} && {RUSTIC} backup --tag {tag} ."

    def restore(self, source, tag, into):
        return f"{RUSTIC} restore latest {q(into)} --filter-tags {tag}"

    def mount(self, tag, at):
        return f"{RUSTIC} mount --filter-tags {tag} {q(at)} latest"
