"""Which settings of an edit change nothing, and why: one sentence for an artist. No bpy here."""

from ..protocol import EditMode, ModelInfo

_NO_MODEL = "Taking away needs no model: nothing is made."
_NO_SHAPE = "The shape stays as it is."
_BY_SETTING: dict[EditMode, dict[str, str]] = {
    "replace": {},
    "add": {},
    "look": {"growth": _NO_SHAPE, "margin": _NO_SHAPE},
    "remove": {
        name: _NO_MODEL for name in ("guide", "seed", "start", "strength", "jumps", "growth", "margin")
    },
}


def is_polisher(info: ModelInfo | None) -> bool:
    """Whether the model predicts the object and hardly refines it, however the steps are taken."""
    return info is not None and "rescale_t" in info.without_effect


def repeats_itself(info: ModelInfo | None) -> bool:
    """Whether the model makes the same of a guide with every seed."""
    return info is not None and "seed" in info.without_effect


def why_idle(setting: str, mode: EditMode, start: str, info: ModelInfo | None) -> str:
    """Why a setting of the region changes nothing with this model and mode; empty where it does."""
    reason = _BY_SETTING[mode].get(setting, "")
    if reason or info is None:
        return reason
    if setting == "seed":
        return info.without_effect.get("seed", "")
    if is_polisher(info) and setting == "jumps":
        return info.without_effect["rescale_t"]
    if is_polisher(info) and setting in ("start", "strength"):
        return "This model hardly refines what it predicts: more strength only spoils it."
    if setting == "strength" and start == "guide":
        return info.without_effect.get("strength", "")
    return ""
