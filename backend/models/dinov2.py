"""DINOv2 with registers (Oquab et al. 2023; Darcet et al. 2024): the published image encoder.

In: pictures (B, 3, H, W) in [0, 1], H and W multiples of the patch size. Out: tokens (B, L, C), class token
first, then the registers, then the patches row by row: the output of the last block *before* the final norm,
put through a layer norm without parameters. At 518×518 the large model gives (B, 1374, 1024).

The network is that of transformers; its weights are read from the Hugging Face layout or from the key names
of the original code. Dims legend: B batch · L tokens · C channels.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from backend.config import read_json
from backend.errors import MissingModel, UserError
from backend.models.local_weights import hub_folders, load_strictly, read_tensors, refuse_partial_download
from backend.models.weightless import without_weights

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# The published names of these encoders, with (embed_dim, depth, num_heads) and the Hugging Face repository.
PUBLISHED = {
    "dinov2_vits14_reg": ((384, 12, 6), "facebook/dinov2-with-registers-small"),
    "dinov2_vitb14_reg": ((768, 12, 12), "facebook/dinov2-with-registers-base"),
    "dinov2_vitl14_reg": ((1024, 24, 16), "facebook/dinov2-with-registers-large"),
}


@dataclass(frozen=True)
class DinoV2Config:
    """The constructor words of the original code; the defaults are the large model."""

    img_size: int = 518
    patch_size: int = 14
    embed_dim: int = 1024
    depth: int = 24
    num_heads: int = 16
    mlp_ratio: float = 4.0
    init_values: float = 1.0
    ffn_layer: str = "mlp"
    block_chunks: int = 0
    num_register_tokens: int = 4
    interpolate_antialias: bool = True
    interpolate_offset: float = 0.0
    qkv_bias: bool = True

    def __post_init__(self) -> None:
        if self.ffn_layer != "mlp" or not self.init_values or self.mlp_ratio != int(self.mlp_ratio):
            raise UserError(
                "This DINOv2 has another feed-forward layer or no layer scale, which is not supported;"
                " use dinov2_vitl14_reg or one of its smaller sisters."
            )

    @classmethod
    def from_args(cls, args: dict) -> "DinoV2Config":
        """From the original words. Raises UserError for a word that is not one of them."""
        unknown = sorted(args.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise UserError(
                f"The image encoder's configuration has the unknown field '{unknown[0]}';"
                " use the file that belongs to these weights."
            )
        return cls(**args)

    @classmethod
    def from_hugging_face(cls, config: dict) -> "DinoV2Config":
        """From a repository's config.json. Raises UserError where it describes another network."""
        if config.get("model_type") != "dinov2_with_registers" or config.get("use_swiglu_ffn"):
            raise UserError(
                f"The image encoder is of type '{config.get('model_type')}' instead of DINOv2 with registers;"
                " download facebook/dinov2-with-registers-large."
            )
        words = {
            "img_size": "image_size",
            "patch_size": "patch_size",
            "embed_dim": "hidden_size",
            "depth": "num_hidden_layers",
            "num_heads": "num_attention_heads",
            "mlp_ratio": "mlp_ratio",
            "init_values": "layerscale_value",
            "num_register_tokens": "num_register_tokens",
            "qkv_bias": "qkv_bias",
        }
        return cls(**{ours: config[theirs] for ours, theirs in words.items() if theirs in config})


class DinoV2(nn.Module):
    """See the module. Runs in fp32: the flow models were trained on fp32 tokens."""

    def __init__(self, config: DinoV2Config) -> None:
        # Imported here because transformers takes seconds that no other model needs.
        from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

        super().__init__()
        self.config = config
        self.network = Dinov2WithRegistersModel(
            Dinov2WithRegistersConfig(
                image_size=config.img_size,
                patch_size=config.patch_size,
                hidden_size=config.embed_dim,
                num_hidden_layers=config.depth,
                num_attention_heads=config.num_heads,
                mlp_ratio=int(config.mlp_ratio),
                layerscale_value=float(config.init_values),
                num_register_tokens=config.num_register_tokens,
                qkv_bias=config.qkv_bias,
                layer_norm_eps=1e-6,
                hidden_act="gelu",
            )
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """pixels (B, 3, H, W) in [0, 1] -> condition tokens (B, L, C)."""
        mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        tokens = self.prenorm((pixels - mean) / std)
        return F.layer_norm(tokens, tokens.shape[-1:], eps=1e-5)

    def prenorm(self, pixels: torch.Tensor) -> torch.Tensor:
        """pixels (B, 3, H, W), normalised -> tokens (B, L, C) after the last block, before the final norm."""
        assert (
            pixels.shape[-2] % self.config.patch_size == 0 and pixels.shape[-1] % self.config.patch_size == 0
        )
        return self.network.encoder(self._embed(pixels)).last_hidden_state

    def null(self, tokens: torch.Tensor) -> torch.Tensor:
        """The absence of a picture: zeros, not the tokens of a black picture."""
        return torch.zeros_like(tokens)

    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        embeddings = self.network.embeddings
        batch, _, height, width = pixels.shape
        patches = embeddings.patch_embeddings(pixels)
        positions = self._positions(height // self.config.patch_size, width // self.config.patch_size)
        class_token = embeddings.cls_token.expand(batch, -1, -1)
        tokens = torch.cat([class_token, patches], dim=1) + positions
        registers = embeddings.register_tokens.expand(batch, -1, -1)
        return torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)

    def _positions(self, rows: int, columns: int) -> torch.Tensor:
        """Learned positions (1, 1 + rows·columns, C): as stored at the trained size, else resampled."""
        stored = self.network.embeddings.position_embeddings
        side = self.config.img_size // self.config.patch_size
        if rows == columns == side:
            return stored
        grid = stored[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        if offset := self.config.interpolate_offset:
            # The first DINOv2 models were trained with this slightly wrong scale; it shifts the samples.
            scale = ((rows + offset) / side, (columns + offset) / side)
            size = None
        else:
            scale, size = None, (rows, columns)
        antialias = self.config.interpolate_antialias
        grid = F.interpolate(grid, size, scale, mode="bicubic", antialias=antialias)
        return torch.cat([stored[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def load_image_encoder(folder: Path, name: str, search: tuple[Path, ...] = ()) -> DinoV2:
    """The encoder that a model folder calls `name` ("dinov2_vitl14_reg"), in fp32, ready to run.

    Looked up in the model folder (as `<name>` or `image_cond_model`), then below the folders of `search`,
    as .json + .safetensors with the original key names or as a Hugging Face folder.
    Raises MissingModel that says what to download and where to put it.
    """
    repository = PUBLISHED.get(name, (None, PUBLISHED["dinov2_vitl14_reg"][1]))[1]
    for stem in (folder / name, folder / "image_cond_model", *(place / name for place in search)):
        weights = stem.with_name(stem.name + ".safetensors")
        config = stem.with_name(stem.name + ".json")
        if os.path.isfile(weights) and (config.is_file() or name in PUBLISHED):
            args = read_json(config) if config.is_file() else _published_args(name)
            return _load(DinoV2Config.from_args(args), weights)
    for place in _encoder_folders(folder, name, repository, search):
        if os.path.isfile(place / "model.safetensors"):
            shape = DinoV2Config.from_hugging_face(read_json(place / "config.json"))
            return _load(shape, place / "model.safetensors")
    refuse_partial_download(repository, (folder, *search))
    target = search[0] if search else folder
    raise MissingModel(
        f"The image encoder '{name}' is missing; download config.json and model.safetensors of {repository}"
        f" from Hugging Face into '{target / repository.rpartition('/')[2]}'."
    )


def _encoder_folders(folder: Path, name: str, repository: str, search: tuple[Path, ...]) -> Iterator[Path]:
    yield folder / name
    yield folder / "image_cond_model"
    yield from (place / name for place in search)
    yield from hub_folders(repository, (folder, *search))


def _published_args(name: str) -> dict:
    (embed_dim, depth, num_heads), _ = PUBLISHED[name]
    return {"embed_dim": embed_dim, "depth": depth, "num_heads": num_heads}


def _load(config: DinoV2Config, path: Path) -> DinoV2:
    # On the meta device nothing is initialised in vain: 300 million random numbers take seconds.
    with without_weights():
        encoder = DinoV2(config)
    load_dinov2(encoder, read_tensors(path), path)
    return encoder.eval().requires_grad_(False)


def load_dinov2(encoder: DinoV2, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Load a state dict in the original or in a Hugging Face layout, strictly. `path` is for messages."""
    if "cls_token" in tensors:
        tensors = _from_original(tensors, encoder.config)
    expected = set(encoder.network.state_dict())
    load_strictly(encoder.network, {_module_name(key, expected): v for key, v in tensors.items()}, path)


_RENAMED = (
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    # Chunked checkpoints say blocks.CHUNK.N.
    (r"^blocks\.(?:\d+\.)?(\d+)\.", r"encoder.layer.\1."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
)


def _from_original(tensors: dict[str, torch.Tensor], config: DinoV2Config) -> dict[str, torch.Tensor]:
    renamed: dict[str, torch.Tensor] = {}
    for key, value in tensors.items():
        for pattern, replacement in _RENAMED:
            key = re.sub(pattern, replacement, key)
        stem, fused, kind = key.partition(".attn.qkv.")
        if fused:
            parts = zip(("query", "key", "value"), value.chunk(3), strict=True)
            renamed |= {f"{stem}.attention.attention.{part}.{kind}": rows for part, rows in parts}
        else:
            renamed[key] = value
    if config.num_register_tokens == 0:
        renamed.setdefault("embeddings.register_tokens", torch.zeros(1, 0, config.embed_dim))
    return renamed


def _module_name(key: str, expected: set[str]) -> str:
    """A key of a published file -> the name in this version of transformers (5 renamed the attention)."""
    key = key.removeprefix("dinov2_with_registers.")
    if key in expected:
        return key
    short = re.sub(r"\.attention\.attention\.(query|key|value)\.", _projection, key)
    short = short.replace(".attention.output.dense.", ".attention.o_proj.")
    return short if short in expected else key


def _projection(match: re.Match) -> str:
    return f".attention.{match.group(1)[0]}_proj."
