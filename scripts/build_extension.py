"""Build the zip that Blender installs, with Blender's own builder, and validate it.

    python scripts/build_extension.py [--output dist]
    python scripts/build_extension.py --repository [--output dist/repository]

The second makes a folder that any web server can host as an extension repository: the zip, index.json, which
Blender reads, and index.html for people. Zips of other versions that lie there are listed too.

The builder is the one inside .venv-blender, or that of the Blender which the variable BLENDER names. What
goes into the zip stands in blender_manifest.toml ([build]).
"""

import argparse
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-blender"
sys.path.insert(0, str(ROOT))

from blender_trellis.batch.console import prepare_streams  # noqa: E402
from blender_trellis.install.python_environment import interpreter  # noqa: E402


def main() -> int:
    """Build and validate; the exit status."""
    options = parse_options()
    builder = find_builder()
    if builder is None:
        sys.stderr.write("There is no Blender: run `make setup`, or set BLENDER to Blender's executable.\n")
        return 2
    output = options.output or ROOT / "dist" / ("repository" if options.repository else "")
    output.mkdir(parents=True, exist_ok=True)
    target = output / archive_name()
    part = target.with_suffix(".part.zip")
    sound = run(builder, "build", "--source-dir", str(ROOT), "--output-filepath", str(part))
    if not sound or not run(builder, "validate", str(part)):
        part.unlink(missing_ok=True)
        return 1
    os.replace(part, target)
    with zipfile.ZipFile(target) as archive:
        files = len(archive.namelist())
    sys.stdout.write(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {files} files\n")
    if not options.repository:
        return 0
    if not run(builder, "server-generate", "--repo-dir", str(output), "--html"):
        return 1
    sys.stdout.write(
        f"{output / 'index.json'}: host the folder; add the address of index.json in Blender's preferences "
        "(Get Extensions, Repositories, +, Add Remote Repository)\n"
    )
    return 0


def run(builder: list[str], command: str, *arguments: str) -> bool:
    """Whether Blender's program did it; what it says is passed on where it did not."""
    result = subprocess.run([*builder, command, *arguments], capture_output=True, text=True, errors="replace")
    if result.returncode:
        sys.stderr.write(f"{result.stdout}{result.stderr}The extension's {command} failed.\n")
    return not result.returncode


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="folder for the zip (default: dist, or dist/repository)")
    parser.add_argument("--repository", action="store_true", help="make a repository to host of that folder")
    return parser.parse_args()


def archive_name() -> str:
    """As Blender names it: <id>-<version>.zip."""
    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))
    return f"{manifest['id']}-{manifest['version']}.zip"


def find_builder() -> list[str] | None:
    """The command that takes `build` and `validate`; None where no Blender is."""
    if blender := os.environ.get("BLENDER"):
        return [blender, "--factory-startup", "--command", "extension"]
    # The wheel carries the program that `blender --command extension` calls; it needs no bpy.
    for program in VENV.glob("**/bl_pkg/cli/blender_ext.py"):
        return [str(interpreter(VENV)), "-B", str(program)]
    return None


if __name__ == "__main__":
    prepare_streams()
    sys.exit(main())
