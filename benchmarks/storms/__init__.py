"""Retry storms, simulated: crowds of clients under our own policies, in virtual time.

Nothing of the library is modelled. Each client is an asyncio task that calls `RetryPolicy.acall`; the waits, the jitter
and the budgets are the library's own. Only the server and the network are made up: they answer in no time. The loop's
time is virtual, so that a minute of 10 000 clients takes some seconds, and the same seed gives the same figures.

What others would wait is a backoff object (`formulas`) under the same policy: formulas are compared, not libraries.

    python -m storms                                  # what the docs show
    python -m storms --clients 1000 --large 0 --out DIR
"""
