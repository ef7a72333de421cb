"""A controller whose background has failed looks alive and is not: it has to end, so that it is started again."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from controller.api import app
from controller.api.access import Context
from controller.serve import serve
from controller.store.engine import Database
from tests.controller.api.conftest import settings_for


def test_a_background_task_that_fails_ends_the_controller(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts: list[Context] = []

    async def keep_house(context: Context) -> None:
        contexts.append(context)
        raise ZeroDivisionError("a bug")

    ended: list[object] = []

    def run() -> None:
        try:
            serve(replace(settings_for(sqlite), port=0))
        except SystemExit as end:
            ended.append(end.code)

    monkeypatch.setattr(app, "keep_house", keep_house)
    monkeypatch.setattr("controller.serve.configure_logging", lambda: None)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(15)
    assert (thread.is_alive(), ended) == (False, [1])
    assert contexts[0].board.closed, "no poll waits for a wake that will not come"
    assert "segment" not in [each.name for each in threading.enumerate()]
