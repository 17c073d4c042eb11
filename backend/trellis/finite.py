"""The check that what a network gave are numbers, before anything is made of them."""

from torch import Tensor, float32

from backend.errors import UserError


def require_finite(what: str, *values: Tensor) -> None:
    """UserError, which calls the values `what`, unless every one is a finite number."""
    # The sum is finite only if all of its terms are, and takes no memory of their size.
    if not all(bool(one.sum(dtype=float32).isfinite()) for one in values):
        raise UserError(
            f"The model gave {what} with values that are no numbers: its weights are damaged, or they need"
            " more precision; choose the precision fp32, or get the model's files again."
        )
