"""docker (the SDK for Python): it stands on requests, and lets the errors of that through where no daemon answered.

The SDK does not try again by itself. But what is one call may be several requests (`containers.run`: create, start, wait,
…), of which the last one is judged: try such steps again one by one.

A daemon that did answer says so with an HTTP status: an `APIError` is requests' `HTTPError`, and read as such. Only some
of its words change that. A client that asks for the daemon's version before anything else wraps what goes wrong then.
"""

from __future__ import annotations

from typing import Any

from resilience._core.rows import Always, By, Inside, Table
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

#: 503 is also for a node that has no part in what was asked, which does not pass (moby: daemon/cluster/errors.go).
_NO_SWARM = Verdict.permanent("not a matter of time")
#: By the beginning of what the daemon said. The first is what a registry said to it, whatever status that became.
_SAID = {
    "toomanyrequests: *": Verdict.unsure(throttled=True, reason="the registry has too many requests"),
    "this node is *": _NO_SWARM,
    "swarm is encrypted *": _NO_SWARM,
    "swarm certificates have expired*": _NO_SWARM,
}


def _said(error: Any) -> str | None:
    said = getattr(error, "explanation", None)
    return said.lower() if isinstance(said, str) else None


TABLE = Table(
    "docker",
    (
        By("docker.errors.APIError", "daemon:", _said, _SAID),
        Always("docker.errors.ContainerError", Verdict.permanent("the container's command failed")),
        Always("docker.errors.BuildError", Verdict.permanent("the build failed")),
        # "Error while fetching server API version": a question, and nothing of the work itself was sent.
        Inside("docker.errors.DockerException", ("__cause__",), unsent=True),
    ),
    source="https://docker-py.readthedocs.io/en/stable/api.html#module-docker.errors",
)
