"""What the settings of an edit change, by what a model says of itself."""

from blender_trellis.editing.effects import repeats_itself, why_idle
from blender_trellis.protocol import ModelInfo

_POLISHES = {"steps": "More change nothing.", "rescale_t": "Their spacing changes nothing."}
SENTENCES = ModelInfo("words", ("text",), without_effect=_POLISHES)
PICTURES = ModelInfo("views", ("pictures",), without_effect=_POLISHES | {"seed": "Another changes nothing."})


def test_another_seed_is_worth_a_try_where_only_the_refinement_changes_nothing():
    assert not repeats_itself(SENTENCES) and repeats_itself(PICTURES) and not repeats_itself(None)
    assert why_idle("seed", "look", "guide", SENTENCES) == ""
    assert why_idle("seed", "look", "guide", PICTURES) == "Another changes nothing."


def test_a_model_that_hardly_refines_heeds_neither_strength_nor_passes():
    for info in (SENTENCES, PICTURES):
        assert all(why_idle(name, "replace", "guide", info) for name in ("strength", "start", "jumps"))
        assert why_idle("margin", "replace", "guide", info) == ""
