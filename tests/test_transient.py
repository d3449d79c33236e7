"""`transient`: the classifier that knows libraries, with the World's clock for hints that are dates."""

from __future__ import annotations

from email.message import Message
from urllib.error import HTTPError

from resilience import retry, transient
from resilience._transient import TABLES
from resilience.testing import Script, virtual_time


def test_it_answers_a_verdict_or_none() -> None:
    refused, lost, bug = transient(ConnectionRefusedError()), transient(ConnectionResetError()), transient(TypeError())
    assert refused is not None
    assert lost is not None
    assert (refused.kind, lost.kind, bug) == ("transient", "unsure", None)
    assert transient(KeyboardInterrupt()) is None
    assert str(transient) == "transient"
    assert transient.tables is TABLES


def test_a_hint_given_as_a_date_is_read_by_the_worlds_wall_clock() -> None:
    """Virtual wall time begins at 2001-09-09T01:46:40Z; the server asks for seven seconds after that."""
    headers = Message()
    headers["Retry-After"] = "Sun, 09 Sep 2001 01:46:47 GMT"
    error = HTTPError("http://x", 503, "busy", headers, None)
    with virtual_time() as clock:
        verdict = transient(error)
        assert verdict is not None
        assert verdict.after == 7.0
        clock.jump_wall(-3)
        assert retry(on=transient).call(Script(error, "here")) == "here"
    assert clock.waits[0] >= 10.0
    error.close()
