"""What a run needs of the machine; all that is missing is said at once."""
import os
import shutil

PACKAGES = {
    "fio": "fio",
    "mke2fs": "e2fsprogs",
    "rsync": "rsync",
    "setcap": "libcap2-bin",
    "setfacl": "acl",
    "losetup": "mount",
    "/usr/bin/time": "time",
}
ALWAYS = ("rsync", "mke2fs", "losetup", "mount", "umount", "fallocate", "find", "xargs", "grep", "cp", "cat", "bash", "timeout", "/usr/bin/time")


def missing(programs):
    """What stands in the way, a line each. `programs` are those of the corpora."""
    found = []
    if os.geteuid() != 0:
        found.append("root: file systems are mounted, owners and capabilities set")
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(device):
            found.append(device)
    for program in sorted({*ALWAYS, *programs}):
        if not shutil.which(program):
            package = PACKAGES.get(program)
            found.append(program + (f" (package {package})" if package else ""))
    return found


def file_system(path):
    """The type of the file system that a directory stands on."""
    path, best, kind = os.path.realpath(path), "", "unknown"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            fields = line.split()
            at = fields[4].rstrip("/") + "/"
            if (path + "/").startswith(at) and len(at) >= len(best):
                best, kind = at, fields[fields.index("-") + 1]
    return kind
