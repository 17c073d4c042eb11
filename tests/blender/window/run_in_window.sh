#!/bin/sh
# Runs Blender with a window on a display of its own: run_in_window.sh BLENDER ARGUMENTS…
display=${DISPLAY_NUMBER:-97}
Xvfb ":$display" -screen 0 1280x800x24 -nolisten tcp >/dev/null 2>&1 &
server=$!
# Waited for, as the next one cannot have its display before.
trap 'kill $server 2>/dev/null; wait $server' EXIT
export DISPLAY=":$display" LIBGL_ALWAYS_SOFTWARE=1 LANG=C.UTF-8
sleep 1
if ! kill -0 $server 2>/dev/null; then
    echo "There is no display :$display: it is taken, or Xvfb is missing (DISPLAY_NUMBER names another)." >&2
    exit 1
fi
timeout "${SECONDS_ALLOWED:-180}" "$@"
