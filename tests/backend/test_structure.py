"""Which voxels a decoder's logits call occupied."""

import pytest
import torch

from backend.errors import UserError
from backend.representations.structure import occupied_voxels


def test_a_voxel_is_occupied_above_zero():
    logits = torch.full((4, 4, 4), -1.0)
    logits[1, 2, 3], logits[0, 0, 1], logits[3, 3, 3] = 2.0, 0.1, 0.0
    assert occupied_voxels(logits).tolist() == [[0, 0, 1], [1, 2, 3]]


def test_a_finer_structure_is_pooled():
    logits = torch.full((8, 8, 8), -1.0)
    logits[7, 0, 2], logits[6, 1, 3] = 1.0, 1.0
    assert occupied_voxels(logits, 4).tolist() == [[3, 0, 1]]


def test_sizes_that_do_not_belong_together_are_refused():
    with pytest.raises(UserError, match="belong together"):
        occupied_voxels(torch.zeros(8, 8, 8), 3)
