"""Where the installer takes uv and packages from: wheels fetched by hash, pip's own configuration."""

import hashlib
import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from blender_trellis.install import accelerator, uv_environment
from blender_trellis.install.package_sources import has_own_sources, uv_variables
from blender_trellis.install.uv_program import bundled_wheel, find_uv
from scripts import fetch_wheels
from scripts.build_extension import platforms_of
from tests.homeless import forget_home
from tests.tiny_wheels import write_wheel

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
NAMES = {  # uv's own wheels, by Blender's platforms
    "linux-x64": "uv-0.13.8-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "linux-arm64": "uv-0.13.8-py3-none-manylinux_2_17_aarch64.musllinux_1_1_aarch64.whl",
    "windows-x64": "uv-0.13.8-py3-none-win_amd64.whl",
    "windows-arm64": "uv-0.13.8-py3-none-win_arm64.whl",
    "macos-arm64": "uv-0.13.8-py3-none-macosx_11_0_arm64.whl",
    "macos-x64": "uv-0.13.8-py3-none-macosx_10_12_x86_64.whl",
}


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("Linux", "x86_64", "linux-x64"),
        ("Linux", "aarch64", "linux-arm64"),
        ("Windows", "AMD64", "windows-x64"),
        ("Windows", "ARM64", "windows-arm64"),
        ("Darwin", "arm64", "macos-arm64"),
        ("Darwin", "x86_64", "macos-x64"),
        ("FreeBSD", "amd64", None),
        ("Linux", "riscv64", None),
    ],
)
def test_each_machine_finds_its_wheel(tmp_path, monkeypatch, system, machine, name):
    (tmp_path / "wheels").mkdir()
    for wheel in NAMES.values():
        (tmp_path / "wheels" / wheel).touch()
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    found = bundled_wheel(tmp_path)
    assert (found and found.name) == (name and NAMES[name])


def test_the_wheels_platforms_are_named_as_blender_names_them():
    for name, wheel in NAMES.items():
        assert platforms_of([wheel]) == {name}
    assert platforms_of(list(NAMES.values())) == set(NAMES) == set(fetch_wheels.PLATFORMS)


def test_the_bundled_uv_goes_before_the_one_on_path(tmp_path, monkeypatch):
    """The wheel holds it without the right to be run, as Blender unpacks it."""
    monkeypatch.setenv("PATH", str(UV.parent))
    assert find_uv(tmp_path, tmp_path / "user") == str(UV)
    wheel = tmp_path / "wheels" / NAMES["linux-x64"]
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("uv-0.13.8.data/scripts/uv", UV.read_bytes())
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    found = find_uv(tmp_path, tmp_path / "user")
    assert found == str(tmp_path / "user" / "uv" / "0.13.8" / "uv")
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    assert told.startswith("uv ")
    Path(found).write_bytes(b"half")  # an interrupted copy
    assert (
        subprocess.run([find_uv(tmp_path, tmp_path / "user"), "--version"], capture_output=True).returncode
        == 0
    )
    wheel.write_bytes(b"no archive")
    assert find_uv(tmp_path, tmp_path / "user") == str(UV)
    monkeypatch.setenv("PATH", "")
    assert find_uv(tmp_path, tmp_path / "user") == ""


# --- fetching


@pytest.mark.parametrize("honest", [True, False])
def test_wheels_are_fetched_by_hash_and_by_pips_own_configuration(tmp_path, monkeypatch, capsys, honest):
    """pip.conf names the only index there is: a folder."""
    made = write_wheel(tmp_path / "index", "uv", "0.13.8")
    digest = hashlib.sha256(made.read_bytes() if honest else b"another").hexdigest()
    lock = tmp_path / "uv.txt"
    lock.write_text(f"# a lock\nuv==0.13.8 \\\n    --hash=sha256:{digest}\n")
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nno-index = true\nfind-links = {made.parent}\n")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setattr(fetch_wheels, "LOCK", lock)
    monkeypatch.setattr(
        sys, "argv", ["fetch_wheels", "--platform", "linux-x64", "--into", str(tmp_path / "to")]
    )
    assert fetch_wheels.main() == (0 if honest else 1)
    told = capsys.readouterr()
    if honest:
        assert (tmp_path / "to" / made.name).read_bytes() == made.read_bytes()
        assert made.name in told.out
    else:
        assert not list((tmp_path / "to").glob("*")) and "hash" in told.err.lower()


def test_the_lock_pins_one_version_with_a_hash_for_each_platform():
    text = (ROOT / "wheels" / "uv.txt").read_text()
    assert text.count("uv==") == 1
    assert text.count("--hash=sha256:") == len(fetch_wheels.PLATFORMS)


# --- where packages come from


def test_uv_is_told_what_pip_is_told(tmp_path):
    (tmp_path / "xdg" / "pip").mkdir(parents=True)
    (tmp_path / "xdg" / "pip" / "pip.conf").write_text(
        "[global]\nindex-url = https://far/simple\nextra-index-url =\n  file:///a\n  file:///b\n"
    )
    (tmp_path / "config" / "pip").mkdir(parents=True)
    (tmp_path / "config" / "pip" / "pip.conf").write_text(
        "[global]\nindex-url = https://near/simple\ncert = /c.pem\n[install]\nfind-links = /w1 /w2\n"
    )
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "xdg")}
    environ["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    told = uv_variables(environ)
    assert told["UV_DEFAULT_INDEX"] == "https://near/simple"  # the user's file goes before the machine's
    assert told["UV_INDEX"] == "file:///a file:///b"
    assert told["UV_FIND_LINKS"] == "/w1,/w2"
    assert told["SSL_CERT_FILE"] == "/c.pem"
    assert has_own_sources(environ, told)
    told = uv_variables(environ | {"PIP_INDEX_URL": "https://set/simple"})
    assert told["UV_DEFAULT_INDEX"] == "https://set/simple"
    own = {"UV_DEFAULT_INDEX": "https://uv/simple"}
    assert "UV_DEFAULT_INDEX" not in uv_variables(environ | own)  # uv's own variables stand


def test_the_proxy_of_pip_is_that_of_uv_where_none_is_set(tmp_path):
    environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull, "PIP_PROXY": "http://proxy:3128"}
    assert uv_variables(environ) == {"ALL_PROXY": "http://proxy:3128"}
    assert uv_variables(environ | {"PIP_PROXY": "me:word@proxy:1"}) == {"ALL_PROXY": "http://me:word@proxy:1"}
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        assert uv_variables(environ | {name: "http://own:1"}) == {}


def test_a_machine_without_sources_of_its_own(tmp_path):
    environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    assert uv_variables(environ) == {}
    assert not has_own_sources(environ, {})


def test_a_configuration_that_cannot_be_read_is_pips_to_tell(tmp_path):
    (tmp_path / "broken").write_bytes(b"no section = \xff")
    environ = {
        "HOME": str(tmp_path),
        "XDG_CONFIG_DIRS": str(tmp_path),
        "PIP_CONFIG_FILE": str(tmp_path / "broken"),
    }
    assert "UV_INDEX" not in uv_variables(environ)


def test_an_account_without_a_home_has_the_machines_configuration(tmp_path, monkeypatch):
    forget_home(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text("[global]\nindex-url = https://far/simple\n")
    environ = {"XDG_CONFIG_DIRS": str(tmp_path)}
    assert uv_variables(environ)["UV_DEFAULT_INDEX"] == "https://far/simple"


# --- sizes


def test_sizes_are_said_for_every_build():
    for build in ("cpu", "cuda"):
        plain, with_python = accelerator.size_of(build), accelerator.size_of(build, own_python=True)
        assert 0 < plain.download < plain.disk
        assert plain.download < with_python.download < with_python.disk
    assert accelerator.in_words(3 << 29) == "1.5 GB"
    assert accelerator.in_words(35 << 20) == "35 MB"


def test_the_bar_follows_what_has_come(tmp_path, monkeypatch):
    """Between uv's lines, by what lies in its store; it never goes back."""
    seen: list[tuple[float, str]] = []
    monkeypatch.setattr(uv_environment, "LOOK_SECONDS", -1.0)
    progress = uv_environment._Progress(tmp_path, 4 << 20, lambda *told: seen.append(told))
    progress.line("Resolved 72 packages in 1.09s")
    progress.line("Downloading torch (190.2MiB)")
    progress.look()
    (tmp_path / "half").write_bytes(bytes(2 << 20))
    progress.look()
    progress.line("Prepared 72 packages in 12.65s")
    progress.look()
    assert [words for _, words in seen] == [
        "Downloading 72 packages",
        "Downloading torch (190.2 MiB)",
        "0 MB of about 4 MB",
        "2 MB of about 4 MB",
        "Installing",
        "Installing",
    ]
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and fractions[3] == pytest.approx(0.05 + 0.75 / 2)
