"""Build the zip that Blender installs, with Blender's own builder, and validate it.

    python scripts/build_extension.py [--output dist] [--split-platforms]

The builder is the one inside .venv-blender, or that of the Blender which the variable BLENDER names. What
goes into the zip stands in blender_manifest.toml ([build]). Wheels that scripts/fetch_wheels.py has put into
wheels/ go in too, all into one zip or each into the zip of its platform; without them the zip works as well.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
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
    wheels = sorted(wheel.name for wheel in (ROOT / "wheels").glob("*.whl"))
    if options.split_platforms and not wheels:
        sys.stderr.write("There are no wheels to split by: run scripts/fetch_wheels.py first.\n")
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=options.output) as work:
        source = ROOT
        if wheels:
            source = Path(work) / "source"
            stage(source, wheels, options.split_platforms)
        if complaint := build(builder, source, Path(work) / "built", options.split_platforms):
            sys.stderr.write(complaint)
            return 1
        for part in sorted((Path(work) / "built").iterdir()):
            os.replace(part, target := options.output / part.name)
            with zipfile.ZipFile(target) as archive:
                files = len(archive.namelist())
            sys.stdout.write(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {files} files\n")
    return 0


def build(builder: list[str], source: Path, output: Path, split_platforms: bool) -> str:
    """Fill the folder `output` with valid zips; what went wrong, "" where nothing did."""
    output.mkdir()
    command = ["build", "--source-dir", str(source)]
    if split_platforms:
        command += ["--output-dir", str(output), "--split-platforms"]
    else:
        command += ["--output-filepath", str(output / archive_name())]
    steps = [command]
    while steps:
        arguments = steps.pop(0)
        result = subprocess.run([*builder, *arguments], capture_output=True, text=True, errors="replace")
        if result.returncode:
            return f"{result.stdout}{result.stderr}The extension's {arguments[0]} failed.\n"
        if arguments is command:
            steps = [["validate", str(archive)] for archive in sorted(output.iterdir())]
    return ""


def stage(target: Path, wheels: list[str], split_platforms: bool) -> None:
    """Copy what the zip is made of, with a manifest that names wheels, and platforms to split by."""
    workshop = {"out", "dist", "build", "data", "runs", "docs", "tests"}

    def left_out(folder: str, names: list[str]) -> set[str]:
        hidden = {name for name in names if name.startswith(".") or name == "__pycache__"}
        return hidden | (workshop if Path(folder) == ROOT else set())

    shutil.copytree(ROOT, target, ignore=left_out)
    lines = "wheels = [{}]\n".format(", ".join(f'"./wheels/{name}"' for name in wheels))
    if split_platforms:
        lines += "platforms = [{}]\n".format(", ".join(f'"{name}"' for name in sorted(platforms_of(wheels))))
    manifest = target / "blender_manifest.toml"
    head, permissions, tail = manifest.read_text(encoding="utf-8").partition("[permissions]")
    manifest.write_text(f"{head}{lines}\n{permissions}{tail}", encoding="utf-8")


def platforms_of(wheels: list[str]) -> set[str]:
    """Blender's names of the platforms that wheels are for, by their file names."""
    systems = {"macosx": "macos", "manylinux": "linux", "musllinux": "linux", "win": "windows"}
    machines = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
    tag = re.compile(rf"({'|'.join(systems)})[\d_]*({'|'.join(machines)})$")
    found = (tag.match(part) for name in wheels for part in name[: -len(".whl")].split("-")[-1].split("."))
    return {f"{systems[match[1]]}-{machines[match[2]]}" for match in found if match}


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "dist", help="folder for the zip (default: dist)"
    )
    parser.add_argument(
        "--split-platforms", action="store_true", help="one zip for each platform with a wheel"
    )
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
