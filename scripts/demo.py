"""One picture becomes out/NAME.blend, .glb, .ply and a preview.png, through the add-on's backend and import.

    python scripts/demo.py [--image PICTURE] [--output FOLDER]

Runs in any Python: where that lacks bpy, it goes on in the checkout's .venv-blender or in a Blender it finds.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import batch  # noqa: E402 (beside this file)

from blender_trellis.batch.plan import Item  # noqa: E402

PICTURE = ROOT / "docs" / "pictures" / "mushroom.png"


def main(arguments: list[str]) -> int:
    """Makes the one object; the exit code."""
    wanted = argparse.ArgumentParser(prog="demo.py", description="Turn one picture into a 3D object.")
    wanted.add_argument(
        "--image", type=Path, default=PICTURE, metavar="PICTURE", help="picture of one object"
    )
    wanted.add_argument("--output", type=Path, default=ROOT / "out", metavar="FOLDER")
    batch.add_generation_options(wanted)
    options = wanted.parse_args(arguments)
    if os.path.isdir(options.image):
        sys.stderr.write(f'"{options.image}" is a folder: choose one picture, or use scripts/batch.py.\n')
        return 2
    works = batch.works_of([Item(options.image.stem, (options.image,))], options.seed)
    kinds = ("blend", "glb", "ply", "preview")
    return batch.run(options, batch.with_latents(works, kinds), preview_name="preview.png")


def blender_command() -> list[str] | None:
    """How to run this script where there is bpy, None where no such place is found."""
    module = ROOT / ".venv-blender" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if module.exists():
        return [str(module), __file__]
    blender = os.environ.get("BLENDER") or shutil.which("blender")
    return [blender, "--background", "--factory-startup", "--python", __file__, "--"] if blender else None


def relaunch(arguments: list[str]) -> int:
    """Runs this script again with bpy; its exit code."""
    command = blender_command()
    if command is None:
        sys.stderr.write(
            "There is no Blender: run scripts/setup.py, or set BLENDER to Blender's executable.\n"
        )
        return 2
    return subprocess.run([*command, *arguments], check=False).returncode


if __name__ == "__main__":
    batch.prepare_streams()
    if importlib.util.find_spec("bpy") is None:
        sys.exit(relaunch(sys.argv[1:]))
    batch.run_and_leave(main)
