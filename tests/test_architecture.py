"""Who may import whom. Read from the source, so that no import has to succeed for the law to hold."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("backend", "blender_trellis", "scripts")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MOST_MODULES = 15  # that a folder holds, besides its __init__
CROWDED: dict[str, int] = {}  # folders that hold more for now, and how many; no number may grow


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


def room(name: str) -> str:
    """The first two levels of a dotted name: a folder such as backend.image, or a module at the root."""
    return ".".join(name.split(".")[:2])


def rooms(paths: Iterable[Path]) -> dict[str, set[str]]:
    """Every room of the backend and the add-on, and the rooms that it imports from."""
    graph: dict[str, set[str]] = {}
    for path in paths:
        parts = path.relative_to(ROOT).with_suffix("").parts
        here = room(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        graph.setdefault(here, set())
        for name in imports(path):
            known = any(
                (ROOT / room(name).replace(".", "/")).with_suffix(end).exists() for end in ("", ".py")
            )
            if known and "." in name and within(name, "backend", "blender_trellis") and room(name) != here:
                graph[here].add(room(name))
    return graph


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """One way round, each imported by the one before it; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


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


def test_a_circle_of_imports_is_found_and_named():
    assert circle({"a": ["b"], "b": ["c"], "c": []}) == []
    found = circle({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]})
    assert found[0] == found[-1] and sorted(found[1:]) == ["a", "b", "c"]
    following = {"a": "b", "b": "c", "c": "a"}
    assert all(following[one] == other for one, other in zip(found, found[1:], strict=False))


def test_the_graph_of_rooms_knows_folders_and_modules_at_the_root():
    graph = rooms(SOURCES)
    assert {"backend.errors", "backend.geometry"} <= graph["backend.evaluation"]
    assert graph["backend.errors"] == set()
    assert "blender_trellis.scene" in graph["blender_trellis.jobs"]


def test_package_imports_do_not_run_in_circles():
    found = circle(rooms(SOURCES))
    assert not found, " imports ".join(found)


def test_no_folder_is_crowded():
    folders = {path.parent for path in SOURCES}
    counts = {
        folder.relative_to(ROOT).as_posix(): len(list(folder.glob("*.py")))
        - (folder / "__init__.py").exists()
        for folder in folders
    }
    crowded = {name: count for name, count in counts.items() if count > CROWDED.get(name, MOST_MODULES)}
    assert not crowded, f"put these in rooms of their own: {crowded}"
    settled = [name for name in CROWDED if counts.get(name, 0) <= MOST_MODULES]
    assert not settled, f"no longer crowded, take them out of CROWDED: {settled}"


def test_evaluation_does_not_know_training():
    assert not breaches(sources("backend.evaluation"), "backend.training")


def test_geometry_stands_below_models_and_all_that_uses_them():
    assert not breaches(
        sources("backend.geometry"),
        "torch",
        *(f"backend.{name}" for name in ("models", "layers", "lifting", "trellis", "training", "evaluation")),
    )


def test_the_add_on_imports_neither_torch_nor_the_backend():
    assert not breaches(
        sources("blender_trellis"), "torch", "backend", "transformers", "safetensors", "PIL", "scipy"
    )


SHARED = (
    "blender_trellis.protocol",
    "blender_trellis.catalogue",
    *(f"blender_trellis.batch.{name}" for name in ("console", "options", "outcomes", "plan", "progress_bar")),
)
"""What both sides go by: the messages, the catalogue of models, and how commands make many objects."""


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
        sources("backend.layers"), "backend.models", "backend.representations", "backend.trellis"
    )


def test_models_and_representations_do_not_know_each_other():
    assert not breaches(sources("backend.models"), "backend.representations", "backend.trellis")
    assert not breaches(
        sources("backend.representations"), "backend.models", "backend.layers", "backend.trellis"
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


@pytest.mark.parametrize(
    "modules",
    [
        SHARED,  # registration imports bpy; the child enters this package for the protocol and has none
        ["backend.downloads.command"],  # the list of models waits for it, and torch takes seconds
    ],
)
def test_what_has_to_start_at_once_imports_neither_blender_nor_torch(modules):
    code = f"import sys, {', '.join(modules)}\nsys.exit(bool({{'bpy', 'numpy', 'torch'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-E", "-s", "-c", code], cwd=ROOT, timeout=300).returncode == 0


def test_nothing_is_pickled_and_no_file_is_a_drawer():
    assert not breaches(SOURCES, "pickle", "cPickle", "dill", "marshal", "shelve")
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert not [path for path in SOURCES if path.stem in drawers]
