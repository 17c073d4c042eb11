#!/bin/sh
# Runs Blender with a window on a display of its own: run_in_window.sh BLENDER ARGUMENTS…
chosen=$(mktemp)
# Xvfb looks for a display that is free, and writes its number as soon as it takes connections.
Xvfb -displayfd 3 -screen 0 1280x800x24 -nolisten tcp 3>"$chosen" >/dev/null 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server; rm -f "$chosen"' EXIT
while [ ! -s "$chosen" ]; do
    if ! kill -0 $server 2>/dev/null; then
        echo "There is no display: Xvfb did not start, or is missing." >&2
        exit 1
    fi
    sleep 0.1
done
export DISPLAY=":$(cat "$chosen")" LIBGL_ALWAYS_SOFTWARE=1 LANG=C.UTF-8
timeout "${SECONDS_ALLOWED:-180}" "$@"
