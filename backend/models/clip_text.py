"""The text tower of CLIP ViT-L/14 (Radford et al. 2021): a sentence becomes the condition of the text models.

In: sentences. Out: tokens (B, 77, C) after the text model's final norm; C = 768 for the published model.
A sentence is cut or filled to 77 tokens and no attention mask is passed, so that the filling takes part:
the flow models were trained so. The absence of a sentence is the empty sentence, encoded.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import nn

from backend.config import read_json
from backend.errors import MissingModel, UserError
from backend.models.local_weights import hub_folders, load_strictly, read_tensors, refuse_partial_download

PUBLISHED = "openai/clip-vit-large-patch14"
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))


@dataclass(frozen=True)
class ClipTextConfig:
    """The words of the published config.json that shape the text tower; the defaults are ViT-L/14."""

    vocab_size: int = 49408
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    @classmethod
    def from_hugging_face(cls, config: dict) -> "ClipTextConfig":
        """From the config.json of a whole CLIP or of its text tower; ignores the rest."""
        if config.get("model_type") not in ("clip", "clip_text_model"):
            raise UserError(
                f"The text encoder is of type '{config.get('model_type')}' instead of CLIP; get {PUBLISHED}."
            )
        words = config.get("text_config") or config
        return cls(**{field.name: words[field.name] for field in fields(cls) if field.name in words})


class ClipText(nn.Module):
    """See the module. `tokenizer` is a tokenizer of transformers. Runs in fp32."""

    def __init__(self, config: ClipTextConfig, tokenizer) -> None:
        # Imported here because transformers takes seconds that no other model needs.
        from transformers import CLIPTextConfig, CLIPTextModel

        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        words = {field.name: getattr(config, field.name) for field in fields(config)}
        self.network = CLIPTextModel(CLIPTextConfig(**words))
        self._null: torch.Tensor | None = None

    def forward(self, sentences: Sequence[str]) -> torch.Tensor:
        """Sentences -> condition tokens (B, 77, C), on the module's device."""
        ids = self.token_ids(sentences).to(next(self.network.parameters()).device)
        return self.network(input_ids=ids).last_hidden_state

    def token_ids(self, sentences: Sequence[str]) -> torch.Tensor:
        """Sentences -> (B, 77) int64: start, words, end, and end again as the filling."""
        length = self.config.max_position_embeddings
        encoded = self.tokenizer(list(sentences), padding="max_length", truncation=True, max_length=length)
        return torch.tensor(encoded["input_ids"], dtype=torch.int64)

    @torch.no_grad()
    def null(self) -> torch.Tensor:
        """The tokens (1, 77, C) of the empty sentence, computed once."""
        device = next(self.network.parameters()).device
        if self._null is None or self._null.device != device:
            self._null = self([""])
        return self._null


def load_text_encoder(folder: Path, name: str = PUBLISHED, search: tuple[Path, ...] = ()) -> ClipText:
    """The encoder that a model folder calls `name`, in fp32, ready to run.

    Looked up in the model folder (as `<name>` or `text_cond_model`), then below the folders of `search`, as a
    Hugging Face folder. Raises MissingModel that says what to download and where to put it.
    """
    places = (folder / "text_cond_model", *hub_folders(name, (folder, *search)))
    found = next((place for place in places if os.path.isfile(place / "model.safetensors")), None)
    if found is None:
        refuse_partial_download(name, (folder, *search))
        target = (search[0] if search else folder) / name.rpartition("/")[2]
        raise MissingModel(
            f"The text encoder '{name}' is missing; download config.json, model.safetensors, vocab.json and"
            f" merges.txt of {PUBLISHED} from Hugging Face into '{target}'."
        )
    config = ClipTextConfig.from_hugging_face(read_json(found / "config.json"))
    encoder = ClipText(config, _read_tokenizer(found))
    expected = set(encoder.network.state_dict())
    tensors = _text_tower(read_tensors(found / "model.safetensors"), expected)
    load_strictly(encoder.network, tensors, found / "model.safetensors")
    return encoder.eval().requires_grad_(False)


def _read_tokenizer(folder: Path):
    from transformers import CLIPTokenizerFast  # type: ignore[attr-defined]  # made on access

    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZER_FILES):
        raise UserError(
            f"The text encoder in '{folder}' has no tokenizer; download vocab.json and merges.txt there too."
        )
    return CLIPTokenizerFast.from_pretrained(str(folder), local_files_only=True)


def _text_tower(tensors: dict[str, torch.Tensor], expected: set[str]) -> dict[str, torch.Tensor]:
    """Keys of a whole CLIP or its text tower -> those of this transformers version (5 dropped a prefix)."""
    others = ("vision_model.", "visual_projection.", "text_projection.", "logit_scale")
    prefix = "text_model." if any(key.startswith("text_model.") for key in expected) else ""
    return {
        prefix + key.removeprefix("text_model."): value
        for key, value in tensors.items()
        # Older files store the positions 0…76 as a tensor.
        if not key.startswith(others) and not key.endswith("position_ids")
    }
