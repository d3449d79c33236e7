"""Fetch one order over HTTP, from a server that may be having a bad day.

    python examples/fetch_order.py http://127.0.0.1:8000/orders/me

Up to six attempts of a second each, and ten seconds for all of it. Each attempt that fails and is worth another is
one line in the log. A server to try it on: `python examples/unreliable_server.py`, in a second terminal.
"""

from __future__ import annotations

import json
import sys
import urllib.request

from resilience import current_deadline, deadline, retry, transient


@retry(on=transient, attempts=6, attempt_timeout=1.0)
def fetch_order(url: str) -> object:
    """The order at `url`; one attempt to fetch it, as far as this function knows."""
    limit = current_deadline()  # whichever comes first: the attempt's second, or the caller's deadline
    with urllib.request.urlopen(url, timeout=limit.timeout() if limit else None) as answer:
        return json.load(answer)


def main() -> int:
    """Fetch the order named on the command line; 0 if it came."""
    if len(sys.argv) != 2:
        print("usage: fetch_order.py URL", file=sys.stderr)
        return 2
    try:
        with deadline(10.0):
            order = fetch_order(sys.argv[1])
    except OSError as error:  # what urllib raises, as it was raised; the note on it says which limit ended the call
        print(f"{type(error).__name__}: {error}", *getattr(error, "__notes__", []), sep="\n", file=sys.stderr)
        return 1
    print(json.dumps(order))
    return 0


if __name__ == "__main__":
    sys.exit(main())
