#!/bin/bash
# Makes a folder with a real, windowed Blender in it (Debian's package, Xvfb and software GL), for the window tests.
#   tests/blender/window/make_blender_root.sh [ROOT] [SUITE…]
# ROOT defaults to ~/.cache/trellis-tests/blender-root; the suites are tried in turn (sid: Blender 5.2, trixie: 4.3).
# Needs root rights and mmdebstrap (apt-get install mmdebstrap). About a minute and 1.5 GB.
set -euo pipefail

root=${1:-$HOME/.cache/trellis-tests/blender-root}
shift || true
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(sid trixie)

# The list of languages is what Blender chooses from; an older root lacks it.
if [ -x "$root/usr/bin/blender" ] && [ -e "$root/usr/share/locale/languages" ]; then
    echo "There is a Blender in $root already."
    exit 0
fi
command -v mmdebstrap >/dev/null || apt-get install -y --no-install-recommends mmdebstrap

mirror=$(awk '/^URIs/{print $2; exit}' /etc/apt/sources.list.d/debian.sources)
# Without python3-requests and python3-cattr Blender 5.2 prints a traceback at every start.
packages=blender,python3-numpy,python3-requests,python3-cattr,python3-zstandard
packages+=,xvfb,xauth,xdotool,libgl1-mesa-dri,libegl1,imagemagick,ca-certificates
# What a Python 3.11 of the host links to, so that Blender can start it as its backend.
packages+=,libssl3t64,libffi8,libbz2-1.0,liblzma5,libsqlite3-0,zlib1g

mkdir -p "$(dirname "$root")"
for suite in "${suites[@]}"; do
    rm -rf "$root.part"
    if mmdebstrap --variant=apt --components=main \
        --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' \
        --aptopt='Apt::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-include=/usr/share/locale/languages' \
        --include="$packages" "$suite" "$root.part" "$mirror"; then
        rm -rf "$root"
        mv "$root.part" "$root"
        echo "$suite: $(chroot "$root" blender --version 2>/dev/null | head -1) in $root"
        exit 0
    fi
    echo "$suite did not work." >&2
done
rm -rf "$root.part"
exit 1
