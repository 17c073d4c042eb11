"""Who may import whom. Read from the source, so that no import has to succeed for the law to hold."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("backend", "blender_trellis", "scripts")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The full dotted names that a file imports, anywhere in it; relative ones from the repository's root."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module or "").split("."))).strip(".")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def sources(*folders: str) -> list[Path]:
    chosen = [
        path for path in SOURCES if within(".".join(path.relative_to(ROOT).with_suffix("").parts), *folders)
    ]
    assert chosen, f"there is nothing in {folders}"
    return chosen


def breaches(paths: list[Path], *forbidden: str, besides: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imports(path)
        if within(name, *forbidden) and not within(name, *besides)
    ]


def test_the_reader_of_imports_sees_all_forms(tmp_path):
    path = ROOT / "blender_trellis" / "protocol" / "framing.py"
    assert {"json", "blender_trellis.protocol.messages", "blender_trellis.protocol.messages.Array"} <= set(
        imports(path)
    )


def test_the_add_on_imports_neither_torch_nor_the_backend():
    assert not breaches(
        sources("blender_trellis"), "torch", "backend", "transformers", "safetensors", "PIL", "scipy"
    )


SHARED = (
    "blender_trellis.protocol",
    *(f"blender_trellis.batch.{name}" for name in ("console", "options", "outcomes", "plan", "progress_bar")),
)
"""What both sides go by: the messages, and how commands make many objects."""


def test_the_backend_knows_only_the_protocol_and_the_batches_of_the_add_on():
    paths = sources("backend")
    assert not breaches(paths, "bpy", "bmesh", "mathutils")
    assert not breaches(paths, "blender_trellis", besides=SHARED)


def test_what_both_sides_share_imports_the_standard_library_only():
    allowed = (*SHARED, "blender_trellis.faults")
    for path in sources(*allowed):
        for name in imports(path):
            assert name.partition(".")[0] in sys.stdlib_module_names or within(name, *allowed), path


def test_layers_know_neither_models_nor_representations():
    assert not breaches(
        sources("backend.layers"), "backend.models", "backend.representations", "backend.trellis.pipeline"
    )


def test_models_and_representations_do_not_know_each_other():
    assert not breaches(sources("backend.models"), "backend.representations", "backend.trellis.pipeline")
    assert not breaches(
        sources("backend.representations"), "backend.models", "backend.layers", "backend.trellis.pipeline"
    )


def test_only_the_workshop_imports_training_and_evaluation():
    workshop = [ROOT / "backend" / name for name in ("training", "evaluation")]
    others = [path for path in sources("backend") if not any(map(path.is_relative_to, workshop))]
    assert not breaches(others, "backend.training", "backend.evaluation")


@pytest.mark.parametrize(
    "module", ["protocol", "process", "install", "jobs.job", "jobs.runner", "jobs.results"]
)
def test_what_talks_to_the_backend_needs_no_blender(module):
    assert not breaches(sources(f"blender_trellis.{module}"), "bpy", "mathutils")


def test_importing_the_add_on_imports_no_bpy():
    """Registration does; the child process enters this package for the protocol and has no bpy."""
    code = f"import sys, {', '.join(SHARED)}\nsys.exit(bool({{'bpy', 'numpy', 'torch'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-E", "-s", "-c", code], cwd=ROOT, timeout=300).returncode == 0


def test_nothing_is_pickled_and_no_file_is_a_drawer():
    assert not breaches(SOURCES, "pickle", "cPickle", "dill", "marshal", "shelve")
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert not [path for path in SOURCES if path.stem in drawers]
