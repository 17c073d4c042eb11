"""Every text that the add-on can show, read off its code: labels, tooltips, reports, sentences of faults."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from blender_trellis.catalogue.entries import entries

PLACE = re.compile(r"\{\d+\}")
PACKAGE = Path(__file__).resolve().parents[2] / "blender_trellis"
ELSEWHERE = ("batch", "protocol", "translations")  # what they say is read in terminals and logs
# Names of objects and collections, and what only shows in the log of a fault of the add-on's own.
NOT_SHOWN = {
    "TRELLIS Painting",
    "TRELLIS Splats",
    "TRELLIS Studio",
    "TRELLIS picture",
    "Traceback (most recent call last)",
    "Application Support",
}
# Calls that show their first texts, and keywords that hold one.
SHOWN = {"Fault", "report", "draw_text", "poll_message_set", "translated", "label"}
KEYWORDS = {"text", "name", "description", "placeholder", "message", "title", "words", "reason"}
NAMES = {"bl_label", "bl_description"}


# Values that stand within sentences, and words that models are described by.
VALUES = (
    "an NVIDIA graphics card",
    "the processor",
    "one picture",
    "one or several pictures",
    "a sentence",
    "mesh, Gaussians",
    "mesh, Gaussians, radiance field",
)


def interface_texts() -> dict[str, str]:
    """Each text, with numbered places for its values, and the file it stands in."""
    found = dict.fromkeys(VALUES, "") | {entry.about: "catalogue" for entry in entries()}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in ELSEWHERE:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        documented = _docstrings(tree)
        for node in ast.walk(tree):
            for text in _texts(node, documented):
                if any(letter.isalpha() for letter in PLACE.sub("", text)) and not _is_name(text):
                    found.setdefault(text, str(path.relative_to(PACKAGE)))
    return found


def _is_name(text: str) -> bool:
    return text in NOT_SHOWN or bool(re.fullmatch(r"\{0\} [A-Z]\w*( \{1\})?", text))


def _texts(node: ast.AST, documented: set[int]) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        yield from _of_class(node)
    elif isinstance(node, ast.Dict):
        values = (value.value for value in node.values if isinstance(value, ast.Constant))
        yield from (value for value in values if isinstance(value, str) and _is_label(value))
    elif isinstance(node, ast.Assign) and any(getattr(one, "id", "") in NAMES for one in node.targets):
        yield from _literals(node.value)
    elif isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in SHOWN:
            for argument in node.args:
                yield from filter(_is_sentence, _literals(argument))
        for keyword in node.keywords:
            if keyword.arg in KEYWORDS and (name in SHOWN or name.endswith("Property") or _draws(node)):
                yield from _literals(keyword.value)
            if keyword.arg == "items":
                yield from _literals_of_items(keyword.value)
    elif isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in documented:
        yield from filter(_is_sentence, [_template(node)])


def _of_class(node: ast.ClassDef) -> Iterator[str]:
    """Blender shows an operator's first line of documentation as its tooltip."""
    described = any(
        getattr(one, "id", "") == "bl_description" for part in node.body for one in _targets(part)
    )
    if "_OT_" in node.name and not described:
        yield (ast.get_docstring(node) or "").strip()


def _targets(node: ast.AST) -> list[ast.AST]:
    return list(node.targets) if isinstance(node, ast.Assign) else []


def _draws(node: ast.Call) -> bool:
    """Whether it is a method of a layout that shows a text."""
    names = {"operator", "prop", "menu", "label", "progress", "popover", "panel", "prop_search"}
    return getattr(node.func, "attr", "") in names


def _literals(node: ast.AST) -> Iterator[str]:
    """The texts of an expression, a choice's both."""
    if isinstance(node, ast.IfExp):
        yield from _literals(node.body)
        yield from _literals(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _literals(value)
    elif isinstance(node, ast.Constant | ast.JoinedStr):
        yield _template(node)


def _literals_of_items(node: ast.AST) -> Iterator[str]:
    """Names and descriptions of a list of choices; the first text of each is its identifier."""
    for choice in getattr(node, "elts", []):
        for part in getattr(choice, "elts", [])[1:3]:
            yield from _literals(part)


def _template(node: ast.AST) -> str:
    """The text of a literal, its values as numbered places."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if not isinstance(node, ast.JoinedStr):
        return ""
    parts, places = [], 0
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(part.value)
        else:
            parts.append(f"{{{places}}}")
            places += 1
    return "".join(parts)


def _is_label(text: str) -> bool:
    return text[:1].isupper() and not text.isupper() and "_" not in text


def _is_sentence(text: str) -> bool:
    """Whether people read it: words that begin large, or a name in quotes and words."""
    start = text[:1]
    logged = re.search(r"%[sd.]|\\[dw]", text)
    return not logged and " " in text.strip() and (start.isupper() or start in '"{') and text != text.upper()


def _docstrings(tree: ast.AST) -> set[int]:
    """Literals that are documentation, and those within f-strings, which are seen as a whole."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            found.update(id(part) for part in ast.walk(node) if part is not node)
    return found
