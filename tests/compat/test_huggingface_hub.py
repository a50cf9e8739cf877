"""What `modelforge.compat.huggingface_hub` relies on in the client."""

from __future__ import annotations

import inspect
import io
import logging

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, _commit_api

from modelforge.compat.huggingface_hub import hide_upload_notice, ignored_files


def test_ignored_files_are_noted_on_the_operation() -> None:
    one, two = (CommitOperationAdd(name, io.BytesIO(b"x")) for name in ("one", "two"))
    assert ignored_files([one, two]) == []
    two._should_ignore = True
    assert ignored_files([one, two]) == ["two"]
    assert "addition._should_ignore = " in inspect.getsource(_commit_api)
    assert "operations" in inspect.signature(HfApi.create_commit).parameters


def test_notice_is_hidden_and_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    assert "binary IO buffer is not supported by Xet" in inspect.getsource(_commit_api)
    assert _commit_api.logger.name == "huggingface_hub._commit_api"
    hide_upload_notice()
    with caplog.at_level(logging.WARNING):
        logging.getLogger("huggingface_hub").addHandler(caplog.handler)
        try:
            _commit_api.logger.warning("Uploading files as a binary IO buffer is not supported by Xet Storage.")
            _commit_api.logger.warning("Something else")
        finally:
            logging.getLogger("huggingface_hub").removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {"Something else"}
