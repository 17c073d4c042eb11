"""The options on how objects are made that every command shares; what makes no sense is refused here."""

import argparse
import math
from collections.abc import Iterable
from typing import get_args

from ..protocol import Background, Finishing, FinishPreset, Format, Generate, Memory, SamplingParams

STEPS_MAX = 1000
TEXTURE_SIZES = (0, 512, 1024, 2048, 4096)
ENCODINGS = ("png", "jpeg", "webp")
GUIDANCE_MAX = 100.0
PREFERRED = "as the preferences say"
SEED_END = 1 << 63
STRENGTH_HELP = (
    "1 invents, less stays near what sampling starts from (default: the model's; 1 where only the look is "
    "made anew by a model that samples it from noise)"
)


def add_generation_options(wanted: argparse.ArgumentParser, defaults: Generate) -> None:
    """Adds model, seed, steps, guidance, device, precision, memory and engine."""
    add_sampling_options(wanted, defaults)
    add_engine_options(wanted, defaults)


def add_sampling_options(wanted: argparse.ArgumentParser, defaults: Generate) -> None:
    """Adds seed, steps and guidance."""
    add = wanted.add_argument
    add(
        "--seed",
        type=seed,
        default=defaults.seed,
        help=f"0 or a positive whole number (default: {defaults.seed})",
    )
    add("--steps", type=steps, help="sampling steps of both stages (default: the model's)")
    add("--guidance", type=guidance, help="guidance strength of both stages (default: the model's)")


def add_engine_options(wanted: argparse.ArgumentParser, defaults: Generate) -> None:
    """Adds model, device, precision, memory and engine."""
    add = wanted.add_argument
    device, precision = defaults.device or PREFERRED, defaults.precision or PREFERRED
    model = defaults.model or "the asset's own, starter for a mesh"
    add("--model", default=defaults.model, help=f"bundled, installed, or a folder (default: {model})")
    add("--device", default=defaults.device, help=f"auto, cpu, cuda, cuda:1, mps (default: {device})")
    add("--precision", default=defaults.precision, help=f"auto, fp32, fp16, bf16 (default: {precision})")
    add(
        "--memory",
        default=defaults.memory,
        choices=get_args(Memory),
        help="whether networks leave a graphics card after their stage: for want of room, never, always "
        f"(default: {defaults.memory})",
    )
    engine = "torch, its compiler (pays where many objects follow), or cuda's libraries (default: "
    engine += f"{defaults.engine or PREFERRED})"
    add("--engine", default=defaults.engine, choices=("torch", "compile", "cuda"), help=engine)


def add_background_option(wanted: argparse.ArgumentParser) -> None:
    """Adds how the background of pictures goes."""
    wanted.add_argument(
        "--background",
        default="auto",
        choices=get_args(Background),
        help="how what is behind the object goes: by the picture's transparency, else a background remover, "
        "else its plain color (auto); by one of these alone; or not at all (keep) (default: auto)",
    )


def add_finishing_options(wanted: argparse.ArgumentParser, defaults: Finishing) -> None:
    """Adds how meshes are finished."""
    add = wanted.add_argument
    add(
        "--finish",
        default=defaults.preset,
        choices=get_args(FinishPreset),
        help="meshes as decoded, or closed and of at most 100,000, 20,000 or 5,000 faces "
        f"(default: {defaults.preset})",
    )
    add(
        "--texture",
        type=texture_size,
        default=defaults.texture,
        metavar="PIXELS",
        help=f"side of a texture, 0 for colours of vertices (default: {defaults.texture})",
    )
    add_encoding_option(wanted)


def add_encoding_option(wanted: argparse.ArgumentParser) -> None:
    """Adds how the texture is stored in a .glb file."""
    wanted.add_argument(
        "--encoding",
        choices=ENCODINGS,
        default=ENCODINGS[0],
        help=f"of the texture in a .glb file (default: {ENCODINGS[0]})",
    )


def finishing_of(options: argparse.Namespace) -> Finishing:
    """What the options say of it."""
    return Finishing(preset=options.finish, texture=options.texture)


def format_names(text: str, known: Iterable[str]) -> tuple[str, ...]:
    """Names of what is made or of files, with commas between them, each once; all of `known`."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    said = ", ".join(known)
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"unknown format {unknown[0]!r}; choose of {said}")
    if not names:
        raise argparse.ArgumentTypeError(f"no format is named; choose of {said}")
    return names


def request_of(options: argparse.Namespace, formats: tuple[Format, ...]) -> Generate:
    """The request that asks for what the options say, without pictures."""
    sampling = SamplingParams(steps=options.steps, cfg_strength=options.guidance)
    return Generate(
        job="",
        model=options.model,
        device=options.device,
        precision=options.precision,
        engine=options.engine,
        memory=options.memory,
        background=options.background,
        seed=options.seed,
        sparse_structure=sampling,
        structured_latent=sampling,
        formats=formats,
    )


def texture_size(text: str) -> int:
    """The type of an option: 0, or pixels a side of a texture."""
    if _whole(text) not in TEXTURE_SIZES:
        sizes = ", ".join(map(str, TEXTURE_SIZES))
        raise argparse.ArgumentTypeError(f"{text} is no size of a texture; choose {sizes}")
    return int(text)


def steps(text: str) -> int:
    """The type of an option: 1 to STEPS_MAX."""
    if not 1 <= _whole(text) <= STEPS_MAX:
        raise argparse.ArgumentTypeError(f"{text} steps cannot be taken; choose 1 to {STEPS_MAX}")
    return int(text)


def seed(text: str) -> int:
    """The type of an option: a whole number from 0 to below SEED_END."""
    if not 0 <= _whole(text) < SEED_END:
        raise argparse.ArgumentTypeError(f"{text} is no seed; choose 0 or a positive whole number below 2^63")
    return int(text)


def guidance(text: str) -> float:
    """The type of an option: a finite number up to GUIDANCE_MAX."""
    try:
        strength = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid float value: {text!r}") from error
    if not (math.isfinite(strength) and 0 <= strength <= GUIDANCE_MAX):
        raise argparse.ArgumentTypeError(f"the strength cannot be {text}; choose 0 to {GUIDANCE_MAX:g}")
    return strength


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid int value: {text!r}") from error
