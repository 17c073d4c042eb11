"""Model folders in the published layout, with licence, attribution and check sums."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backend.checkpoints.weights import Published, write_model
from backend.files import atomic_path
from backend.geometry.mesh_files import Entry
from backend.sampling import SamplerSettings

TEXTS = Path(__file__).with_name("texts")


def write_folder(
    folder: Path,
    networks: Mapping[str, Published],
    pipeline: Mapping[str, Any],
    entries: Sequence[Entry],
    readme: str,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Writes networks (by path without suffix), pipeline.json, further texts (by path), and what tells people
    about the model.
    """
    (folder / "ckpts").mkdir(parents=True, exist_ok=True)
    for path, module in networks.items():
        write_model(module, folder / path, half=True)
    write_text(folder / "pipeline.json", json.dumps(pipeline, indent=4) + "\n")
    write_text(folder / "ATTRIBUTION.md", "# Training data\n\n" + attribution(entries))
    write_text(folder / "README.md", (TEXTS / readme).read_text(encoding="utf-8"))
    write_text(folder / "LICENSE", (TEXTS / "LICENSE").read_text(encoding="utf-8"))
    for name, text in (texts or {}).items():
        write_text(folder / name, text)
    write_sums(folder)


def pipeline_settings(
    name: str,
    models: Mapping[str, str],
    sampling: Mapping[str, SamplerSettings],
    normalization: tuple[list[float], list[float]],
    condition: Mapping[str, str],
) -> dict[str, Any]:
    """The content of pipeline.json; `sampling` has the settings of both samplers, `normalization` mean and
    deviation of the structured latent, `condition` the conditioning network.
    """
    samplers = {}
    for sampler, settings in sampling.items():
        params = asdict(settings)
        args = {"sigma_min": params.pop("sigma_min")}
        samplers[sampler] = {"name": "FlowEulerGuidanceIntervalSampler", "args": args, "params": params}
    mean, std = normalization
    latent = {"slat_normalization": {"mean": mean, "std": std}}
    return {"name": name, "args": {"models": dict(models), **samplers, **latent, **condition}}


def write_sums(folder: Path) -> None:
    """SHA256SUMS over every other file of the folder, as the `sha256sum` program writes it."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = (
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in paths
    )
    write_text(folder / "SHA256SUMS", "".join(lines))


def attribution(entries: Sequence[Entry]) -> str:
    """The lines that the licences of the training objects ask for; public-domain objects need none."""
    credited = sorted({e.attribution for e in entries if e.attribution and not e.licence.startswith("CC0")})
    head = f"This model was trained on {len(entries)} openly licensed objects."
    free = sum(entry.licence.startswith("CC0") for entry in entries)
    if free:
        head += f" {free} of them are in the public domain (CC0)."
    if not credited:
        return head + "\n"
    return f"{head} The others ask for these credits:\n\n" + "".join(f"- {line}\n" for line in credited)


def write_text(path: Path, text: str) -> None:
    """Writes the file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
