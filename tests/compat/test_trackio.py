"""What is used of trackio: it prints by the name `print` of its modules."""

from __future__ import annotations

import logging

import pytest

from modelforge.compat.trackio import log_what_it_prints


def test_what_it_prints_is_logged(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    trackio = pytest.importorskip("trackio", reason="trackio is not installed")
    log_what_it_prints()
    with caplog.at_level(logging.INFO, "modelforge"):
        trackio.utils.print_dashboard_instructions("towns")
    assert capsys.readouterr().out == "" and "towns" in caplog.text
