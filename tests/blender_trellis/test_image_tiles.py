"""What a tile shows is what the whole image shows at the coordinates that were moved into it."""

import numpy as np
import pytest

from blender_trellis.meshes.image_tiles import in_tiles, tile, tiles_across


@pytest.mark.parametrize(("objects", "across"), [(1, 1), (2, 2), (4, 2), (5, 4), (16, 4), (17, 8)])
def test_tiles_suffice_and_are_a_power_of_two(objects, across):
    assert tiles_across(objects) == across


@pytest.mark.parametrize("objects", [1, 3, 4, 7])
def test_a_tile_shows_what_the_image_shows_at_moved_coordinates(objects):
    random, side = np.random.default_rng(0), tiles_across(objects)
    image = random.integers(0, 256, (64, 64, 3), np.uint8)
    uv = random.random((200, 3, 2)).astype(np.float32)
    owners = random.integers(0, objects, 200)
    moved = in_tiles(uv, owners, side)
    for number in range(objects):
        part = tile(image, number, side)
        assert part.shape == (64 // side, 64 // side, 3)
        own = owners == number
        assert np.array_equal(seen(part, uv[own]), seen(image, moved[own]))


def seen(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """The texels at coordinates that count from the lower left."""
    column, row = np.moveaxis(np.floor(uv * len(image)).astype(int), -1, 0)
    return image[len(image) - 1 - row, column]
