"""Runs of tests that draw no pictures: those take longer than these runs."""

from __future__ import annotations

import pytest

from mutualnet3d.runner import reports


@pytest.fixture
def pictures() -> None:
    """Ask for the pictures of a test's results."""


@pytest.fixture(autouse=True)
def _without_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(reports, "_picture", lambda *args: None)
