"""What both flow models are: transformer blocks modulated by time that attend to a condition."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from backend.config import require, resolve_heads
from backend.layers.attention import KeysValues
from backend.layers.embedding import TimestepEmbedder
from backend.layers.engines import Engine
from backend.layers.stack import Stack
from backend.layers.transformer import ModulatedCrossBlock, modulation, run_block
from backend.models.network import Network, xavier_linears_, zero_


@dataclass(frozen=True)
class Context:
    """A condition as keys and values of every block, computed once for all steps.

    aligned (B, C', R, R, R): what a flow with a spatially aligned condition reads beside its input.
    """

    keys_values: tuple[KeysValues, ...]
    aligned: Tensor | None = None

    def beside(self, other: "Context") -> "Context":
        """Both as one batch: (B, …) and (B', …) of equal length -> (B + B', …)."""
        blocks = zip(self.keys_values, other.keys_values, strict=True)
        keys_values = tuple((torch.cat([k, k_]), torch.cat([v, v_])) for (k, v), (k_, v_) in blocks)
        aligned = None
        if self.aligned is not None and other.aligned is not None:
            aligned = torch.cat([self.aligned, other.aligned])
        return Context(keys_values, aligned)


@dataclass(frozen=True)
class TimeModulation:
    """A time as the blocks take it: its embedding (B, C), and for each block (B, C) or (B, 6C); and t (B,)
    itself in [0, 1].
    """

    embedding: Tensor
    blocks: tuple[Tensor, ...]
    t: Tensor | None = None


@dataclass(frozen=True)
class FlowConfig:
    """Fields that both flow models have, named as in the published JSON."""

    resolution: int
    in_channels: int
    model_channels: int
    cond_channels: int
    out_channels: int
    num_blocks: int
    num_heads: int | None = None
    num_head_channels: int | None = 64
    mlp_ratio: float = 4
    patch_size: int = 2
    pe_mode: str = "ape"
    use_fp16: bool = False
    use_checkpoint: bool = False
    share_mod: bool = False
    qk_rms_norm: bool = False
    qk_rms_norm_cross: bool = False


F = TypeVar("F", bound=FlowConfig)


class FlowTransformer(Network[F]):
    """Time embedding, blocks and their context; tokens, input and output belong to each flow model."""

    def __init__(self, config: F):
        super().__init__(config)
        name = type(self).__name__
        require(config.pe_mode == "ape", f"{name} knows pe_mode ape only, not {config.pe_mode}.")
        channels = config.model_channels
        heads = resolve_heads(channels, config.num_heads, config.num_head_channels, name)
        self.t_embedder = TimestepEmbedder(channels)
        self.adaLN_modulation = modulation(channels) if config.share_mod else None
        self.blocks = Stack(
            ModulatedCrossBlock(
                channels,
                config.cond_channels,
                heads,
                config.mlp_ratio,
                config.qk_rms_norm,
                config.qk_rms_norm_cross,
                config.share_mod,
            )
            for _ in range(config.num_blocks)
        )

    def initialise_(self, out_layer: nn.Module) -> None:
        """Start values: no block adds anything and the velocity is zero."""
        xavier_linears_(self)
        self.t_embedder.initialise_()
        for owner in (self, *self.blocks):
            if owner.adaLN_modulation is not None:
                zero_(owner.adaLN_modulation)
        zero_(out_layer)

    def context(self, cond: Tensor) -> Context:
        """Condition (B or 1, Lc, cond_channels) -> keys and values of every block."""
        cond = cond.to(self.dtype)
        return Context(tuple(block.cross_attn.keys_values(cond) for block in self.blocks))

    def embed_time(self, t: Tensor | TimeModulation) -> TimeModulation:
        """t (B,) times 1000, or what `timetable` made of it."""
        if isinstance(t, TimeModulation):
            return t
        t_emb = self.t_embedder(t)
        mod = t_emb if self.adaLN_modulation is None else self.adaLN_modulation(t_emb)
        return TimeModulation(t_emb.to(self.dtype), (mod.to(self.dtype),) * len(self.blocks), t / 1000)

    def timetable(self, times: Sequence[float]) -> dict[float, TimeModulation]:
        """The modulation of each time t in [0, 1] of a schedule, computed at once before the first step."""
        device = self.t_embedder.mlp[0].weight.device
        thousandths = torch.tensor(times, dtype=torch.float64).mul(1000).float()  # here: MPS has no float64
        every = self.embed_time(thousandths.to(device))
        blocks = [block.modulation_of(mod) for block, mod in zip(self.blocks, every.blocks, strict=True)]
        given = torch.tensor(times, dtype=torch.float32, device=device)
        return {
            t: TimeModulation(every.embedding[n, None], tuple(mod[n, None] for mod in blocks), given[n, None])
            for n, t in enumerate(times)
        }

    def run_blocks(self, h: Tensor, time: TimeModulation, context: Context) -> Tensor:
        """Tokens (B, L, C) through all blocks."""
        for block, mod, keys_values in zip(self.blocks, time.blocks, context.keys_values, strict=True):
            h = run_block(block, self.config.use_checkpoint, h, mod, keys_values)
        return h

    def use_engine(self, engine: Engine) -> Self:
        """Blocks are compiled where the engine asks for it; it happens at their first call.

        Their forward alone: hooks on a block itself, such as progress has, then run beside what is compiled.
        """
        if engine.compiles:
            for block in self.blocks:
                block.forward = torch.compile(block.forward)  # type: ignore[method-assign]
        return super().use_engine(engine)

    def layers(self) -> list[nn.Module]:
        """A compiled block is one layer."""
        blocks = list(self.blocks) if self.engine.compiles else []
        within = {part for block in blocks for part in block.modules()}
        return [*blocks, *(layer for layer in super().layers() if layer not in within)]
