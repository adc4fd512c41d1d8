# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A part of the plan that fails on the host: the message says what failed, and the answer what was done before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.plan.apply import Application, PartFailed

BUILT = {"changed": True, "apps": [{"name": "shop", "candidate": "20261122T000000Z-22222222"}]}


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Application:
    """A run whose role python has changed the host before."""
    application = Application(lambda *_args, **_options: None, check_mode=False)
    monkeypatch.setattr(application, "python", lambda _inputs: ({"changed": True}, None))
    return application


def parts(*roles: str) -> list[dict[str, Any]]:
    return [{"role": role, "inputs": {}, "key": ""} for role in roles]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (HostError("the disk is full"), r"^the disk is full$"),
        (OSError(28, "No space left on device"), r"No space left on device"),
        (KeyError("server_files"), r"role systemd: the key 'server_files' is missing .* please report it"),
    ],
)
def test_a_part_that_fails_leaves_the_answer_of_the_parts_before(
    application: Application, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(_inputs: dict[str, Any]) -> None:
        raise error

    monkeypatch.setattr(application, "systemd", fail)
    with pytest.raises(PartFailed, match=message) as caught:
        application.apply(parts("python", "systemd", "nginx"))
    assert caught.value.answer["changed"] is True
    assert list(caught.value.answer["parts"]) == ["python", "systemd"]


@pytest.mark.parametrize("error", [HostError("it did not start"), OSError(28, "No space left"), KeyError("process")])
def test_a_switch_that_fails_leaves_the_answer_of_the_build(
    application: Application, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail() -> None:
        raise error

    def build(_inputs: dict[str, Any]) -> tuple[dict[str, Any], None]:
        application.releases = SimpleNamespace(switch=fail)
        return BUILT, None

    monkeypatch.setattr(application, "webapp", build)
    with pytest.raises(PartFailed) as caught:
        application.apply(parts("webapp"))
    assert caught.value.answer["parts"]["webapp"]["apps"] == BUILT["apps"]
