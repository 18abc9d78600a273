"""bupstash. It encrypts always, with zstd level 3, and has no mount."""
from .tool import Tool, q


class Bupstash(Tool):
    name = "bupstash"
    programs = ("bupstash",)

    def __init__(self, place):
        super().__init__(place)
        self.env = {
            "BUPSTASH_REPOSITORY": self.store,
            "BUPSTASH_KEY": f"{self.side}/key",
            "BUPSTASH_SEND_LOG": f"{self.side}/send.log",
            "BUPSTASH_QUERY_CACHE": f"{self.side}/query",
        }

    def init(self):
        return 'rmdir "$BUPSTASH_REPOSITORY" && bupstash new-key -o "$BUPSTASH_KEY" && bupstash init'

    def backup(self, source, tag):
        return f"bupstash put -q --xattrs tag={tag} {q(source)} >/dev/null"

    def restore(self, source, tag, into):
        return f"bupstash restore -q --ownership --xattrs --into {q(into)} tag={tag}"
