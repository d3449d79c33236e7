"""Configuration and environment: every key in every spelling, and an error that names the nearest one for the rest."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from resilience._core.config import options_of, options_of_env
from resilience.errors import ConfigError


#: Key in snake_case, a value, the option it sets, and what it sets it to.
ROWS: list[tuple[str, Any, str, Any]] = [
    ("attempts", 5, "attempts", 5),
    ("max_attempts", 5, "attempts", 5),
    ("max_retries", 3, "attempts", 4),
    ("max_retries", 0, "attempts", 1),
    ("attempts", None, "attempts", None),
    ("max_retries", None, "attempts", None),
    ("within", 10.5, "within", 10.5),
    ("within", None, "within", None),
    ("max_elapsed", 10, "within", 10),
    ("attempt_timeout", 3, "attempt_timeout", 3),
    ("initial", 0.2, "initial", 0.2),
    ("initial_delay", 0.2, "initial", 0.2),
    ("base_delay", 0.2, "initial", 0.2),
    ("cap", 8, "cap", 8),
    ("max_delay", 8, "cap", 8),
    ("factor", 3, "factor", 3),
    ("multiplier", 3, "factor", 3),
    ("jitter", "equal", "jitter", "equal"),
    ("delays", [1, 5, 30], "delays", [1, 5, 30]),
    ("idempotent", False, "idempotent", False),
    ("max_hint", 120, "max_hint", 120),
    ("name", "billing", "name", "billing"),
    ("wrap", True, "wrap", True),
]
DURATIONS = ["within", "max_elapsed", "attempt_timeout", "initial", "initial_delay", "base_delay", "cap", "max_delay"]
DURATIONS += ["max_hint"]


def camel(snake: str) -> str:
    return re.sub(r"_([a-z])", lambda letter: letter[1].upper(), snake)


def text_of(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@pytest.mark.parametrize(("key", "value", "option", "expected"), ROWS)
def test_every_key_in_every_spelling(key: str, value: Any, option: str, expected: Any) -> None:
    """snake_case, camelCase, PascalCase and capitals set the same option, and so does the environment."""
    for spelt in (key, camel(key), camel(key)[0].upper() + camel(key)[1:], key.upper()):
        assert options_of({spelt: value}) == {option: expected}
    assert options_of_env("RETRY_", {f"RETRY_{key.upper()}": text_of(value)}) == {option: expected}


@pytest.mark.parametrize("key", DURATIONS)
def test_every_length_of_time_in_milliseconds(key: str) -> None:
    """`_ms` and `Ms` behind a length of time make it milliseconds."""
    [(option, _)] = options_of({key: 1}).items()
    for spelt in (f"{key}_ms", camel(f"{key}_ms"), f"{camel(key)}MS"):
        assert options_of({spelt: 250}) == {option: 0.25}
    assert options_of_env("R_", {f"R_{key.upper()}_MS": "250"}) == {option: 0.25}
    assert options_of({f"{key}_ms": None}) == {option: None}


def test_delays_in_milliseconds() -> None:
    """A sequence of delays may be in milliseconds as a whole."""
    assert options_of({"delaysMs": [100, 2_000]}) == {"delays": [0.1, 2.0]}
    assert options_of({"delays_ms": (100,)}) == {"delays": [0.1]}
    assert options_of_env("R_", {"R_DELAYS_MS": "100, 2000"}) == {"delays": [0.1, 2.0]}


@pytest.mark.parametrize(
    "key", ["attempts_ms", "maxRetriesMs", "factor_ms", "jitter_ms", "nameMs", "wrap_ms", "within_ms_ms", "_ms"]
)
def test_only_lengths_of_time_have_milliseconds(key: str) -> None:
    """`max_retries_ms` is a mistake, not 0.003 retries."""
    with pytest.raises(ConfigError, match=r"^a retry setting must be a known key; the nearest is "):
        options_of({key: 1})


@pytest.mark.parametrize(
    ("spelt", "nearest"),
    [
        ("max_atempts", "max_attempts"),
        ("maxAtempts", "maxAttempts"),
        ("MaxRetrys", "maxRetries"),
        ("attemps", "attempts"),
        ("max_retry", "max_retries"),
        ("base_delay_msec", "base_delay_ms"),
        ("baseDelayMsec", "baseDelayMs"),
        ("attemptTimeOut", "attemptTimeout"),
        ("witin", "within"),
        ("jiter", "jitter"),
    ],
)
def test_unknown_key_names_the_nearest_in_its_own_spelling(spelt: str, nearest: str) -> None:
    """A misspelt limit is no silent "no limit": the error names key and nearest, as the caller writes keys."""
    with pytest.raises(ConfigError) as raised:
        options_of({"attempts": 3, spelt: 1})
    assert raised.value.value == spelt
    assert raised.value.expected == f"a known key; the nearest is {nearest!r}"


@pytest.mark.parametrize("key", ["", "zzzz", "日本", 7, None])
def test_a_key_like_none_still_names_one(key: Any) -> None:
    """However strange the key: a `ConfigError` that names a known one."""
    with pytest.raises(ConfigError, match="the nearest is '"):
        options_of({key: 1})


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("BILLING_RETRY_MAX_ATEMPTS", "BILLING_RETRY_MAX_ATTEMPTS"),
        ("BILLING_RETRY_BASE_DELAY_MSEC", "BILLING_RETRY_BASE_DELAY_MS"),
        ("BILLING_RETRY_witin", "BILLING_RETRY_WITHIN"),
    ],
)
def test_unknown_variable_names_the_nearest_one(variable: str, nearest: str) -> None:
    """A variable's error names variables, prefix and all."""
    with pytest.raises(ConfigError) as raised:
        options_of_env("BILLING_RETRY_", {variable: "1"})
    assert (raised.value.value, raised.value.expected) == (variable, f"a known key; the nearest is {nearest!r}")


@pytest.mark.parametrize(
    "config",
    [
        {"attempts": 3, "max_attempts": 3},
        {"max_retries": 2, "maxAttempts": 3},
        {"within": 1, "within_ms": 1000},
        {"base_delay": 1, "baseDelay": 1},
        {"cap": 1, "max_delay_ms": 1000},
        {"factor": 2, "multiplier": 2},
    ],
    ids=lambda config: " + ".join(config),
)
def test_two_keys_for_one_option_are_refused(config: dict[str, Any]) -> None:
    """Which of the two would count is not for us to guess, even if they agree; the error names both."""
    first, second = config
    with pytest.raises(ConfigError, match=f"^{second} must be left out, since {first} already sets the same thing"):
        options_of(config)


def test_two_variables_for_one_option_are_refused() -> None:
    """The same in the environment, also where only the case differs."""
    with pytest.raises(ConfigError, match=r"^R_max_retries must be left out, since R_ATTEMPTS already sets"):
        options_of_env("R_", {"R_ATTEMPTS": "3", "R_max_retries": "2"})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"attempts": 0}, "a whole number of at least 1"),
        ({"maxAttempts": 2.5}, "a whole number of at least 1"),
        ({"attempts": True}, "a whole number of at least 1"),
        ({"attempts": "4"}, "a whole number of at least 1"),
        ({"max_retries": -1}, "a whole number of at least 0"),
        ({"maxRetries": True}, "a whole number of at least 0"),
        ({"max_retries": 1.0}, "a whole number of at least 0"),
        ({"within_ms": "1000"}, "a number of milliseconds"),
        ({"withinMs": math.nan}, "a number of milliseconds"),
        ({"cap_ms": True}, "a number of milliseconds"),
        ({"delays_ms": [100, None]}, "a number of milliseconds"),
        ({"delays_ms": "100"}, "a number of milliseconds"),
    ],
    ids=str,
)
def test_bad_values_name_the_key_as_it_was_written(config: dict[str, Any], expected: str) -> None:
    """A value that is wrong in itself is refused under the caller's own key."""
    [key] = config
    with pytest.raises(ConfigError, match=f"^{key} must be {expected}"):
        options_of(config)


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("MAX_ATTEMPTS", "5", {"attempts": 5}),
        ("MAX_ATTEMPTS", " 5 ", {"attempts": 5}),
        ("MAX_ATTEMPTS", "none", {"attempts": None}),
        ("MAX_ATTEMPTS", "", {}),
        ("WITHIN", "  ", {}),
        ("WITHIN", "2.5", {"within": 2.5}),
        ("WITHIN", "None", {"within": None}),
        ("DELAYS", "1,5,30", {"delays": [1.0, 5.0, 30.0]}),
        ("DELAYS", "1", {"delays": [1.0]}),
        ("IDEMPOTENT", "no", {"idempotent": False}),
        ("IDEMPOTENT", "FALSE", {"idempotent": False}),
        ("IDEMPOTENT", "0", {"idempotent": False}),
        ("IDEMPOTENT", "off", {"idempotent": False}),
        ("WRAP", "1", {"wrap": True}),
        ("WRAP", "Yes", {"wrap": True}),
        ("WRAP", "true", {"wrap": True}),
        ("WRAP", "on", {"wrap": True}),
        ("NAME", "none", {"name": "none"}),
        ("JITTER", "none", {"jitter": "none"}),
    ],
)
def test_variables_are_read_as_their_keys_need(key: str, text: str, expected: dict[str, Any]) -> None:
    """Whole numbers, numbers, lists with commas, flags, texts; "none" or nothing is None, but "none" is a jitter."""
    assert options_of_env("R_", {f"R_{key}": text, "PATH": "/bin", "OTHER_R_WITHIN": "1"}) == expected


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("MAX_ATTEMPTS", "4.5"),
        ("MAX_ATTEMPTS", "four"),
        ("MAX_ATTEMPTS", "0"),
        ("MAX_ATTEMPTS", "9" * 5000),
        ("MAX_RETRIES", "-1"),
        ("WITHIN", "10s"),
        ("WITHIN", "1,5"),
        ("WITHIN_MS", "nan"),
        ("WITHIN_MS", "ten"),
        ("DELAYS", "1,,5"),
        ("DELAYS", "1;5"),
        ("DELAYS_MS", "1,inf"),
        ("IDEMPOTENT", "maybe"),
        ("IDEMPOTENT", "2"),
        ("WRAP", "ja"),
    ],
    ids=lambda text: text[:16],
)
def test_malformed_variables_are_named(key: str, text: str) -> None:
    """A variable that cannot be read is a `ConfigError` with the variable's whole name, never a default."""
    with pytest.raises(ConfigError) as raised:
        options_of_env("R_", {f"R_{key}": text})
    assert raised.value.option == f"R_{key}"


def test_nothing_set_sets_nothing() -> None:
    """An empty mapping leaves every default."""
    assert options_of({}) == {}
    assert options_of_env("R_", {"PATH": "/bin"}) == {}


@pytest.mark.parametrize("config", [None, 5, "attempts=3", [("attempts", 3)]])
def test_what_is_no_mapping_is_refused_by_name(config: Any) -> None:
    with pytest.raises(ConfigError, match="config must be a mapping"):
        options_of(config)


@pytest.mark.parametrize("key", ["on", "budget", "hooks", "retry_result", "backoff"])
def test_what_only_code_can_give_is_no_setting(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} is given in code"):
        options_of({key: 1})
