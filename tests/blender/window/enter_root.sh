#!/bin/bash
# Runs a command inside a folder that make_blender_root.sh made, with folders of this machine at the same paths.
#   DIRS="/checkout /interpreter" enter_root.sh ROOT COMMAND…
# Everything is mounted in a namespace of its own and is gone with the command.
set -euo pipefail
root=$1
shift
for folder in ${DIRS:-}; do mkdir -p "$root$folder"; done
ln -sf /proc/self/mounts "$root/etc/mtab"
exec unshare -m bash -c '
    root=$1; shift
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/dev/shm"
    for folder in ${DIRS:-}; do mount --rbind "$folder" "$root$folder"; done
    exec chroot "$root" "$@"' _ "$root" "$@"
