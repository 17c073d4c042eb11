"""DINOv2 with registers: both published layouts, every picture size, against arithmetic written out here."""

import json
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from backend.errors import UserError
from backend.models.dinov2 import DinoV2, DinoV2Config, load_dinov2, load_image_encoder

WIDTH, DEPTH, HEADS, PATCH, SIDE = 48, 2, 3, 14, 6
ARGS = {
    "img_size": PATCH * SIDE,
    "patch_size": PATCH,
    "embed_dim": WIDTH,
    "depth": DEPTH,
    "num_heads": HEADS,
    "mlp_ratio": 4,
    "init_values": 1.0,
    "ffn_layer": "mlp",
    "block_chunks": 0,
    "num_register_tokens": 4,
    "interpolate_antialias": True,
    "interpolate_offset": 0.0,
}
HUGGING_FACE = {
    "model_type": "dinov2_with_registers",
    "image_size": PATCH * SIDE,
    "patch_size": PATCH,
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "mlp_ratio": 4,
    "num_register_tokens": 4,
    "architectures": ["Dinov2WithRegistersModel"],
}


def original_tensors() -> dict[str, torch.Tensor]:
    """Random weights under the key names of the original code."""
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "mask_token": (1, WIDTH),
        "register_tokens": (1, 4, WIDTH),
        "pos_embed": (1, 1 + SIDE * SIDE, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    for i in range(DEPTH):
        sizes = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
        sizes |= {"mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH)}
        for name, (rows, columns) in sizes.items():
            shapes |= {f"blocks.{i}.{name}.weight": (rows, columns), f"blocks.{i}.{name}.bias": (rows,)}
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            shapes[f"blocks.{i}.{name}"] = (WIDTH,)
    generator = torch.Generator().manual_seed(7)
    return {key: torch.randn(shape, generator=generator) * 0.3 for key, shape in shapes.items()}


def hugging_face_tensors(attention: str) -> dict[str, torch.Tensor]:
    """The same weights as published on Hugging Face ("long") or as transformers 5 names them ("short")."""
    names = {
        "cls_token": "embeddings.cls_token",
        "mask_token": "embeddings.mask_token",
        "register_tokens": "embeddings.register_tokens",
        "pos_embed": "embeddings.position_embeddings",
    }
    parts = {
        "long": ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
        "short": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    }[attention]
    out = {"long": "attention.output.dense", "short": "attention.o_proj"}[attention]
    result = {}
    for key, value in original_tensors().items():
        key = names.get(key, key).replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        key = key.replace("blocks.", "encoder.layer.") if key.startswith("blocks.") else key
        key = "layernorm" + key[4:] if key.startswith("norm.") else key
        key = key.replace("ls1.gamma", "layer_scale1.lambda1").replace("ls2.gamma", "layer_scale2.lambda1")
        key = key.replace("attn.proj", out)
        if "attn.qkv" in key:
            for part, rows in zip(parts, value.chunk(3), strict=True):
                result[key.replace("attn.qkv", part)] = rows.contiguous()
        else:
            result[key] = value
    return result


def expected_prenorm(weights, pixels, positions) -> torch.Tensor:
    """A vision transformer by hand (B, L, C); `positions` are those of the patches (1, P, C)."""

    def linear(x, name):
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    def norm(x, name):
        return F.layer_norm(x, (WIDTH,), weights[name + ".weight"], weights[name + ".bias"], eps=1e-6)

    batch = len(pixels)
    patches = F.conv2d(
        pixels, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=PATCH
    )
    patches = patches.flatten(2).transpose(1, 2) + positions
    first = (weights["cls_token"] + weights["pos_embed"][:, :1]).expand(batch, -1, -1)
    x = torch.cat([first, weights["register_tokens"].expand(batch, -1, -1), patches], dim=1)
    for i in range(DEPTH):
        qkv = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv")
        q, k, v = qkv.view(batch, -1, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5).softmax(-1)
        y = linear((attention @ v).transpose(1, 2).flatten(2), f"blocks.{i}.attn.proj")
        x = x + y * weights[f"blocks.{i}.ls1.gamma"]
        y = linear(F.gelu(linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1")), f"blocks.{i}.mlp.fc2")
        x = x + y * weights[f"blocks.{i}.ls2.gamma"]
    return x


def write_original(folder: Path, name: str = "image_cond_model", **changes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(ARGS | changes))
    save_file(original_tensors(), folder / f"{name}.safetensors")


def write_hugging_face(folder: Path, attention: str = "long") -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(HUGGING_FACE))
    save_file(hugging_face_tensors(attention), folder / "model.safetensors")


def picture(rows: int = SIDE, columns: int = SIDE, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, rows * PATCH, columns * PATCH, generator=torch.Generator().manual_seed(3))


def test_tokens_equal_the_arithmetic_by_hand(tmp_path):
    write_original(tmp_path)
    encoder = load_image_encoder(tmp_path, "dinov2_vitl14_reg")
    weights, pixels = original_tensors(), picture(batch=2)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (pixels - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    expected = expected_prenorm(weights, normalised, weights["pos_embed"][:, 1:])
    assert expected.shape == (2, 1 + 4 + SIDE * SIDE, WIDTH)
    assert torch.allclose(encoder.prenorm(normalised), expected, atol=1e-4)
    tokens = encoder(pixels)
    assert torch.allclose(tokens, F.layer_norm(expected, (WIDTH,), eps=1e-5), atol=1e-5)
    assert not torch.allclose(tokens, encoder.network.layernorm(expected), atol=0.1)


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (9, 4), (4, 9)])
def test_at_other_sizes_the_positions_are_resampled(tmp_path, rows, columns):
    write_original(tmp_path)
    encoder = load_image_encoder(tmp_path, "any")
    weights, pixels = original_tensors(), picture(rows, columns)
    grid = weights["pos_embed"][:, 1:].view(1, SIDE, SIDE, WIDTH).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
    expected = expected_prenorm(weights, pixels, grid.permute(0, 2, 3, 1).reshape(1, -1, WIDTH))
    assert torch.allclose(encoder.prenorm(pixels), expected, atol=1e-4)


def test_the_offset_of_older_models_is_honoured(tmp_path):
    write_original(tmp_path, interpolate_offset=0.1, interpolate_antialias=False)
    encoder = load_image_encoder(tmp_path, "any")
    weights, pixels = original_tensors(), picture(9, 4)
    grid = weights["pos_embed"][:, 1:].view(1, SIDE, SIDE, WIDTH).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=(9.1 / SIDE, 4.1 / SIDE), mode="bicubic")
    expected = expected_prenorm(weights, pixels, grid.permute(0, 2, 3, 1).reshape(1, -1, WIDTH))
    assert torch.allclose(encoder.prenorm(pixels), expected, atol=1e-4)


def test_all_layouts_give_the_same_tokens(tmp_path):
    write_original(tmp_path / "original")
    write_hugging_face(tmp_path / "models" / "dinov2-with-registers-large")
    write_hugging_face(tmp_path / "short" / "facebook" / "dinov2-with-registers-large", "short")
    cache = "models--facebook--dinov2-with-registers-large/snapshots/0123abcd"
    write_hugging_face(tmp_path / "cache" / cache)
    empty = tmp_path / "empty"
    name = "dinov2_vitl14_reg"
    expected = load_image_encoder(tmp_path / "original", name)(picture())
    for place in ("models", "short", "cache"):
        found = load_image_encoder(empty, name, (tmp_path / "nowhere", tmp_path / place))
        assert torch.equal(found(picture()), expected), place


def test_the_model_folder_comes_before_the_search_folders(tmp_path):
    write_original(tmp_path / "model", "dinov2_vitl14_reg")
    write_hugging_face(tmp_path / "models" / "dinov2-with-registers-large")
    (tmp_path / "models" / "dinov2-with-registers-large" / "config.json").write_text("broken")
    load_image_encoder(tmp_path / "model", "dinov2_vitl14_reg", (tmp_path / "models",))


def test_chunked_block_names_load(tmp_path):
    encoder = DinoV2(DinoV2Config.from_args(ARGS))
    chunked = {
        key.replace("blocks.1.", "blocks.1.1.").replace("blocks.0.", "blocks.0.0."): value
        for key, value in original_tensors().items()
    }
    load_dinov2(encoder, chunked, tmp_path)
    write_original(tmp_path)
    assert torch.equal(encoder.eval()(picture()), load_image_encoder(tmp_path, "x")(picture()))


def test_half_precision_weights_become_fp32(tmp_path):
    write_original(tmp_path)
    save_file({k: v.half() for k, v in original_tensors().items()}, tmp_path / "image_cond_model.safetensors")
    encoder = load_image_encoder(tmp_path, "x")
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


def test_the_default_is_the_large_model():
    with torch.device("meta"):
        encoder = DinoV2(DinoV2Config())
    assert sum(p.numel() for p in encoder.parameters()) == 304_372_736
    assert encoder.network.embeddings.position_embeddings.shape == (1, 1 + 37 * 37, 1024)


def test_null_is_zeros_after_the_norm(tmp_path):
    write_original(tmp_path)
    encoder = load_image_encoder(tmp_path, "x")
    tokens = encoder(picture())
    null = encoder.null(tokens)
    assert null.shape == tokens.shape and not null.any()


# --- what is refused ----------------------------------------------------------------------------------


def test_a_missing_encoder_says_what_to_download_and_where_to_put_it(tmp_path):
    with pytest.raises(UserError) as error:
        load_image_encoder(tmp_path, "dinov2_vitl14_reg", (tmp_path / "models",))
    assert "facebook/dinov2-with-registers-large" in str(error.value)
    assert str(tmp_path / "models" / "dinov2-with-registers-large") in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("norm.bias"), "layernorm.bias is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra is unknown"),
        (lambda t: t.update(pos_embed=torch.ones(1, 5, WIDTH)), "position_embeddings has shape"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, change, words):
    write_original(tmp_path)
    tensors = original_tensors()
    change(tensors)
    save_file(tensors, tmp_path / "image_cond_model.safetensors")
    with pytest.raises(UserError, match=words):
        load_image_encoder(tmp_path, "x")


def test_a_damaged_file(tmp_path):
    write_original(tmp_path)
    path = tmp_path / "image_cond_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        load_image_encoder(tmp_path, "x")


def test_an_unknown_configuration_field(tmp_path):
    write_original(tmp_path, swish=True)
    with pytest.raises(UserError, match="unknown field 'swish'"):
        load_image_encoder(tmp_path, "x")


def test_a_model_without_registers_is_refused(tmp_path):
    write_hugging_face(tmp_path / "dinov2-with-registers-large")
    config = HUGGING_FACE | {"model_type": "dinov2"}
    (tmp_path / "dinov2-with-registers-large" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="'dinov2' instead of DINOv2 with registers"):
        load_image_encoder(tmp_path, "dinov2_vitl14_reg")


@pytest.mark.skipif(not os.environ.get("TRELLIS_GOLDENS"), reason="TRELLIS_GOLDENS is not set")
def test_goldens():
    folder = Path(os.environ["TRELLIS_GOLDENS"], "dinov2")
    recorded = load_file(folder / "io.safetensors")
    original = load_image_encoder(folder, "dinov2_tiny")
    hugging_face = DinoV2(original.config).eval().requires_grad_(False)
    load_dinov2(hugging_face, load_file(folder / "hf_layout.safetensors"), folder)
    generator = torch.Generator().manual_seed(3236)
    recorded["in/518x518"] = torch.randn(1, 3, 518, 518, generator=generator)
    for encoder in (original, hugging_face):
        for size in ("518x518", "224x224", "392x280"):
            tokens = encoder.prenorm(recorded[f"in/{size}"])
            assert torch.allclose(tokens, recorded[f"out/{size}/x_prenorm"], rtol=0, atol=1e-5), size
