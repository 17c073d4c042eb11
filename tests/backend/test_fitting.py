"""What the search for a picture's camera compares with the picture."""

import numpy as np

from backend.texturing.fitting import _averaged


def test_samples_are_averaged_by_what_they_show():
    """Colours are means of the samples that show a face, to the bit what numpy's means are."""
    rng = np.random.default_rng(0)
    ids = rng.integers(-30, 50, (128, 128)).astype(np.int32)
    colors = rng.random((50, 3)).astype(np.float32)
    shown = (ids >= 0).astype(np.float32)[..., None]
    blocks = [values.reshape(64, 2, 64, 2, -1).mean(axis=(1, 3)) for values in (shown, colors[ids] * shown)]
    alpha, color = _averaged(ids, colors)
    assert color is not None and 0 < (alpha == 0).sum() < alpha.size
    assert (alpha == blocks[0][..., 0]).all()
    assert (color == blocks[1] / np.maximum(blocks[0], 1e-6)).all()
    without, none = _averaged(ids, None)
    assert none is None and (without == alpha).all()
