"""Files that take minutes go first, so that processes side by side end at about the same time."""

import pytest

LONG = {
    "test_background",
    "test_batch_runs",
    "test_bench",
    "test_color_window",
    "test_demo",
    "test_edit",
    "test_edit_starter",
    "test_engines",
    "test_evaluate",
    "test_farm",
    "test_fine_tune",
    "test_graphics_card",
    "test_ray",
    "test_regenerate",
    "test_region_window",
    "test_setup",
    "test_starter_text",
    "test_training_command",
    "test_vary_real",
    "test_window",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the order otherwise."""
    items.sort(key=lambda item: item.path.stem not in LONG)
