"""`python -m backend selftest`: does this machine compute what the reference computed?

Rebuilds every recorded component from its sidecar, loads its weights strictly, runs it, and compares. An
artist runs it on their own card from the preferences; a golden of a kind unknown here counts as failed.
"""

import argparse
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from backend.errors import UserError
from backend.layers.engines import ENGINES, choose_engine
from backend.machine.device import choose_device
from backend.selftest import decoders, networks, pictures, pipelines, primitives, samplers, shapes
from backend.selftest.golden import Golden, find_goldens, largest_error

log = logging.getLogger(__name__)

BUNDLED = Path(__file__).parents[1] / "goldens"


@dataclass(frozen=True)
class Kind:
    """How one kind of golden is checked; `inputs` matches the tensors that are not answers."""

    answers: Callable[[Golden], Iterator[tuple]]
    inputs: str = r"(in|mid)/"


KINDS: dict[str, Kind] = {
    "primitives": Kind(
        primitives.primitives,
        r"conv/(coords|feats|k\d_(weight|bias))|ape/coords|t/t|patch/x|shuffle/x|rms/(x|gamma)",
    ),
    "ss_vae": Kind(networks.sparse_structure_vae),
    "ss_flow": Kind(networks.sparse_structure_flow),
    "slat_flow": Kind(networks.structured_latent_flow),
    "slat_enc": Kind(networks.structured_latent_encoder),
    "fp16_checkpoints": Kind(networks.half_precision_checkpoints, r"in/|out/.*_fp16"),
    "slat_dec_gs": Kind(decoders.gaussian_decoder),
    "slat_dec_rf": Kind(decoders.radiance_field_decoder),
    "slat_dec_mesh": Kind(decoders.mesh_decoder),
    "flexicubes": Kind(shapes.flexicubes, r".*/(coords|feats)$"),
    "gaussian_ply": Kind(shapes.gaussian_ply, r"glb/vertices_in"),
    "voxelize_variant": Kind(pipelines.detail_variation, r"(neg_)?cond|.*/(coords_raw|vertices|triangles)$"),
    "samplers": Kind(samplers.analytic, r"noise|(neg_)?cond"),
    "samplers_model": Kind(samplers.on_models, r".*/(noise|cond|coords)$"),
    "dinov2": Kind(pictures.image_encoder),
    "preprocess_image": Kind(pictures.prepared_pictures),
    "tiny_image_pipeline": Kind(pipelines.image_pipeline),
}


@dataclass(frozen=True)
class Outcome:
    """One compared tensor, or one golden that could not be run (`fault` says why)."""

    golden: str
    component: str
    error: float
    tolerance: float
    passed: bool
    fault: str = ""


def main(argv: Sequence[str]) -> int:
    """0 when everything agrees, 1 when anything does not, 2 when there is nothing to compare."""
    options = _parser().parse_args(argv)
    try:
        device = choose_device(options.device)
        engine = choose_engine(options.engine, device)
        goldens = find_goldens(options.goldens, device, engine)
        outcomes = [one for golden in goldens for one in check(golden)]
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    passed = all(one.passed for one in outcomes)
    if options.json:
        rows = [{**asdict(one), "error": one.error if one.error < float("inf") else None} for one in outcomes]
        sys.stdout.write(
            json.dumps({"passed": passed, "device": str(device), "engine": engine.name, "checks": rows})
            + "\n"
        )
    else:
        sys.stdout.write("".join(_line(one) for one in outcomes))
        failed = sum(not one.passed for one in outcomes)
        sys.stdout.write(
            f"{len(outcomes) - failed} of {len(outcomes)} agree on {device} with {engine.name}\n"
        )
    return 0 if passed else 1


def _parser() -> argparse.ArgumentParser:
    wanted = argparse.ArgumentParser(prog="python -m backend selftest", description=__doc__)
    wanted.add_argument(
        "--goldens", type=Path, default=BUNDLED, help="folder of goldens (default: the bundled set)"
    )
    wanted.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    wanted.add_argument("--engine", default="torch", choices=ENGINES)
    wanted.add_argument("--json", action="store_true", help="print one JSON object")
    return wanted


def _line(one: Outcome) -> str:
    verdict = "pass" if one.passed else "FAIL"
    detail = one.fault or f"{one.error:.3g} (tolerance {one.tolerance:.3g})"
    return f"{verdict}  {one.golden:22} {one.component:44} {detail}\n"


def check(golden: Golden) -> list[Outcome]:
    """Every answer of one golden against its record. Whatever goes wrong while it runs is its failure."""
    kind = KINDS.get(golden.kind)
    if kind is None:
        return [_fault(golden, f"The kind '{golden.kind}' is not known to this version.")]
    outcomes: list[Outcome] = []
    try:
        with torch.inference_mode(), _exact_arithmetic():
            for name, actual, *expected in kind.answers(golden):
                if expected or name in golden.tensors or not name.startswith("mid/"):
                    outcomes.append(_compare(golden, name, actual, *expected))
    except Exception as error:
        log.exception("%s", golden.name)
        outcomes.append(_fault(golden, f"{type(error).__name__}: {error}"))
    return outcomes + _missing(golden, kind, {one.component.split(" (")[0] for one in outcomes})


def _compare(golden: Golden, name: str, actual: Tensor, expected: Tensor | None = None) -> Outcome:
    recorded = golden.tensors[name] if expected is None else expected
    plain = name.split(" (")[0]
    tolerance = (
        golden.tolerance(plain)
        if plain in golden.tensors
        else 0.0
        if not recorded.is_floating_point()
        else 1e-5
    )
    error = largest_error(actual, recorded)
    return Outcome(golden.name, name, error, tolerance, error <= tolerance)


def _missing(golden: Golden, kind: Kind, checked: set[str]) -> list[Outcome]:
    """Recorded answers that no check looked at: a golden with a new tensor must not pass by silence."""
    left = [n for n in golden.tensors if n not in checked and not re.match(kind.inputs, n)]
    return [_fault(golden, "This recorded tensor was not checked.", name) for name in left]


def _fault(golden: Golden, sentence: str, component: str = "-") -> Outcome:
    return Outcome(golden.name, component, float("inf"), 0.0, False, sentence)


class _exact_arithmetic:
    """Full fp32 on the card while it lasts: the ten bits of TF32 would fail every check."""

    def __enter__(self) -> None:
        self._before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *fault: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self._before
