"""Run by the backend's Python itself: are the packages of a lock there, in its versions, and do they import?

python check_packages.py LOCK        prints JSON; standard library only, imports nothing of this project
"""

import importlib
import importlib.metadata
import json
import platform
import re
import sys
from collections.abc import Mapping

# What the backend imports, and the names of modules that are not their package's.
IMPORTED = {
    "torch": "torch",
    "numpy": "numpy",
    "pillow": "PIL",
    "safetensors": "safetensors",
    "transformers": "transformers",
    "rembg": "rembg",
    "onnxruntime": "onnxruntime",
    "scipy": "scipy",
    "trimesh": "trimesh",
    "scikit-image": "skimage",
    "fast-simplification": "fast_simplification",
    "xatlas": "xatlas",
    "numba": "numba",
    "tokenizers": "tokenizers",
}


def check(lock: str) -> Mapping[str, object]:
    """Keys: python, versions {package: version}, missing [package], other {package: [found, wanted]},
    failed {package: why it does not import}."""
    versions, missing, other, failed = {}, [], {}, {}
    for pin in pins(lock):
        requirement, _, condition = pin.partition(";")
        name, wanted = requirement.strip().split("==")
        try:
            found = versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if not condition:  # it may be for other systems
                missing.append(name)
            continue
        if found.partition("+")[0] != wanted.partition("+")[0]:
            other[name] = [found, wanted]
    for name, module in IMPORTED.items():
        if name in versions:
            try:
                importlib.import_module(module)
            except Exception as fault:  # noqa: BLE001 (whatever a broken package does is the answer)
                failed[name] = f"{type(fault).__name__}: {fault}"
    told = {"python": platform.python_version(), "versions": versions}
    return told | {"missing": missing, "other": other, "failed": failed}


def pins(lock: str) -> list[str]:
    """The lines name==version of a lock."""
    with open(lock, encoding="utf-8") as file:
        lines = [line.split("#")[0].strip() for line in file]
    return [line for line in lines if re.match(r"[\w.-]+==", line)]


if __name__ == "__main__":
    answer = check(sys.argv[1])
    sys.stdout.write(f"\n{json.dumps(answer)}\n")  # on a line of its own, whatever imports have said
