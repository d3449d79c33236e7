"""A policy from a mapping or from environment variables: which keys there are, and what each comes down to.

Every key may be written in snake_case or camelCase, every length of time in seconds or, with ``_ms`` (``Ms``) behind its
name, in milliseconds. Two keys for one thing are refused, and so is a key that is not known: a misspelt limit that is
silently no limit is found in the next outage.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from resilience._core import checks
from resilience.errors import ConfigError


__all__ = ["nearest_option", "options_of", "options_of_env"]

#: Each key, and the option it sets. Several keys for one option are the names that other libraries gave it.
_OPTION = {
    "attempts": "attempts",
    "max_attempts": "attempts",
    "max_retries": "attempts",
    "within": "within",
    "max_elapsed": "within",
    "attempt_timeout": "attempt_timeout",
    "initial": "initial",
    "initial_delay": "initial",
    "base_delay": "initial",
    "cap": "cap",
    "max_delay": "cap",
    "factor": "factor",
    "multiplier": "factor",
    "jitter": "jitter",
    "delays": "delays",
    "idempotent": "idempotent",
    "max_hint": "max_hint",
    "name": "name",
    "shield_inner": "shield_inner",
    "wrap": "wrap",
}
#: What only code can give.
_IN_CODE = frozenset({"on", "backoff", "budget", "retry_result", "hooks"})
#: What other libraries call an option of ours.
_OTHERS_SAY = {
    "timeout": "within",
    "tries": "attempts",
    "retries": "attempts",
    "retry_on": "on",
    "wait": "backoff",
    "stop": "attempts",
}
_DURATIONS = frozenset({"within", "attempt_timeout", "initial", "cap", "max_hint", "delays"})
_FLAGS = frozenset({"idempotent", "shield_inner", "wrap"})
_TEXTS = frozenset({"name", "jitter"})
_NAMES = [*_OPTION, *(f"{key}_ms" for key, option in _OPTION.items() if option in _DURATIONS)]


def options_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options a mapping sets, in seconds and under their own names; `ConfigError` for what is wrong with it."""
    if not isinstance(config, Mapping):
        raise ConfigError("config", config, "a mapping of settings")
    return _collect({str(key): (str(key), value) for key, value in config.items()}, str)


def options_of_env(prefix: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The options set by the variables that begin with `prefix`, each read as what its key needs; an empty one sets none."""
    found = {name: text for name, text in environ.items() if name.startswith(prefix) and text.strip()}
    keys = {name: (name[len(prefix) :].lower(), text) for name, text in found.items()}
    return _collect(keys, lambda nearest: prefix + nearest.upper(), read=_read)


def _collect(
    found: Mapping[str, tuple[str, Any]],
    spell: Callable[[str], str],
    read: Callable[[str, str, Any], Any] = lambda _shown, _option, value: value,
) -> dict[str, Any]:
    options: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for shown, (spelt, value) in found.items():
        key, milliseconds = _known(spelt, shown, spell)
        option = _OPTION[key]
        if option in origin:
            raise ConfigError(shown, value, f"left out, since {origin[option]} already sets the same thing")
        origin[option] = shown
        plain = read(shown, option, value)
        if milliseconds and plain is not None:
            plain = _in_seconds(shown, plain)
        options[option] = _attempts(shown, key, plain) if option == "attempts" else plain
    return options


def _known(spelt: str, shown: str, spell: Callable[[str], str]) -> tuple[str, bool]:
    """The key as we write it, and whether its value is in milliseconds."""
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", spelt).lower()
    key = snake.removesuffix("_ms")
    if key in _OPTION and (key == snake or _OPTION[key] in _DURATIONS):
        return key, key != snake
    if key in _IN_CODE:
        raise ConfigError("a retry setting", shown, f"a known key; {key} is given in code, where the policy is made")
    nearest = _nearest(snake, _NAMES)
    if snake != spelt.lower() or (spelt != snake and "_" not in spelt):
        nearest = re.sub(r"_([a-z])", lambda letter: letter[1].upper(), nearest)
    raise ConfigError("a retry setting", shown, f"a known key; the nearest is {spell(nearest)!r}")


def _nearest(name: str, names: Iterable[str]) -> str:
    return difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]


def nearest_option(name: str) -> str:
    """The argument of a policy that `name`, which is none, was probably meant for: by its meaning, or by its letters."""
    meant = _OPTION.get(name) or _OTHERS_SAY.get(name)
    return meant if meant is not None else _nearest(name, sorted({*_OPTION.values(), *_IN_CODE}))


def _in_seconds(shown: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_in_seconds(shown, item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return checks.number(shown, value, "a number of milliseconds") / 1000


def _attempts(shown: str, key: str, value: Any) -> int | None:
    """``max_retries`` counts the retries; the others count every try."""
    if value is None:
        return None
    if key == "max_retries":
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value + 1
        raise ConfigError(shown, value, "a whole number of at least 0, or None for no limit")
    return checks.at_least_one(shown, value, "a whole number of at least 1, or None for no limit")


def _read(shown: str, option: str, text: Any) -> Any:
    """A variable's text as a value: "none" is None, lists have commas between their items."""
    plain = str(text).strip()
    if option in _TEXTS:
        return plain
    if option in _FLAGS:
        if plain.lower() in {"1", "true", "yes", "on"}:
            return True
        if plain.lower() in {"0", "false", "no", "off"}:
            return False
        raise ConfigError(shown, text, "one of 1, true, yes, on, 0, false, no and off")
    if plain.lower() == "none":
        return None
    try:
        if option == "attempts":
            return int(plain)
        return [float(part) for part in plain.split(",")] if option == "delays" else float(plain)
    except ValueError:
        raise ConfigError(shown, text, "a number") from None
