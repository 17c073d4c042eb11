"""An account without a home: neither a variable nor the system's list of users names one."""

import pytest


def forget_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the rest of a test run under such an account."""
    pwd = pytest.importorskip("pwd", reason="Windows knows a home by its variables alone")

    def nobody(*_: object) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
