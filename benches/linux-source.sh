#!/bin/bash
# linux-source.sh [V1 V2]: the main job on a real tree, exactly, and how long it takes beside `tar | zstd -3 -T2`.
#
# V1 and V2 are two versions of one large tree; without them, two versions of Debian's package linux-source-6.1 are fetched (some
# 300 MB). Backs up V1 full, makes it V2 with rsync, backs up differential, mounts, and compares each point with its tree, then again after
# `cp -a` out of the mount and after `dbakfs restore`. Every comparison is `rsync -naHAX --checksum --delete --itemize-changes`
# and must print nothing at all. Needs root, rsync, zstd and, to fetch, apt. Works in a temporary directory (some 8 GB) and removes it.
set -euo pipefail
dbakfs=${DBAKFS:-$(cd "$(dirname "$0")/.." && pwd)/target/release/dbakfs}
work=$(mktemp -d "${TMPDIR:-/tmp}/dbakfs-linux-source.XXXXXX")
export DBAKFS_STORE=$work/store
cleanup() { timeout 20 "$dbakfs" umount "$work/mnt" 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT
mkdir "$work/mnt"

fetch="$(dirname "$0")/fetch-linux-source.sh"
v1=${1:-$work/v1} v2=${2:-$work/v2}
[ -d "$v1" ] || "$fetch" "$v1" 2
[ -d "$v2" ] || "$fetch" "$v2" 1

same() { # WHAT A B
    local out
    out=$(rsync -naHAX --checksum --delete --itemize-changes "$2/" "$3/")
    if [ -n "$out" ]; then echo "DIFFERS: $1"; head <<<"$out"; exit 1; fi
    echo "exact: $1"
}
timed() { # WHAT COMMAND…
    local what=$1; shift
    /usr/bin/time -f "$what: %e s, %U s user, %S s system, peak %M KB" "$@" >/dev/null
}
warm() { find "$1" -type f -print0 | xargs -0 cat >/dev/null; }
stored() { du -sb "$work/store" | cut -f1; }

cp -a "$v1" "$work/live"; sync; sleep 3; warm "$work/live"
timed "tar | zstd -3 -T2" bash -c "tar -C '$work/live' -cf - . | zstd -q -3 -T2 > '$work/tar.zst'"
echo "tar.zst: $(stat -c %s "$work/tar.zst") bytes"; rm "$work/tar.zst"
"$dbakfs" init >/dev/null
timed "full backup" "$dbakfs" backup "$work/live"; echo "store: $(stored) bytes"
timed "find -printf over the source" find "$work/live" -printf '%s %m %T@\n'
timed "backup, nothing changed" "$dbakfs" backup "$work/live"
rsync -a --delete --checksum "$v2/" "$work/live/"; sync; sleep 3
timed "differential backup" "$dbakfs" backup "$work/live"; echo "store: $(stored) bytes"
"$dbakfs" list; echo "entries that differ: $("$dbakfs" diff 1 2 | wc -l)"

"$dbakfs" mount "$work/mnt"
full=$work/mnt/live/$("$dbakfs" list --json | sed -n '1s/.*"time":"\([^"]*\)".*/\1/p')
timed "find in the mount, first" find "$work/mnt/live/latest/" -printf '%s %m %T@\n'
timed "find in the mount, again" find "$work/mnt/live/latest/" -printf '%s %m %T@\n'
timed "cp -a out of the mount" cp -a "$work/mnt/live/latest/." "$work/copy"
timed "cp -a of the source itself" cp -a "$work/live/." "$work/plain"
same "the full in the mount" "$v1" "$full"
same "the differential in the mount" "$work/live" "$work/mnt/live/latest"
same "the differential after cp -a" "$work/live" "$work/copy"
rm -rf "$work/copy" "$work/plain"
timed "restore" "$dbakfs" restore live/latest "$work/restored"
same "the differential after restore" "$work/live" "$work/restored"
"$dbakfs" umount "$work/mnt"
timed "verify --data" "$dbakfs" verify --data
