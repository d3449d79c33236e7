"""git, run as ``subprocess.run(["git", ...], check=True, capture_output=True)``: what it said on stderr.

git ends with 128, or 1, whatever the matter is, so its words decide, and ssh's. They count in output that was captured,
at the beginning of a line (a server's hooks speak behind "remote:"), and in English: without ``LC_ALL=C`` in the
environment nothing is known. Words that are not in this table mean nothing.

What fails before git has an answer to its first question of the server had no effect; nor had what waits for the lock
of the index before it begins: transient, of the commands that do all that they do at once. Commands in several steps,
aliases and lists of remotes may have done a part, and with ``--quiet`` none says so: unsure. So is what broke off.

git tries nothing again by itself; from 2.54 on a first question that got 429, where `http.maxRetries` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from attrs import evolve

from resilience._core.rows import By, Table
from resilience._core.tables.http import STATUS
from resilience._core.verdict import Verdict, VerdictKind


__all__ = ["TABLE"]

_RUN = "subprocess.CalledProcessError"
_ACCESS = r"^fatal: unable to access 'https?:.*': "
_NO_SUCH_NAME = r"(?:Name or service not known|nodename nor servname provided|No address associated with hostname)"
_SSH = r"^ssh: connect to host .*: "

#: Looked for in this order; the permanent ones first, for one of several remotes may be hopeless.
_HOPELESS = {
    "not let in": (
        r"^fatal: Authentication failed",
        r"^fatal: could not read (?:Username|Password) for",
        r"^\S*: Permission denied \(",
        r"^Host key verification failed",
        _ACCESS + r"(?:SSL certificate problem|server certificate verification failed)",
        _ACCESS + r"SSL: .*certificate subject name",
        r"^fatal: unable to access 'https?:.*' with http\.pinnedPubkey",
    ),
    "no such repository": (
        r"^fatal: repository '[^'\n]*' (?:not found|does not exist)",
        r"^ERROR: Repository not found",
        r"^fatal: not a git repository",
        r"^fatal: '[^'\n]*' does not appear to be a git repository",
        r"^fatal: remote error: access denied or repository not exported",
    ),
    "no such ref": (
        r"^fatal: couldn't find remote ref",
        r"^fatal: Remote branch .* not found",
        r"^error: src refspec .* does not match any",
        r"^error: pathspec '[^'\n]*' did not match",
        r"^fatal: ambiguous argument '[^'\n]*': unknown revision",
    ),
    "unknown host": (
        r"^ssh: Could not resolve hostname .*: " + _NO_SUCH_NAME,
        r"^fatal: unable to look up .*\(" + _NO_SUCH_NAME,
    ),
    "in the way": (
        r"^(?:fatal|error): .*cannot lock ref '[^'\n]*': '[^'\n]*' exists; cannot create",
        r"^fatal: destination path '[^'\n]*' already exists",
    ),
    # But for what another push at the same moment does to a ref.
    "rejected": (
        r"^ ! \[rejected\]",
        r"^ ! \[remote rejected\] (?!.*\((?:failed to update ref|failed to lock|cannot lock ref|incorrect old value))",
    ),
}
_BROKE_OFF = {
    "broke off": (
        r"^error: RPC failed; (?!HTTP \d)",
        r"^fatal: the remote end hung up unexpectedly",
        r"^fatal: early EOF",
        r"^fatal: protocol error: bad",
        r"^(?:send|fetch)-pack: unexpected disconnect",
        r"^client_loop: send disconnect",
        r"^Connection to .* closed by remote host",
    ),
    # Other refs of the same command may have been written.
    "locked": (
        r"^ ! \[remote rejected\] ",
        r"^(?:fatal|error): .*cannot lock ref '[^'\n]*': is at \w+ but expected",
        r"^(?:fatal|error): could not lock config file .*: File exists",
        r"^(?:fatal|error): .*(?<!/index)\.lock': File exists",
    ),
}
_LOCKED = "the index is locked"
_NOTHING_DONE = {
    # curl does not tell a name that is unknown from a DNS that does not answer.
    "could not resolve the host": (
        _ACCESS + r"(?:Could not|Couldn't) resolve (?:host|proxy)",
        r"^ssh: Could not resolve hostname .*: Temporary failure",
        r"^fatal: unable to look up .*\(Temporary failure",
    ),
    "could not connect": (
        _ACCESS + r"(?:Failed to connect|(?:Could not|Couldn't) connect|Connection (?:refused|timed out))",
        r"^fatal: unable to connect to ",
        _SSH + r"(?:Connection refused|(?:Connection|Operation) timed out|No route to host|Network is unreachable)",
    ),
    "could not ask": (
        _ACCESS + r"(?:Empty reply|(?:Recv|Send) failure|Operation (?:too slow|timed out)|transfer closed)",
        _ACCESS + r"(?:.*SSL_ERROR_SYSCALL|GnuTLS recv error)",
        r"^(?:kex|ssh)_exchange_identification: ",
        r"^Connection timed out during banner exchange",
        r"^fatal: the remote end hung up upon initial contact",
    ),
    _LOCKED: (r"^(?:fatal|error): Unable to create '[^'\n]*/index\.lock': File exists",),
}
#: What is said of the server's first answer to git, and of a later one.
_ASKING = re.compile(_ACCESS + r"The requested URL returned error: (\d{3})", re.MULTILINE)
#: In the words of git 2.54 and later.
_LIMITED = re.compile(r"^fatal: rate limited by '[^'\n]*', please try again (?:later|in (\d+) seconds)", re.MULTILINE)
_SENDING = re.compile(r"^error: RPC failed; HTTP (\d{3})", re.MULTILINE)

#: These lock the index before they do anything else, and those ask the server; and do nothing after that but what they
#: are there for. (Of `checkout` and `switch`, a hook that comes afterwards decides how they end.)
_LOCKING = {"add", "apply", "commit", "merge", "mv", "read-tree", "reset", "restore", "rm", "update-index"}
_REMOTE = {"clone", "fetch", "ls-remote", "pull", "push"}
#: What git says when it is through with one remote, or begins with the next repository; and who is told not to.
_DONE = re.compile(r"^(?:To|From|Submodule|Fetching|Pushing submodule) |^fatal: clone of '", re.MULTILINE)
_TELLING, _QUIET = {"fetch", "pull", "push"}, {"-q", "--quiet"}
#: What the shell makes several commands of.
_SHELL = re.compile(r"[;&|\n`]|\$\(")
#: Options of git itself whose value is a word of its own.
_WITH_VALUE = {"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--exec-path", "--config-env", "--super-prefix"}

_MOST_SAID = 20_000
_IN_PART = "perhaps in part"
_ASKED: Mapping[int, Verdict] = {status: evolve(said, kind=VerdictKind.TRANSIENT) for status, said in STATUS.items()}


def _command(command: Any) -> list[str] | None:
    """What git was told, from its subcommand on; None if it is not git that was run."""
    text = command.decode(errors="replace") if isinstance(command, bytes) else command
    words: list[str] = []
    if isinstance(text, str):
        words = [] if _SHELL.search(text) else text.split()
    elif isinstance(text, (list, tuple)):
        words = [str(word) for word in cast("Sequence[object]", text)]
    names = [re.split(r"[/\\]", word.strip("'\""))[-1].removesuffix(".exe") for word in words]
    git = next((place for place, name in enumerate(names) if name != "env" and "=" not in words[place]), None)
    if git is None or names[git] != "git":
        return None
    rest = words[git + 1 :]
    while rest and rest[0].startswith("-"):
        del rest[: 2 if rest[0] in _WITH_VALUE else 1]
    return rest


def _stderr(error: Any) -> str | None:
    """What git said; None if it was not git, or nobody kept it. Of much of it the end, where git says why it ended."""
    said = error.stderr[-_MOST_SAID:] if isinstance(error.stderr, (str, bytes)) else None
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return text.replace("\r", "\n") if isinstance(text, str) and _command(error.cmd) is not None else None


def _find(words: Mapping[str, tuple[str, ...]]) -> Callable[[Any], str | None]:
    """The fact which of these git said."""
    patterns = {name: re.compile("|".join(said), re.MULTILINE) for name, said in words.items()}

    def said(error: Any) -> str | None:
        text = _stderr(error)
        return (
            None if text is None else next((name for name, pattern in patterns.items() if pattern.search(text)), None)
        )

    return said


def _status(pattern: re.Pattern[str]) -> Callable[[Any], int | None]:
    """The fact which HTTP status git spoke of."""

    def status(error: Any) -> int | None:
        found = pattern.search(_stderr(error) or "")
        return None if found is None else int(found[1])

    return status


_nothing_done = _find(_NOTHING_DONE)


def _asked(error: Any) -> int | None:
    """The HTTP status of the server's first answer."""
    return 429 if _LIMITED.search(_stderr(error) or "") else _status(_ASKING)(error)


def _seconds(error: Any, _wall: Callable[[], float]) -> float | None:
    """What the server asked for, where git passes it on."""
    limited = _LIMITED.search(_stderr(error) or "")
    return float(limited[1]) if limited is not None and limited[1] else None


def _in_part(error: Any) -> str | None:
    """Whether something may have been done before what has had no effect."""
    reason = _nothing_done(error)
    if reason is None and _asked(error) not in _ASKED:
        return None
    words = _command(error.cmd) or [""]
    if reason == _LOCKED:
        whole = words[0] in _LOCKING
    else:
        whole = words[0] in _REMOTE and (words[0] not in _TELLING or _QUIET.isdisjoint(words))
    return None if whole and not _DONE.search(_stderr(error) or "") else _IN_PART


TABLE = Table(
    "git",
    (
        By(_RUN, "git:", _find(_HOPELESS), {name: Verdict.permanent(name) for name in _HOPELESS}),
        By(_RUN, "git sending: HTTP", _status(_SENDING), STATUS, otherwise=Verdict.permanent()),
        By(_RUN, "git:", _find(_BROKE_OFF), {name: Verdict.unsure(reason=name) for name in _BROKE_OFF}),
        By(_RUN, "git:", _in_part, {_IN_PART: Verdict.unsure(reason=_IN_PART)}),
        By(_RUN, "git asking: HTTP", _asked, _ASKED, otherwise=Verdict.permanent(), hint=_seconds),
        By(_RUN, "git:", _nothing_done, {name: Verdict.transient(reason=name) for name in _NOTHING_DONE}),
    ),
    source="https://git-scm.com/docs",
)
