"""The models that the backend has told of, kept for the next session."""

from ...extension_paths import user_folder
from ...protocol import ModelInfo
from ..kept.known_models import read_models, write_models
from .state import State, current


def known_models() -> tuple[ModelInfo, ...]:
    """The models that the backend has told of, now or in an earlier session; at first the bundled ones."""
    state = current()
    if state.told is None:
        state.told = read_models(user_folder())
    return state.told


def model_info(model: str) -> ModelInfo | None:
    """What is known of a model; None for one that no backend has told of yet, such as a folder's path."""
    return next((one for one in known_models() if one.name == model), None)


def store_models(state: State) -> None:
    """Keeps what a new backend tells of its models for the next session."""
    hello = state.runner.hello
    if hello is not None and hello is not state.stored:
        state.stored = hello
        know_models(state, hello.models)


def know_models(state: State, models: tuple[ModelInfo, ...]) -> None:
    """Takes these for the known models, in this session and the next."""
    state.told = models
    write_models(user_folder(create=True), models)
