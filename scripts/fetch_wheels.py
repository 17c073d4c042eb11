"""Put uv's wheels into wheels/, so that the extension can install its backend without any other tool.

    python scripts/fetch_wheels.py [--platform linux-x64 …] [--into wheels]

Version and hashes stand in wheels/uv.txt. pip fetches them, and so heeds its own configuration (index, proxy,
certificates). Without --platform: all that Blender runs on.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from blender_trellis.batch.console import prepare_streams  # noqa: E402

LOCK = ROOT / "wheels" / "uv.txt"
PLATFORMS = {  # Blender's name -> pip's
    "linux-x64": "manylinux_2_17_x86_64",
    "linux-arm64": "manylinux_2_17_aarch64",
    "windows-x64": "win_amd64",
    "windows-arm64": "win_arm64",
    "macos-arm64": "macosx_11_0_arm64",
    "macos-x64": "macosx_10_12_x86_64",
}


def main() -> int:
    """Fetch them; the exit status."""
    options = parse_options()
    for platform in options.platform or PLATFORMS:
        result = subprocess.run(
            download_command(PLATFORMS[platform], options.into),
            capture_output=True,
            text=True,
            errors="replace",
        )
        if result.returncode:
            sys.stderr.write(
                f"{result.stderr}uv's wheel for {platform} is not to be had: see pip's words above.\n"
            )
            return 1
    for wheel in sorted(options.into.glob("uv-*.whl")):
        sys.stdout.write(f"{wheel.stat().st_size / 1e6:6.1f} MB  {wheel.name}\n")
    return 0


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--platform", choices=PLATFORMS, action="append", help="only this one (repeatable)")
    parser.add_argument("--into", type=Path, default=LOCK.parent, help="folder (default: wheels)")
    return parser.parse_args()


def download_command(platform: str, into: Path) -> list[str]:
    """pip's command for one platform, of pip's name."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
    ]
    return [*command, "--platform", platform, "--dest", str(into), "--requirement", str(LOCK)]


if __name__ == "__main__":
    prepare_streams()
    sys.exit(main())
