"""`python -m backend [COMMAND]`: serve (also without one), generate, edit, vary, texture, selftest …"""

import importlib
import importlib.util
import logging
import os
import sys

from backend.machine.numba_cache import choose_numba_cache
from backend.machine.waiting_threads import let_waiting_threads_sleep
from blender_trellis.batch.console import prepare_streams

COMMANDS = {
    "serve": "answer the add-on over stdin and stdout (what happens without a command)",
    "ray": "answer as serve does, on the devices of a Ray cluster",
    "generate": "turn pictures into files, without Blender",
    "edit": "change a region of an asset and keep the rest",
    "vary": "make variants of an asset",
    "encode": "turn a mesh into an asset that can be edited",
    "texture": "bake Gaussians and pictures onto a mesh",
    "finish": "close a mesh, remove inner walls and loose pieces, and keep a budget of faces",
    "picture": "draw an asset as its model expects pictures, to paint on for an edit",
    "models": "list, download, import, verify and delete models",
    "selftest": "compare this machine's results with stored ones",
    "bench": "time every stage",
    "train": "make the starter model from a folder of objects (in the repository, not in the extension)",
    "evaluate": "score a model on a folder of meshes (in the repository, not in the extension)",
}
ELSEWHERE = {"models": "backend.downloads.command", "ray": "backend.farm.command"}
"""Commands that are not called as their module is."""
REPOSITORY_ONLY = {"train": "backend.training.command", "evaluate": "backend.evaluation.command"}
"""Commands that the extension leaves out, and where they are in the repository."""


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code; a command's module is imported only when it is asked for."""
    command, *rest = arguments or ["serve"]
    if command in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0
    if command not in COMMANDS:
        sys.stderr.write(f"There is no command {command!r}.\n{usage()}")
        return 2
    if command not in ("serve", "ray"):  # which guards descriptor 1 before anything can be logged
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    module = (ELSEWHERE | REPOSITORY_ONLY).get(command, f"backend.{command}")
    if command in REPOSITORY_ONLY and importlib.util.find_spec(module.rpartition(".")[0]) is None:
        sys.stderr.write(f"The extension does not hold {command}; run it in the project's repository.\n")
        return 2
    return importlib.import_module(module).main(rest)


def usage() -> str:
    """What --help shows."""
    lines = [f"  {name:<10}{what}" for name, what in COMMANDS.items()]
    return "\n".join(["usage: python -m backend [COMMAND] [--help | OPTIONS]", "", *lines, ""])


if __name__ == "__main__":
    prepare_streams()
    let_waiting_threads_sleep(os.environ)  # before anything loads torch
    choose_numba_cache(os.environ)  # before anything loads numba
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # what MPS lacks runs on the processor
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(2)
