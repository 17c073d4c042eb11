"""A CLIP folder in the Hugging Face layout with a tiny random text tower and a tiny tokenizer."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from backend.models.clip_text import ClipText, ClipTextConfig


def write_tiny_clip(place: Path, width: int) -> Path:
    """Keys with prefix, and a vision half that is not wanted, as in the published whole CLIP."""
    place.mkdir(parents=True)
    shape = {
        "vocab_size": write_tokenizer(place),
        "hidden_size": width,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    config = {
        "model_type": "clip",
        "text_config": {**shape, "num_beams": 1, "eos_token_id": 2},
        "vision_config": {},
    }
    (place / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    network = ClipText(ClipTextConfig(**shape), tokenizer=None).network
    tensors = {f"text_model.{k.removeprefix('text_model.')}": v for k, v in network.state_dict().items()}
    tensors = {k: torch.randn_like(v) * 0.3 for k, v in tensors.items()}
    tensors |= {
        "text_model.embeddings.position_ids": torch.arange(77)[None],
        "vision_model.embeddings.class_embedding": torch.zeros(4),
        "visual_projection.weight": torch.zeros(4, 4),
        "text_projection.weight": torch.zeros(4, 4),
        "logit_scale": torch.zeros(()),
    }
    save_file(tensors, place / "model.safetensors")
    return place


def write_tokenizer(folder: Path) -> int:
    """A byte-pair vocabulary of letters with one merged word; returns its size."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(letter + "</w>" for letter in letters), "ca", "cat</w>"]
    vocabulary = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    return len(vocabulary)
