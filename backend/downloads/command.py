"""`python -m backend models`: list, download, import, verify and delete what the catalogue holds.

With --json each line on stdout is an object: {"name", "file", "done", "total"} while it goes on, at last
{"said": sentence} or {"error": sentence}; list prints one object.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backend.checkpoints.find_model import models_folder
from backend.downloads.install import Amount
from backend.errors import UserError
from blender_trellis.catalogue.entries import Entry, entries, find_entry
from blender_trellis.catalogue.hub_caches import hub_caches
from blender_trellis.catalogue.installed import lacking, presence
from blender_trellis.protocol.fields import to_json

PROGRESS_SECONDS = 0.25
PROGRESS_SHARE = 0.05  # of the whole, that is told at once however soon it comes


def main(argv: Sequence[str]) -> int:
    """0; 2 where it could not be done, with one sentence that says why."""
    options = _parser().parse_args(argv)
    # Files then come over plain HTTP, which mirrors speak and which can go on where it stopped.
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    out = _Out(options.json)
    models = options.models or models_folder()
    os.environ["TRELLIS_MODELS"] = str(models)
    among = entries()
    try:
        if options.run in (_download, _import):
            _refuse_without_home(models)
        options.run(options, models, among, out)
    except UserError as error:
        out.end("error", str(error))
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    wanted = argparse.ArgumentParser(prog="python -m backend models", description=__doc__)
    commands = wanted.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON lines")
    common.add_argument(
        "--models", type=Path, help="the models folder (default: TRELLIS_MODELS, or ~/.cache/trellis/models)"
    )
    for name, run, words, help_text in (
        ("list", _list, (), "what there is, and what of it lies here"),
        ("download", _download, ("name",), "fetch one, and what it needs"),
        ("import", _import, ("folder",), "take in a folder that was copied from elsewhere"),
        ("verify", _verify, ("name",), "compare the files of one with their hashes"),
        ("delete", _delete, ("name",), "remove the files of one"),
    ):
        one = commands.add_parser(name, help=help_text, parents=[common])
        for word in words:
            one.add_argument(word)
        if name == "download":
            one.add_argument("--endpoint", default="", help="a mirror of the hub (default: HF_ENDPOINT)")
        if name == "list":
            one.add_argument("--infos", action="store_true", help="also what models take, give and heed")
        if name == "import":
            one.add_argument("--link", action="store_true", help="link the folder instead of copying it")
        one.set_defaults(run=run)
    return wanted


class _Out:
    """Says how it goes: JSON lines on stdout, or lines for people."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._told = (0.0, "", 0)

    def amount(self, amount: Amount) -> None:
        now = time.monotonic()
        when, file, done = self._told
        soon = now - when < PROGRESS_SECONDS and amount.done - done < PROGRESS_SHARE * amount.total
        if soon and amount.file == file and amount.done < amount.total:
            return
        self._told = (now, amount.file, amount.done)
        if self._as_json:
            self._line(asdict(amount))
        else:
            share = amount.done / max(amount.total, 1)
            sys.stderr.write(f"\r{amount.name}: {share:4.0%} of {amount.total / 1e9:.1f} GB, {amount.file} ")
            sys.stderr.flush()

    def end(self, kind: str, sentence: str) -> None:
        if self._as_json:
            self._line({kind: sentence})
        else:
            stream = sys.stderr if kind == "error" else sys.stdout
            stream.write(f"{sentence}\n")

    def rows(self, rows: list[dict[str, Any]], infos: object) -> None:
        if self._as_json:
            self._line({"models": rows, "infos": infos})
            return
        for row in rows:
            size = _in_words(row["size_bytes"])
            sys.stdout.write(
                f"{row['name']:30}{size:>9}  {row['licence']:22}{row['where']:11}{row['about']}\n"
            )

    def _line(self, values: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()


def _in_words(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def _refuse_without_home(models: Path) -> None:
    if str(models).startswith("~"):
        raise UserError(
            f"The models folder {models} is in a home folder that is not known here: name another one with "
            "--models or TRELLIS_MODELS."
        )


def _entry(name: str, among: tuple[Entry, ...]) -> Entry:
    entry = find_entry(name, among)
    if entry is None:
        raise UserError(f"There is no model {name}: choose {', '.join(one.name for one in among)}.")
    return entry


def _list(options: argparse.Namespace, models: Path, among: tuple[Entry, ...], out: _Out) -> None:
    rows = []
    for entry in among:
        found = presence(entry, models, hub_caches())
        row = {name: getattr(entry, name) for name in ("name", "kind", "licence", "about", "revision")}
        rows.append(row | {"size_bytes": entry.size_bytes, "where": found.where, "missing": found.missing})
    infos = []
    if options.infos:
        from backend.checkpoints.model_info import available_model_infos  # imports torch

        infos = to_json(available_model_infos())
    out.rows(rows, infos)


def _download(options: argparse.Namespace, models: Path, among: tuple[Entry, ...], out: _Out) -> None:
    from backend.downloads.install import download

    entry = _entry(options.name, among)
    wanted = lacking(entry, among, models, hub_caches())
    endpoint = options.endpoint or os.environ.get("HF_ENDPOINT", "")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise UserError(f"The mirror {endpoint} is no address: it begins with https://.")
    before, total = 0, sum(one.size_bytes for one in wanted)
    for one in wanted:

        def on_amount(amount: Amount, before: int = before, total: int = total) -> None:
            out.amount(Amount(amount.name, amount.file, before + amount.done, max(total, amount.total)))

        download(one, models, endpoint.rstrip("/"), on_amount)
        before += one.size_bytes
    out.end("said", f"{entry.label} is here." if wanted else f"{entry.label} was here already.")


def _import(options: argparse.Namespace, models: Path, among: tuple[Entry, ...], out: _Out) -> None:
    from backend.downloads.import_folder import import_folder  # imports torch

    taken = import_folder(Path(os.path.expanduser(options.folder)), models, among, options.link, out.amount)
    out.end("said", f"Imported {', '.join(taken)}.")


def _verify(options: argparse.Namespace, models: Path, among: tuple[Entry, ...], out: _Out) -> None:
    from backend.downloads.verify import verify  # imports torch

    out.end("said", verify(options.name, among, models))


def _delete(options: argparse.Namespace, models: Path, among: tuple[Entry, ...], out: _Out) -> None:
    from backend.downloads.install import delete

    entry = _entry(options.name, among)
    delete(entry, models)
    out.end("said", f"{entry.label} was deleted.")
