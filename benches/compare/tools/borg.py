"""borg, without encryption, zstd level 3. Its mount needs llfuse or pyfuse3."""
from .tool import Tool, q


class Borg(Tool):
    name = "borg"
    programs = ("borg",)

    def __init__(self, place):
        super().__init__(place)
        self.env = {
            "BORG_REPO": self.store,
            "BORG_BASE_DIR": self.side,
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }

    def init(self):
        return "borg init -e none"

    def backup(self, source, tag):
        return f"cd {q(source)} && borg create -C zstd,3 ::{tag} ."

    def restore(self, source, tag, into):
        return f"cd {q(into)} && borg extract --sparse ::{tag}"

    def mount(self, tag, at):
        return f"borg mount -f ::{tag} {q(at)}"
