"""pymongo, sync and asyncio: the same classes in both.

What an error means, MongoDB says first by its labels, then by its code. Most codes may end a command in the middle of
its documents, so few of them are transient. Labels of an overload count only where the server has sent them: the
driver puts the same ones on connections that it cannot make.

The driver tries again by itself, writes as well as reads, once or, where the server is overloaded, more often, unless
the client was made with ``retryWrites=False, retryReads=False``. The last error then says nothing of the tries before
it, but its traceback does. A large `insert_many` or `bulk_write` is several commands: of those before the failing one
the traceback tells too. In either case nothing is transient.
"""

from __future__ import annotations

from typing import Any, cast

from attrs import frozen

from resilience._core.finding import Finding
from resilience._core.rows import Always, By, Inside, Judging, Row, Rule, Table, passed, read
from resilience._core.tables.http import LONGEST
from resilience._core.verdict import Verdict


__all__ = ["TABLE"]

_BEFORE = "before sending"
_AFTER = "after that"

#: By code (MongoDB's error_codes.yml): of an `OperationFailure`, and of each document of a bulk write.
_CODE = {
    6: Verdict.unsure(reason="HostUnreachable"),
    7: Verdict.unsure(reason="HostNotFound"),
    24: Verdict.unsure(reason="LockTimeout"),
    46: Verdict.unsure(reason="LockBusy"),
    89: Verdict.unsure(reason="NetworkTimeout"),
    91: Verdict.unsure(reason="ShutdownInProgress"),
    112: Verdict.transient(reason="WriteConflict"),
    117: Verdict.unsure(reason="ConflictingOperationInProgress"),
    133: Verdict.unsure(reason="FailedToSatisfyReadPreference"),
    134: Verdict.transient(reason="ReadConcernMajorityNotAvailableYet"),
    189: Verdict.unsure(reason="PrimarySteppedDown"),
    202: Verdict.unsure(reason="NetworkInterfaceExceededTimeLimit"),
    239: Verdict.unsure(reason="SnapshotTooOld"),
    246: Verdict.unsure(reason="SnapshotUnavailable"),
    262: Verdict.unsure(reason="ExceededTimeLimit"),
    365: Verdict.unsure(throttled=True, reason="TemporarilyUnavailable"),
    402: Verdict.unsure(throttled=True, reason="ResourceExhausted"),
    407: Verdict.unsure(throttled=True, reason="PooledConnectionAcquisitionExceededTimeLimit"),
    433: Verdict.unsure(throttled=True, reason="AdmissionQueueOverflow"),
    449: Verdict.unsure(throttled=True, reason="RateLimitExceeded"),
    450: Verdict.unsure(throttled=True, reason="PooledConnectionAcquisitionRejected"),
    453: Verdict.unsure(reason="InterruptedDueToReshardingCriticalSection"),
    462: Verdict.transient(throttled=True, reason="IngressRequestRateLimitExceeded"),
    9001: Verdict.unsure(reason="SocketException"),
    10107: Verdict.unsure(reason="NotWritablePrimary"),
    11600: Verdict.unsure(reason="InterruptedAtShutdown"),
    11602: Verdict.unsure(reason="InterruptedDueToReplStateChange"),
    13388: Verdict.unsure(reason="StaleConfig"),
    13435: Verdict.unsure(reason="NotPrimaryNoSecondaryOk"),
    13436: Verdict.unsure(reason="NotPrimaryOrSecondary"),
    16500: Verdict.unsure(throttled=True, reason="Cosmos DB: too many requests"),
}
#: Labels by which the server says that it has done nothing; that nothing was written makes a bad command no better.
_REFUSED = {
    "RetryableError": Verdict.transient(throttled=True, reason="overloaded: refused before it was begun"),
    "NoWritesPerformed and SystemOverloadedError": Verdict.transient(
        throttled=True, reason="overloaded: nothing written"
    ),
    "NoWritesPerformed and RetryableWriteError": Verdict.transient(reason="nothing was written"),
}
#: What a server says to a command that it does not begin, for it is no primary (service_entry_point_common.cpp).
#: What it says in the middle of one reads otherwise, under the same codes.
_NOT_BEGUN = {
    "not primary",
    "not master",
    "not primary and secondaryOk=false",
    "not master and slaveOk=false",
    "node is recovering",
    "node is not in primary or recovering state",
}


def _when(error: Any) -> str:
    """Whether it came before the command was sent, with the first one of the first try, or nobody knows how late."""
    if not passed(error, "pymongo."):
        return "in doubt"
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        name, own = frame.f_code.co_name, frame.f_locals
        if str(frame.f_globals.get("__name__")).startswith("pymongo."):
            if name == "_get_conn":
                return _BEFORE
            if (name == "run" and _tried(own.get("self"))) or (name == "_execute_command" and _counted(own)):
                return "in doubt"
        trace = trace.tb_next
    return "first"


def _tried(run: object) -> bool:
    """Whether this is not the first try of a command; also where nobody can tell."""
    return run is None or any(getattr(run, name, None) for name in ("_attempt_number", "_retrying", "_last_error"))


def _counted(own: Any) -> bool:
    """Whether commands of the same bulk write have done something."""
    result: Any = own.get("full_result") or {}
    return any(result.get(name) for name in ("nInserted", "nUpserted", "nMatched", "nRemoved", "nDeleted"))


def _detail(error: Any, name: str) -> Any:
    """What the server's answer has under this name."""
    details = getattr(error, "details", None)
    return cast("dict[str, Any]", details).get(name) if isinstance(details, dict) else None


def _labels(error: Any) -> set[str]:
    """The labels that the server has sent."""
    labels = _detail(error, "errorLabels")
    return set(cast("list[str]", labels)) if isinstance(labels, list) else set()


def _label(error: Any) -> str | None:
    """The label that decides; those of a transaction may be the driver's own."""
    for label in ("UnknownTransactionCommitResult", "TransientTransactionError"):
        if error.has_error_label(label):
            return label
    labels = _labels(error)
    for decides in _REFUSED:
        if labels.issuperset(decides.split(" and ")):
            return f"{decides}, in part" if _when(error) == "in doubt" else decides
    return "SystemOverloadedError" if "SystemOverloadedError" in labels else None


def _sent(error: Any) -> str | None:
    """Before or after sending; None before it, if what the operating system said is inside."""
    if _when(error) != _BEFORE:
        return _AFTER
    return None if isinstance(error.__cause__, Exception) else _BEFORE


def _servers(error: Any) -> str:
    return "none trusted" if "CERTIFICATE_VERIFY_FAILED" in str(error) else "none in time"


def _refused(error: Any) -> str:
    whole = _detail(error, "errmsg") in _NOT_BEGUN and _when(error) != "in doubt"
    return "whole" if whole else "perhaps in part"


def _timed_out(error: Any) -> str:
    """The driver itself refuses what cannot be done in the time that is left."""
    local = str(error).startswith("operation would exceed time limit")
    return _BEFORE if local and _when(error) != "in doubt" else _AFTER


def _code(error: Any) -> object:
    code = error.code
    return f"{code}, in part" if code in {112, 134, 462} and _when(error) == "in doubt" else code


def _retryable_write(error: Any) -> str | None:
    """To the driver that means: with the same number once more. To everybody else: it may have been done."""
    return "RetryableWriteError" if "RetryableWriteError" in _labels(error) and error.code not in _CODE else None


def _bulk(error: Any) -> str:
    """A bulk write is worth another try if each of its failures is; what succeeded is done."""
    failures = [*(_detail(error, "writeErrors") or ()), *(_detail(error, "writeConcernErrors") or ())]
    codes = {_code_of(each) for each in failures}
    return "worth another try" if codes and codes <= {*_CODE, 64} else "others"


def _code_of(failure: Any) -> object:
    """The code of a failure that is a document."""
    return cast("dict[str, Any]", failure).get("code") if isinstance(failure, dict) else None


def _client_bulk(error: Any) -> str | None:
    """As `_bulk`; None for an error of the whole, where nothing was done before it."""
    whole = _detail(error, "error")
    if not whole:
        return _bulk(error)
    if isinstance(whole, Exception):
        return "worth another try" if _detail(error, "anySuccessful") or _when(error) == "in doubt" else None
    return "worth another try" if _code_of(whole) in _CODE else "others"


def _text(error: Any) -> str | None:
    return error.args[0] if error.args and isinstance(error.args[0], str) else None


def _cause(error: Any) -> str | None:
    """Of reading keys, in the database or elsewhere, to encrypt a command or to decrypt its answer."""
    names = {base.__name__ for base in type(read(error, "cause")).__mro__}
    return None if names.isdisjoint({"ConnectionFailure", "OSError"}) else "a connection"


def _seconds(error: Any, _wall: object) -> float | None:
    """How long the server, or Cosmos DB in its words, asks to wait."""
    asked = _detail(error, "baseBackoffMS")
    if asked is None:
        words = str(_detail(error, "errmsg")).partition("RetryAfterMs=")[2].partition(",")[0]
        asked = float(words) if words.isascii() and words.isdigit() else None
    return min(asked / 1000, LONGEST) if isinstance(asked, (int, float)) and asked >= 0 else None


@frozen
class _Unlabelled:
    """A rule that is silent where a label decides."""

    rule: Rule

    @property
    def error(self) -> str:
        """That of the rule."""
        return self.rule.error

    @property
    def rows(self) -> tuple[Row, ...]:
        """Those of the rule."""
        return self.rule.rows

    def find(self, error: Any, judging: Judging, depth: int, /) -> Finding | None:
        """What the rule says."""
        return None if _label(error) is not None else self.rule.find(error, judging, depth)


def _unlabelled(*rules: Rule) -> tuple[Rule, ...]:
    return tuple(_Unlabelled(rule) for rule in rules)


def _in_doubt(verdict: Verdict) -> Verdict:
    return Verdict.unsure(throttled=verdict.throttled, reason=f"{verdict.reason}; but what was sent before may be done")


TABLE = Table(
    "pymongo",
    (
        # Labels: of all errors, before anything else.
        By("pymongo.errors.PyMongoError", "label", _label, {
            "UnknownTransactionCommitResult": Verdict.unsure(reason="the transaction may be committed"),
            "TransientTransactionError": Verdict.transient(reason="the transaction has failed as a whole"),
            **_REFUSED,
            **{f"{labels}, in part": _in_doubt(verdict) for labels, verdict in _REFUSED.items()},
            "SystemOverloadedError": Verdict.unsure(throttled=True, reason="overloaded"),
        }, hint=_seconds),
        *_unlabelled(
            # The connection.
            By("pymongo.errors.ServerSelectionTimeoutError", "servers:", _servers, {
                "none in time": Verdict.transient(reason="no server was to be had in time"),
                "none trusted": Verdict.permanent("certificate not trusted"),
            }),
            By("pymongo.errors.ConnectionFailure", "raised", _sent, {
                _BEFORE: Verdict.transient(reason="no connection of the pool came free"),
                _AFTER: Verdict.unsure(reason="the connection broke, or no answer came in time"),
            }),
            Inside("pymongo.errors.ConnectionFailure", ("__cause__",), unsent=True,
                   otherwise=Verdict.transient(reason="could not connect")),
            By("pymongo.errors.NotPrimaryError", "refused", _refused, {
                "whole": Verdict.transient(reason="no primary: failing over"),
                "perhaps in part": Verdict.unsure(reason="failing over, or shutting down"),
            }),
            Always("pymongo.errors.ProtocolError", Verdict.unsure(reason="the answer was no MongoDB")),
            # What the server answers.
            Always("pymongo.errors.CursorNotFound", Verdict.unsure(reason="the cursor is gone: ask anew")),
            By("pymongo.errors.ExecutionTimeout", "raised", _timed_out, {
                _BEFORE: Verdict.transient(reason="too little time was left to begin"),
                _AFTER: Verdict.unsure(reason="its time ran out"),
            }),
            Always("pymongo.errors.DuplicateKeyError", Verdict.permanent("it is there already")),
            By("pymongo.errors.WriteConcernError", "code", "code", {
                79: Verdict.permanent("no such write concern"),
                100: Verdict.permanent("a write concern that cannot be satisfied"),
            }, otherwise=Verdict.unsure(reason="written, but not on as many servers as asked for")),
            By("pymongo.errors.BulkWriteError", "failures:", _bulk, {
                "worth another try": Verdict.unsure(reason="each failure will pass; the rest is done"),
                "others": Verdict.permanent("a failure that will not pass"),
            }),
            By("pymongo.errors.ClientBulkWriteException", "failures:", _client_bulk, {
                "worth another try": Verdict.unsure(reason="each failure will pass; the rest is done"),
                "others": Verdict.permanent("a failure that will not pass"),
            }),
            Inside("pymongo.errors.ClientBulkWriteException", ("error",)),
            By("pymongo.errors.OperationFailure", "label", _retryable_write, {
                "RetryableWriteError": Verdict.unsure(reason="the driver would try again"),
            }),
            By("pymongo.errors.OperationFailure", "code", _code, {
                **_CODE,
                **{f"{code}, in part": _in_doubt(_CODE[code]) for code in (112, 134, 462)},
            }, otherwise=Verdict.permanent(), hint=_seconds),
        ),
        # Before there is a server.
        By("pymongo.errors.ConfigurationError", "said:", _text, {
            "The resolution lifetime expired*": Verdict.transient(reason="DNS did not answer"),
            "All nameservers failed*": Verdict.transient(reason="DNS did not answer"),
        }, otherwise=Verdict.permanent("misconfigured")),
        By("pymongo.errors.EncryptionError", "because of", _cause, {
            "a connection": Verdict.unsure(reason="a key could not be got, before the command or after it"),
        }),
    ),
    source="https://github.com/mongodb/specifications/tree/master/source",
)  # fmt: skip
