"""The exceptions whose text is shown to people as it is."""

from typing import Literal


class UserError(Exception):
    """A fault in what the user gave: one sentence that names it and says what to do."""


class NotEnoughMemory(UserError):
    """A request does not fit into the free memory; `remedy`: the setting that mends it, as Failed has it."""

    def __init__(self, sentence: str, remedy: Literal["", "free_parts", "half_precision"] = "") -> None:
        super().__init__(sentence)
        self.remedy = remedy


class MissingModel(UserError):
    """A model, or a part of one, is not where it should be; the sentence says how to get it."""
