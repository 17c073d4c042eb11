"""The options on how objects are made that every command shares; what makes no sense is refused here."""

import argparse
import math
from typing import get_args

from ..protocol import Format, Generate, Memory, SamplingParams

STEPS_MAX = 1000
GUIDANCE_MAX = 100.0
SEED_END = 1 << 63


def add_generation_options(wanted: argparse.ArgumentParser, defaults: Generate) -> None:
    """Adds model, seed, steps, guidance, device, precision, memory and engine."""
    add = wanted.add_argument
    add("--model", default=defaults.model, help="a bundled or installed model, or a folder")
    add("--seed", type=seed, default=defaults.seed, help="0 or a positive whole number")
    add("--steps", type=steps, help="sampling steps of both stages (default: the model's)")
    add("--guidance", type=guidance, help="guidance strength of both stages (default: the model's)")
    add("--device", default=defaults.device, help="auto, cpu, cuda, cuda:1, mps")
    add("--precision", default=defaults.precision, help="auto, fp32, fp16, bf16")
    add(
        "--memory",
        default=defaults.memory,
        choices=get_args(Memory),
        help="whether networks leave a graphics card after their stage: for want of room, never, always",
    )
    add("--engine", default=defaults.engine, choices=("torch", "cuda"), help="torch, or cuda's libraries")


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
        seed=options.seed,
        sparse_structure=sampling,
        structured_latent=sampling,
        formats=formats,
    )


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
