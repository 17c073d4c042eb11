"""Files of tensors as they are written: others can read them, and no byte depends on chance."""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from backend.errors import UserError
from backend.tensor_files import write_tensors

ROOT = Path(__file__).parents[2]
TENSORS = {
    "bytes": torch.arange(7, dtype=torch.uint8),
    "half": torch.randn(3, 2).half(),
    "brain": torch.randn(5).bfloat16(),
    "none": torch.zeros(0, 3),
    "number": torch.tensor(2.5, dtype=torch.float64),
    "große ☃": torch.randn(4, 3).T,
    "whole": torch.arange(6).reshape(1, 2, 3),
    "flags": torch.tensor([True, False]),
}
ABOUT = {"model": "starter", "format": "1", "a": 'quotes " and ☃'}


def test_the_library_reads_what_is_written(tmp_path):
    write_tensors(tmp_path / "a.safetensors", TENSORS, ABOUT)
    read = load_file(tmp_path / "a.safetensors")
    assert read.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor), name
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == ABOUT
    write_tensors(tmp_path / "b.safetensors", {"a": torch.ones(2)})
    with safe_open(tmp_path / "b.safetensors", "pt") as file:
        assert not file.metadata()


def test_the_order_in_which_things_are_named_changes_no_byte(tmp_path):
    write_tensors(tmp_path / "a", TENSORS, ABOUT)
    write_tensors(tmp_path / "b", dict(reversed(TENSORS.items())), dict(reversed(ABOUT.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_the_file_is_readable_as_the_umask_says(tmp_path):
    old = os.umask(0o022)
    try:
        write_tensors(tmp_path / "a", TENSORS)
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        write_tensors(tmp_path / "a", {"a": torch.ones(2)})
        with pytest.raises(UserError, match="no room"):
            write_tensors(tmp_path / "a", {"a": torch.zeros(1 << 16)})
        assert torch.equal(load_file(tmp_path / "a")["a"], torch.ones(2))
        assert os.listdir(tmp_path) == ["a"]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_nothing_else_writes_tensors():
    """What the library's own writer does wrong, `write_tensors` says."""
    sources = {path: path.read_text("utf-8") for path in (ROOT / "backend").rglob("*.py")}
    assert len(sources) > 100
    assert not [path for path, text in sources.items() if "import" in text and " save_file(" in text]
