"""The Khronos validator of glTF files, run by Node; its npm package is fetched once, into the cache."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

VERSION = "2.0.0-dev.3.10"
CACHE = Path.home() / ".cache" / "trellis-tests" / f"gltf-validator-{VERSION}"
_SCRIPT = """
const validator = require("gltf-validator"), fs = require("fs"), path = require("path");
const file = process.argv[1];
const beside = uri => path.join(path.dirname(file), decodeURIComponent(uri));
const external = uri => Promise.resolve(new Uint8Array(fs.readFileSync(beside(uri))));
validator.validateBytes(new Uint8Array(fs.readFileSync(file)), {externalResourceFunction: external})
  .then(report => console.log(JSON.stringify(report)));
"""


def issues(path: Path) -> list[str]:
    """All that the validator says of a .glb or .gltf file, down to hints. Skips where it cannot be had."""
    result = subprocess.run(
        [_program("node"), "-e", _SCRIPT, str(path)],
        env=os.environ | {"NODE_PATH": str(_modules())},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(result.stdout)["issues"]["messages"]
    return [f"{one['code']} at {one.get('pointer', '')}: {one['message']}" for one in found]


def _modules() -> Path:
    """The folder that holds the package."""
    modules = CACHE / "node_modules"
    if not (modules / "gltf-validator" / "package.json").is_file():
        command = [_program("npm"), "install", "--no-audit", "--no-fund", "--prefix", str(CACHE)]
        done = subprocess.run([*command, f"gltf-validator@{VERSION}"], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"The Khronos validator could not be fetched: {done.stderr.strip()[-200:]}")
    return modules


def _program(name: str) -> str:
    """node or npm: the backend's environment has them, and perhaps the system."""
    own = Path(__file__).resolve().parent.parent / ".venv" / "bin" / name
    found = str(own) if own.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here; scripts/setup.py installs it into .venv")
    return found
