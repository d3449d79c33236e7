"""retry: the policy as a frozen value, and the three ways to use it: decorate, call, loop.

A plain policy that succeeds costs one `try`. Nothing is read before a failure: no clock, no lock, no context. What a
policy asks for beyond that (`within`, `attempt_timeout`, `budget`, `retry_result`) costs what a hand-written decorator
doing that one thing costs. After a failure the call's own state (`_io.call.Call`) takes over; the decisions are in
`_core.retrying`, the attempts and waits in `_io.attempts`.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypedDict, TypeVar, Unpack, final, overload

from attrs import field, frozen

from resilience._attempt import Attempt
from resilience._backoff import ExponentialBackoff, with_backoff
from resilience._core import checks
from resilience._core.classify import judge_of, members_of, name_of
from resilience._core.functions import (
    METHOD_WRAPPERS,
    ConstructorSignature,
    checked,
    is_async,
    may_return_coroutine,
    name_of_function,
    not_a_coroutine,
    refusing_coroutines,
)
from resilience._core.retrying import Rules
from resilience._core.verdict import Verdict
from resilience._io import world
from resilience._io.ambient import scope_now
from resilience._io.attempts import aattempting, arun, attempting, begin, run
from resilience._io.budget import RetryBudget, checked_budget
from resilience._io.call import Call, Plan
from resilience._transient import TABLES
from resilience.errors import ConfigError
from resilience.typing import Backoff, Hook, On, Seconds


__all__ = ["RetryPolicy", "retry"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_HOW = "write it with parentheses and say what is worth trying again: @retry(on=transient), RetryPolicy(on=ConnectionError)"


class Options(TypedDict, total=False):
    """The arguments of a policy, for `RetryPolicy.replace`."""

    on: On
    attempts: int | None
    within: Seconds | None
    attempt_timeout: Seconds | None
    backoff: Backoff
    budget: RetryBudget | None
    idempotent: bool
    retry_result: Callable[[Any], bool] | None
    max_hint: Seconds
    shield_inner: bool
    wrap: bool
    name: str | None
    hooks: Hook | Iterable[Hook]


_USE_ACALL = "use `await policy.acall(fn, ...)`"
_BACKOFF = ExponentialBackoff()


@final
@frozen(init=False)
class RetryPolicy:
    """What is worth trying again, how often, how soon, and within which limits. `retry` is the same class.

    A frozen value: compare it, share it between threads and tasks, pickle it (budget and hooks stay behind). Use it

    - as a decorator of a function, method, coroutine function or any callable, whose signature it keeps;
    - with `call` and `acall`, for a function that is not yours to decorate;
    - in a loop: ``for attempt in policy: with attempt: …`` and ``async for attempt in policy: with attempt: …``.

    The last exception itself comes out, with a note that says how many attempts there were and which limit ended
    them. Only an `Exception` is ever tried again, never a cancellation or an interrupt.

    Args:
        on: What is worth trying again: an exception class, a predicate ``(error) -> bool``, a classifier such as
            `transient` that answers a `Verdict`, or a tuple of these (any of them). It has no default: what may be
            tried again is for the caller to say.
        attempts: How many tries in all; None for no limit.
        within: Seconds (or a `timedelta`) for all attempts and waits together; None for no limit. Everything called
            sees it as the ambient deadline; a coroutine that overruns it is cancelled, a function is not interrupted.
        attempt_timeout: The same, for each attempt. An attempt that overruns fails with `DeadlineExceededError`, which
            `on` judges like any other failure (it is a `TimeoutError`).
        backoff: How long to wait between attempts.
        budget: A `RetryBudget` shared with other policies; None for none.
        idempotent: Whether the work may be done twice. With False it is done at most once: only a failure that provably
            preceded any effect (refused, not resolved, throttled) is tried again. What a failure proves, it proves of
            one request: decorate the function that makes it, not one that has done other things before.
        retry_result: A predicate on the returned value: True means it is no result yet. When the attempts are used
            up, the last value is returned as it is. None to accept every value.
        max_hint: Seconds; a server that asks to be left alone for longer is not waited for.
        shield_inner: Let the retries inside an attempt try once, and leave trying again to this one; otherwise they
            multiply (3 × 4 = 12 requests). What is worth trying again is then for this policy's `on` alone to say. A result
            that one of them refuses it goes on to ask for: that is no failure which this policy could see.
        wrap: Raise `RetriesExhaustedError` from the last exception, in place of it, when a limit ended the call.
        name: How logs, notes and events call it; None for the name of the function.
        hooks: Told every event of every call: one callable or several. See `resilience.instrumentation`.

    Raises:
        ConfigError: A value outside these bounds; an `on` that would try again what must end (a cancellation).

    >>> from resilience import retry, transient
    >>> @retry(on=transient, attempts=4, within=10.0)
    ... def fetch(key: str) -> str:
    ...     return key.upper()
    >>> fetch("a")
    'A'
    """

    on: On
    attempts: int | None
    within: float | None
    attempt_timeout: float | None
    backoff: Backoff
    budget: RetryBudget | None
    idempotent: bool
    retry_result: Callable[[Any], bool] | None
    max_hint: float
    shield_inner: bool
    wrap: bool
    name: str | None
    hooks: tuple[Hook, ...]
    _plan: Plan = field(init=False, eq=False, repr=False)

    if not TYPE_CHECKING:  # type checkers see `__init__`, and say the same in their own words

        def __new__(cls, *misused: object, **options: object) -> Self:
            """Refuse ``@retry`` without parentheses, which would take the function for an option."""
            if misused:
                raise TypeError(f"retry takes no positional argument; {_HOW}")
            if "on" not in options:
                raise TypeError(f"retry needs `on`; {_HOW}")
            unknown = next(iter(options.keys() - Options.__annotations__.keys()), None)
            if unknown is not None:
                from resilience._core.config import nearest_option  # noqa: PLC0415

                raise TypeError(f"retry has no option {unknown!r}; the nearest is {nearest_option(unknown)!r}")
            return super().__new__(cls)

    def __init__(
        self,
        *,
        on: On,
        attempts: int | None = 4,
        within: Seconds | None = None,
        attempt_timeout: Seconds | None = None,
        backoff: Backoff = _BACKOFF,
        budget: RetryBudget | None = None,
        idempotent: bool = True,
        retry_result: Callable[[Any], bool] | None = None,
        max_hint: Seconds = 60.0,
        shield_inner: bool = False,
        wrap: bool = False,
        name: str | None = None,
        hooks: Hook | Iterable[Hook] = (),
    ) -> None:
        # Frozen: the one place that sets anything. What is set is plain (seconds, a tuple of hooks) and right.
        known: dict[type, Verdict] = {}
        plan = Plan(
            name=None if name is None else checks.text("name", name),
            rules=Rules(
                judge=judge_of(on, TABLES, known),
                known=known,
                attempts=checks.attempts(attempts) or math.inf,
                backoff=checks.backoff(backoff),
                idempotent=checks.flag("idempotent", idempotent),
                max_hint=checks.seconds("max_hint", max_hint, zero=True),
            ),
            within=None if within is None else checks.seconds("within", within),
            attempt_timeout=None if attempt_timeout is None else checks.seconds("attempt_timeout", attempt_timeout),
            budget=checked_budget(budget),
            refuses=checks.predicate("retry_result", retry_result),
            shield_inner=checks.flag("shield_inner", shield_inner),
            wrap=checks.flag("wrap", wrap),
            hooks=checks.hooks(hooks),
        )
        if not idempotent and retry_result is not None:
            raise ConfigError("retry_result", retry_result, "None with idempotent=False: a result means it was done")
        if not members_of(on) and retry_result is None:
            raise ConfigError("on", on, "not empty, or nothing would ever be tried again")
        fields: dict[str, object] = {
            "on": on,
            "attempts": attempts,
            "within": plan.within,
            "attempt_timeout": plan.attempt_timeout,
            "backoff": backoff,
            "budget": budget,
            "idempotent": idempotent,
            "retry_result": retry_result,
            "max_hint": plan.rules.max_hint,
            "shield_inner": shield_inner,
            "wrap": wrap,
            "name": plan.name,
            "hooks": plan.hooks,
            "_plan": plan,
        }
        for key, value in fields.items():
            object.__setattr__(self, key, value)

    # -- the three forms ---------------------------------------------------------------------------------------------

    @overload
    def __call__(self, fn: classmethod[T, P, R], /) -> classmethod[T, P, R]: ...
    @overload
    def __call__(self, fn: staticmethod[P, R], /) -> staticmethod[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]: ...
    def __call__(self, fn: Any, /) -> Any:
        """Decorate `fn`: the same signature, tried again under this policy.

        Raises:
            TypeError: `fn` is a generator function, of which no attempt can be repeated.
        """
        if isinstance(fn, METHOD_WRAPPERS):
            return type(fn)(self(fn.__func__))
        attempt = aattempting if is_async(checked(fn, "retry")) else attempting
        retried = functools.wraps(fn)(attempt(self._plan, self._called(fn), fn))
        if attempt is attempting and may_return_coroutine(fn):
            return refusing_coroutines(retried, "decorate the `async def` function itself, or use policy.acall()")
        return retried

    def call(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``fn(*args, **kwargs)`` under this policy.

        Raises:
            TypeError: `fn` is a coroutine function: use `acall`.
        """
        # The first attempt stands here too, and not only in `attempting`: one frame less in the traceback.
        plan = self._plan
        if not plan.plain:
            return not_a_coroutine(run(begin(plan, self._called(fn)), fn, args, kwargs), _USE_ACALL)
        try:
            value = fn(*args, **kwargs)
        except Exception as error:
            call = Call.after_first(plan, self._called(fn), world.current.monotonic(), scope_now(), error)
            if call is None:
                raise
        else:
            return not_a_coroutine(value, _USE_ACALL)
        return not_a_coroutine(run(call, fn, args, kwargs), _USE_ACALL)

    async def acall(self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Await ``fn(*args, **kwargs)`` under this policy, in a task of asyncio or trio."""
        plan = self._plan
        if not plan.plain:
            return await arun(begin(plan, self._called(fn)), fn, args, kwargs)
        try:
            return await fn(*args, **kwargs)
        except Exception as error:
            call = Call.after_first(plan, self._called(fn), world.current.monotonic(), scope_now(), error)
            if call is None:
                raise
        return await arun(call, fn, args, kwargs)

    def __iter__(self) -> Attempt:
        """A fresh loop: ``for attempt in policy: with attempt: …``."""
        return Attempt(self._plan)

    def __aiter__(self) -> Attempt:
        """A fresh loop: ``async for attempt in policy: with attempt: …``."""
        return Attempt(self._plan)

    # -- the value ---------------------------------------------------------------------------------------------------

    def replace(self, **changes: Unpack[Options]) -> Self:
        """A policy like this one but for `changes`."""
        options: Any = {**self._options(), **changes}
        return type(self)(**options)

    def describe(self) -> str:
        """What this policy does, in one sentence for people.

        >>> from resilience import retry
        >>> retry(on=ConnectionError, attempts=3, within=10).describe()
        'on ConnectionError, up to 3 attempts; waits of 0.1 s × 2 up to 5 s, full jitter; within 10 s'
        """
        return _described(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], /, *, on: On) -> Self:
        """A policy from a mapping, such as a section of a TOML or JSON file.

        Args:
            config: Keys in snake_case or camelCase, lengths of time in seconds, or in milliseconds with ``_ms``
                (``Ms``) behind the name: ``attempts`` or ``max_attempts`` (every try counts), ``max_retries`` (3 means
                up to 4 attempts), ``within``, ``attempt_timeout``, ``initial`` (``base_delay``), ``cap``
                (``max_delay``), ``factor``, ``jitter``, ``delays``, ``idempotent``, ``max_hint``, ``name``, ``shield_inner``, ``wrap``.
            on: As for the policy itself: code, not configuration.

        Raises:
            ConfigError: An unknown key (it names the nearest one), two keys for one thing, a value out of bounds.

        >>> from resilience import RetryPolicy
        >>> RetryPolicy.from_config({"maxRetries": 3, "baseDelayMs": 200}, on=OSError).attempts
        4
        """
        # Imported here: `re` and `difflib` are only for those who configure.
        from resilience._core.config import options_of  # noqa: PLC0415

        return cls(on=on, **with_backoff(options_of(config)))

    @classmethod
    def from_env(cls, prefix: str, /, *, on: On, environ: Mapping[str, str] | None = None) -> Self:
        """A policy from the environment variables whose names begin with `prefix`; every one of them must be known.

        Args:
            prefix: Such as ``"BILLING_RETRY_"``, for ``BILLING_RETRY_MAX_ATTEMPTS=5``.
            on: As for the policy itself.
            environ: Where to look; None for the environment of this process.

        Raises:
            ConfigError: As for `from_config`; and for a value that is not of its key's kind.
        """
        from resilience._core.config import options_of_env  # noqa: PLC0415

        found = options_of_env(checks.text("prefix", prefix), os.environ if environ is None else environ)
        return cls(on=on, **with_backoff(found))

    def __reduce__(self) -> tuple[Any, ...]:
        for part in (*members_of(self.on), self.retry_result):
            if inspect.isfunction(part) and not part.__qualname__.isidentifier() and "<" in part.__qualname__:
                raise TypeError(f"cannot pickle a policy with {part.__qualname__}: move it to the top of a module")
        options = {key: value for key, value in self._options().items() if key not in {"budget", "hooks"}}
        return _rebuilt, (options,)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def _called(self, fn: Callable[..., Any]) -> str:
        return self.name or name_of_function(fn)

    def _options(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in Options.__annotations__}


RetryPolicy.__signature__ = ConstructorSignature()  # type: ignore[attr-defined]  # for `inspect`, not for checkers

#: The decorator spelling of `RetryPolicy`; the very same class.
retry = RetryPolicy


def _rebuilt(options: dict[str, Any]) -> RetryPolicy:
    return RetryPolicy(**options)


def _described(policy: RetryPolicy) -> str:
    tries = "any number of attempts" if policy.attempts is None else f"up to {policy.attempts} attempts"
    parts = [f"on {' | '.join(map(name_of, members_of(policy.on))) or 'a refused result'}, {tries}"]
    parts.append(f"waits of {policy.backoff}")
    if policy.within is not None:
        parts.append(f"within {policy.within:g} s")
    if policy.attempt_timeout is not None:
        parts.append(f"{policy.attempt_timeout:g} s for each attempt")
    if policy.budget is not None:
        parts.append(f"as long as {policy.budget} lasts")
    if not policy.idempotent:
        parts.append("never what may have been applied")
    if policy.shield_inner:
        parts.append("in place of the retries inside it")
    return "; ".join(parts)
