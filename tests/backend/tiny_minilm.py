"""A folder of a sentence model in the Hugging Face layout, tiny and random, with a tiny vocabulary."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from backend.models.minilm_text import Bert, MiniLmConfig

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "chair", "tree", "##s")


def write_tiny_minilm(place: Path, width: int) -> Path:
    """config.json, model.safetensors with a pooler that is not wanted, and tokenizer.json."""
    place.mkdir(parents=True)
    shape = {
        "vocab_size": len(WORDS),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    }
    (place / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_act": "gelu", **shape}))
    torch.manual_seed(0)
    tensors = {
        key: torch.randn_like(value) * 0.3 for key, value in Bert(MiniLmConfig(**shape)).state_dict().items()
    }
    tensors |= {"pooler.dense.weight": torch.zeros(4, 4), "embeddings.position_ids": torch.arange(64)[None]}
    save_file(tensors, place / "model.safetensors")
    (place / "tokenizer.json").write_text(json.dumps(_tokenizer()))
    return place


def _tokenizer() -> dict:
    ends = {word: {"id": word, "ids": [WORDS.index(word)], "tokens": [word]} for word in ("[CLS]", "[SEP]")}
    single = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": {
            "strategy": {"Fixed": 128},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": single,
            "special_tokens": ends,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: number for number, word in enumerate(WORDS)},
        },
    }
