#!/bin/sh
# Runs Blender with a window on a display of its own: run_in_window.sh BLENDER ARGUMENTS…
# SHOT_DIR must be set; drive.py puts screenshots there.
display=${DISPLAY_NUMBER:-97}
Xvfb ":$display" -screen 0 1280x800x24 -nolisten tcp >/dev/null 2>&1 &
server=$!
trap 'kill $server' EXIT
export DISPLAY=":$display" LIBGL_ALWAYS_SOFTWARE=1 LANG=C.UTF-8
sleep 1
timeout "${SECONDS_ALLOWED:-180}" "$@"
