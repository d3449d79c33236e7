"""git row by row: the real program, against servers that misbehave and repositories that are in use."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.core.tables.proving import Proof
from tests.servers.http import (
    Answer,
    babble,
    cut_off,
    free_port,
    hang_up,
    reset,
    says,
    says_raw,
    serving,
    stall,
    untrusted,
)
from tests.servers.process import program


RUN = "subprocess.CalledProcessError"
GIT = f"{RUN}, git:"
ASKING = f"{RUN}, git asking: HTTP"
SENDING = f"{RUN}, git sending: HTTP"

ENGLISH = {"LC_ALL": "C"}
#: Nobody's settings but the test's own, and nobody to ask for a password.
ALONE = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "LC_", "LANG", "SSH_"))},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_SSH_COMMAND": "ssh -F none -o BatchMode=yes -o ConnectTimeout=1",
}
#: Give up on a server that says nothing.
IMPATIENT = ("-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=1")


class Repository:
    """A real one, in which git is run."""

    def __init__(self, path: Path) -> None:
        self.git = program("git")
        self.path = path
        path.mkdir()
        self.run("init", "-q", "-b", "main")
        self.run("commit", "-q", "--allow-empty", "-m", "first")

    def run(self, *words: str, env: dict[str, str] = ENGLISH, **options: Any) -> subprocess.CompletedProcess[Any]:
        options = {"text": True, "cwd": self.path, **options}
        return subprocess.run(
            [self.git, *words], check=True, capture_output=True, env={**ALONE, **env}, timeout=30, **options
        )

    def error(self, *words: str, **options: Any) -> subprocess.CalledProcessError:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            self.run(*words, **options)
        return caught.value

    def locked(self, name: str) -> Path:
        """What another git leaves there while it works."""
        lock = self.path / ".git" / f"{name}.lock"
        lock.touch()
        return lock


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def remote(repository: Repository) -> Path:
    """Another one, that can be pushed to; it is one commit behind."""
    path = repository.path.with_name("remote")
    repository.run("clone", "-q", "--bare", str(repository.path), str(path))
    repository.run("commit", "-q", "--allow-empty", "-m", "second")
    return path


def hook(remote: Path, name: str, script: str) -> None:
    path = remote / "hooks" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


#: What may be in the way of a fetch or a push before it begins, as arguments before and after the URL.
FETCH, PUSH = (("fetch",), ()), (("push",), ("HEAD:main",))


# -- before the first question -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [FETCH, PUSH], ids=["fetch", "push"])
@pytest.mark.parametrize("scheme", ["http", "https", "git", "ssh"])
def test_refused(proof: Proof, repository: Repository, words: Any, scheme: str) -> None:
    """Nobody listens."""
    if scheme == "ssh":
        program("ssh")
    before, after = words
    error = repository.error(*before, f"{scheme}://127.0.0.1:{free_port()}/it", *after)
    proof.server(error, f"{GIT} could not connect", "transient")


@pytest.mark.parametrize("scheme", ["http", "git", "ssh"])
def test_unknown_host(proof: Proof, repository: Repository, scheme: str) -> None:
    """Of HTTP git does not say whether the name is unknown, or DNS did not answer; of the others it does."""
    if scheme == "ssh":
        program("ssh")
    error = repository.error("fetch", f"{scheme}://nobody.invalid/it")
    if scheme == "http" or "Temporary failure" in error.stderr:  # a machine without DNS
        proof.server(error, f"{GIT} could not resolve the host", "transient")
    else:
        proof.server(error, f"{GIT} unknown host", "permanent")


@pytest.mark.parametrize("words", [FETCH, PUSH], ids=["fetch", "push"])
@pytest.mark.parametrize("answer", [hang_up, reset, cut_off], ids=["hung up", "reset", "cut off"])
def test_the_first_question_is_not_answered(proof: Proof, repository: Repository, words: Any, answer: Answer) -> None:
    """Of a push, nothing was sent but the question which refs there are."""
    before, after = words
    with serving(answer) as server:
        error = repository.error(*before, f"{server.url}/it", *after)
    proof.server(error, f"{GIT} could not ask", "transient")


def test_the_first_question_is_answered_too_slowly(proof: Proof, repository: Repository) -> None:
    with serving(stall) as server:
        error = repository.error(*IMPATIENT, "push", f"{server.url}/it", "HEAD:main")
    proof.server(error, f"{GIT} could not ask", "transient")


def test_ssh_hangs_up_before_it_is_ssh(proof: Proof, repository: Repository) -> None:
    """Or says nothing: a password, let alone a push, comes after that."""
    program("ssh")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closing = threading.Thread(target=lambda: listener.accept()[0].close())
        closing.start()
        error = repository.error("push", f"ssh://nobody@127.0.0.1:{listener.getsockname()[1]}/it", "HEAD:main")
        closing.join()
        assert "kex_exchange_identification" in error.stderr
        proof.server(error, f"{GIT} could not ask", "transient")
        error = repository.error("push", f"ssh://nobody@127.0.0.1:{listener.getsockname()[1]}/it", "HEAD:main")
        assert "banner exchange" in error.stderr
        proof.server(error, f"{GIT} could not ask", "transient")


@pytest.mark.parametrize("words", [FETCH, PUSH], ids=["fetch", "push"])
@pytest.mark.parametrize(
    ("status", "kind", "throttled"),
    [
        *((429, "transient", True), (503, "transient", True), (529, "transient", True)),
        *((status, "transient", False) for status in (408, 425, 500, 502, 504)),
    ],
)
def test_the_first_answer_is_a_status(
    proof: Proof, repository: Repository, words: Any, status: int, kind: str, throttled: bool
) -> None:
    """Nothing was pushed, so nothing was done, whatever went wrong over there."""
    before, after = words
    with serving(says(status)) as server:
        error = repository.error(*before, f"{server.url}/it", *after)
    proof.server(error, f"{ASKING} {status}", kind, throttled=throttled)


@pytest.mark.parametrize("status", [400, 403, 407, 410])
def test_the_first_answer_is_no(proof: Proof, repository: Repository, status: int) -> None:
    with serving(says(status)) as server:
        error = repository.error("fetch", f"{server.url}/it")
    proof.server(error, f"{RUN}, any other git asking: HTTP", "permanent")


@pytest.mark.parametrize(("said", "after"), [("please try again in 7 seconds", 7.0), ("please try again later", None)])
def test_git_says_when(proof: Proof, said: str, after: float | None) -> None:
    """The words of a later git than may be here."""
    said = f"fatal: rate limited by 'http://example.org/it/', {said}\n"
    error = subprocess.CalledProcessError(128, ["git", "fetch"], stderr=said)
    proof.constructor(error, f"{ASKING} 429", "transient", throttled=True, after=after, because="git 2.54 or later")


# -- later questions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def first_answer(repository: Repository, remote: Path) -> Callable[[str], Answer]:
    """What a server answers to the first question; a real git says which refs there are."""

    def answer(service: str) -> Answer:
        refs = repository.run(service, "--http-backend-info-refs", str(remote), text=False).stdout
        line = f"# service=git-{service}\n".encode()
        body = b"%04x" % (len(line) + 4) + line + b"0000" + refs
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-{service}-advertisement\r\n"
        return says_raw(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)

    return answer


@pytest.fixture(params=["push", "clone"])
def sending(
    request: pytest.FixtureRequest, repository: Repository, first_answer: Callable[[str], Answer], tmp_path: Path
) -> Callable[..., subprocess.CalledProcessError]:
    """The error of a push, or of a clone, whose first question is answered well and the second so."""

    def error(answer: Answer, *options: str) -> subprocess.CalledProcessError:
        service = "receive-pack" if request.param == "push" else "upload-pack"
        with serving(first_answer(service), answer) as server:
            url = f"{server.url}/it"
            rest = ("push", url, "HEAD:main") if request.param == "push" else ("clone", url, str(tmp_path / "clone"))
            return repository.error(*options, "-c", "protocol.version=0", *rest)

    return error


@pytest.mark.parametrize(
    ("status", "kind", "throttled"),
    [
        *((429, "transient", True), (503, "unsure", True), (529, "unsure", True)),
        *((status, "unsure", False) for status in (408, 425, 500, 502, 504)),
    ],
)
def test_a_later_answer_is_a_status(
    proof: Proof, sending: Callable[..., subprocess.CalledProcessError], status: int, kind: str, throttled: bool
) -> None:
    """What was pushed was sent: as with any other request."""
    proof.server(sending(says(status)), f"{SENDING} {status}", kind, throttled=throttled)


@pytest.mark.parametrize("status", [403, 404, 413])
def test_a_later_answer_is_no(proof: Proof, sending: Callable[..., subprocess.CalledProcessError], status: int) -> None:
    proof.server(sending(says(status)), f"{RUN}, any other git sending: HTTP", "permanent")


def test_a_later_answer_asks_for_a_password(
    proof: Proof, sending: Callable[..., subprocess.CalledProcessError]
) -> None:
    proof.server(sending(says(401)), f"{GIT} not let in", "permanent")


@pytest.mark.parametrize("answer", [hang_up, reset, cut_off, babble], ids=["hung up", "reset", "cut off", "babble"])
def test_a_later_answer_breaks_off(
    proof: Proof, sending: Callable[..., subprocess.CalledProcessError], answer: Answer
) -> None:
    proof.server(sending(answer), f"{GIT} broke off", "unsure")


def test_a_later_answer_is_too_slow(
    proof: Proof, repository: Repository, first_answer: Callable[[str], Answer]
) -> None:
    with serving(first_answer("receive-pack"), stall) as server:
        error = repository.error(*IMPATIENT, "push", f"{server.url}/it", "HEAD:main")
    proof.server(error, f"{GIT} broke off", "unsure")


def test_a_push_that_broke_off_was_applied(proof: Proof, repository: Repository, remote: Path) -> None:
    """The other git was killed after it had taken the push: that is what unsure means."""
    hook(remote, "post-receive", "kill -9 $PPID")
    error = repository.error("push", str(remote), "HEAD:new")
    proof.server(error, f"{GIT} broke off", "unsure")
    assert "new" in repository.run("-C", str(remote), "branch").stdout
    hook(remote, "pre-receive", "kill -9 $PPID")
    error = repository.error("push", str(remote), "HEAD:newer")
    proof.server(error, f"{GIT} broke off", "unsure")
    assert "newer" not in repository.run("-C", str(remote), "branch").stdout


# -- not worth another try ---------------------------------------------------------------------------------------------


def test_not_let_in(proof: Proof, repository: Repository) -> None:
    """Without a password, with a wrong one, and with a certificate that nobody trusts."""
    with serving(says(401, WWW_Authenticate='Basic realm="it"')) as server:
        proof.server(repository.error("fetch", f"{server.url}/it"), f"{GIT} not let in", "permanent")
        url = server.url.replace("://", "://me:wrong@")
        error = repository.error("push", f"{url}/it", "HEAD:main")
        assert "Authentication failed" in error.stderr
        proof.server(error, f"{GIT} not let in", "permanent")
    with serving(hang_up, ssl_context=untrusted()) as server:
        error = repository.error("fetch", f"{server.url.replace('http', 'https')}/it")
    proof.server(error, f"{GIT} not let in", "permanent")


def test_no_such_repository(proof: Proof, repository: Repository, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    with serving(says(404)) as server:
        errors = [repository.error("clone", f"{server.url}/it", nowhere)]
    errors += [
        repository.error("fetch", nowhere),
        repository.error("clone", nowhere, nowhere),
        repository.error("status", cwd=tmp_path, env={**ENGLISH, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}),
    ]
    for error in errors:
        proof.server(error, f"{GIT} no such repository", "permanent")


def test_no_such_ref(proof: Proof, repository: Repository, remote: Path, tmp_path: Path) -> None:
    for words in (
        ("fetch", str(remote), "nothing"),
        ("clone", "-b", "nothing", str(remote), str(tmp_path / "clone")),
        ("push", str(remote), "nothing"),
        ("checkout", "nothing"),
        ("rev-parse", "nothing"),
    ):
        proof.server(repository.error(*words), f"{GIT} no such ref", "permanent")


def test_in_the_way(proof: Proof, repository: Repository, remote: Path) -> None:
    """A branch of that name's first half; a directory that is not empty."""
    proof.server(repository.error("branch", "main/more"), f"{GIT} in the way", "permanent")
    proof.server(repository.error("clone", str(remote), str(repository.path)), f"{GIT} in the way", "permanent")


def test_rejected(proof: Proof, repository: Repository, remote: Path) -> None:
    """The same push again would be rejected again. What a hook says of its own troubles is not git's."""
    repository.run("push", str(remote), "HEAD:main")
    repository.run("commit", "--amend", "--allow-empty", "-m", "other")
    proof.server(repository.error("push", str(remote), "HEAD:main"), f"{GIT} rejected", "permanent")
    hook(remote, "pre-receive", "echo 'fatal: unable to connect to the tests'; exit 1")
    error = repository.error("push", "-f", str(remote), "HEAD:main")
    assert "remote: fatal: unable to connect" in error.stderr
    proof.server(error, f"{GIT} rejected", "permanent")


# -- in use by another git ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("add", "file"), ("commit", "--allow-empty", "-m", "more"), ("reset", "--hard")])
def test_the_index_is_locked(proof: Proof, repository: Repository, words: tuple[str, ...]) -> None:
    """Another git is at work, or left its lock behind: nothing has been done, and the next try finds it gone."""
    (repository.path / "file").touch()
    before = repository.run("status", "--porcelain").stdout
    lock = repository.locked("index")
    error = repository.error(*words)
    proof.server(error, f"{GIT} the index is locked", "transient")
    assert repository.run("status", "--porcelain").stdout == before
    lock.unlink()
    repository.run(*words)


def test_a_command_in_several_steps_may_have_done_some(proof: Proof, repository: Repository) -> None:
    """This one has made its first commit when it meets the lock."""
    lock = str(repository.locked("index"))
    step = f"!git commit --allow-empty -m step && touch '{lock}' && git commit --allow-empty -m more"
    Path(lock).unlink()
    error = repository.error("-c", f"alias.twice={step}", "twice")
    proof.server(error, f"{GIT} perhaps in part", "unsure")
    assert "step" in repository.run("log").stdout


def test_a_hook_that_comes_afterwards_is_not_the_command(proof: Proof, repository: Repository) -> None:
    """It ends as its hook does, in whose way the lock is; it has done what it is there for."""
    lock = repository.path / ".git" / "index.lock"
    hook(repository.path / ".git", "post-checkout", f"touch '{lock}'; git add .")
    error = repository.error("checkout", "-b", "new")
    proof.server(error, f"{GIT} perhaps in part", "unsure")
    assert "new" in repository.run("branch").stdout


def test_one_of_several_remotes_may_have_got_it(proof: Proof, repository: Repository, remote: Path) -> None:
    """A push goes to each of them in turn."""
    repository.run("remote", "add", "both", str(remote))
    repository.run("remote", "set-url", "--add", "--push", "both", str(remote))
    repository.run("remote", "set-url", "--add", "--push", "both", f"http://127.0.0.1:{free_port()}/it")
    for quiet in ((), ("-q",), ("--quiet",)):
        error = repository.error("push", *quiet, "both", "HEAD:new")
        proof.server(error, f"{GIT} perhaps in part", "unsure")
    assert "new" in repository.run("-C", str(remote), "branch").stdout


def test_all_of_several_remotes_may_be_hopeless(proof: Proof, repository: Repository) -> None:
    """A status that is not worth another try is not made better by the number of steps."""
    with serving(says(403)) as server:
        repository.run("remote", "add", "it", f"{server.url}/it")
        error = repository.error("remote", "update")
    proof.server(error, f"{RUN}, any other git asking: HTTP", "permanent")
    with serving(says(503)) as server:
        repository.run("remote", "set-url", "it", f"{server.url}/it")
        error = repository.error("remote", "update")
    proof.server(error, f"{GIT} perhaps in part", "unsure")


def test_something_else_is_locked(proof: Proof, repository: Repository, remote: Path) -> None:
    """A ref, here or over there, or the configuration: a command may have written others before it."""
    for name, words in {
        "refs/heads/new": ("branch", "new"),
        "config": ("remote", "add", "it", str(remote)),
        "HEAD": ("checkout", "-b", "newer"),
        "shallow": ("fetch", "--depth=1", remote.as_uri()),
    }.items():
        lock = repository.locked(name)
        proof.server(repository.error(*words), f"{GIT} locked", "unsure")
        lock.unlink()
    (remote / "refs" / "heads" / "main.lock").touch()
    proof.server(repository.error("push", str(remote), "HEAD:main"), f"{GIT} locked", "unsure")


# -- what nobody knows -------------------------------------------------------------------------------------------------


def test_other_languages_are_unknown(proof: Proof, repository: Repository) -> None:
    """What git does not say in English says nothing."""
    words = ("fetch", f"http://127.0.0.1:{free_port()}/it")
    error = repository.error(*words, env={"LC_ALL": "C.UTF-8", "LANGUAGE": "de"})
    if "fatal: " in error.stderr:
        pytest.skip("git speaks no German here")
    proof.unknown(error)


def test_what_was_not_captured_is_unknown(proof: Proof, repository: Repository) -> None:
    url = f"http://127.0.0.1:{free_port()}/it"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        subprocess.run(
            [repository.git, "fetch", url], cwd=repository.path, check=True, stderr=subprocess.DEVNULL, env=ALONE
        )
    proof.unknown(caught.value)


def test_mistakes_of_the_program_are_unknown(proof: Proof, repository: Repository) -> None:
    for words in (("status", "--nonsense"), ("nonsense",), ("commit", "-m", "nothing to commit")):
        proof.unknown(repository.error(*words))


REFUSED = "fatal: unable to access 'http://127.0.0.1:1/it/': Failed to connect to 127.0.0.1 port 1\n"


@pytest.mark.parametrize(
    "command",
    [
        ["git", "fetch"],
        ("git", "-C", "/somewhere", "-c", "a=b", "--no-pager", "fetch", "origin"),
        ["/usr/bin/git", "fetch"],
        [Path("/usr/bin/git"), "fetch"],
        ["C:\\Program Files\\Git\\cmd\\git.exe", "fetch"],
        ["env", "LC_ALL=C", "git", "fetch"],
        "git fetch origin",
        "LC_ALL=C git -C here fetch",
        "'/usr/bin/git' fetch",
        b"git fetch",
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "stderr", [REFUSED, REFUSED.encode(), "Counting objects: 10%\r" + REFUSED], ids=["str", "bytes", "progress"]
)
def test_git_in_every_way_it_is_run(proof: Proof, command: Any, stderr: Any) -> None:
    error = subprocess.CalledProcessError(128, command, stderr=stderr)
    proof.constructor(error, f"{GIT} could not connect", "transient", because="the same words")


@pytest.mark.parametrize(
    "command",
    [
        *(
            ["curl", "http://127.0.0.1:1"],
            ["echo", "git", "fetch"],
            ["sudo", "git", "fetch"],
            ["gitk"],
            "digit fetch",
            [],
            "",
        ),
        *(
            "git commit -m more && git push",
            "git push; git push elsewhere",
            "git fetch | tail",
            "cd here\ngit fetch",
            "git push $(here)",
        ),
        *(None, 7, ["LC_ALL=C"], [None]),
    ],
    ids=repr,
)
def test_what_is_not_git_alone_is_unknown(proof: Proof, command: Any) -> None:
    """Another program, or several commands of a shell: nobody knows whose words these are, or what went before."""
    proof.unknown(subprocess.CalledProcessError(128, command, stderr=REFUSED))


@pytest.mark.parametrize(
    "stderr", [None, "", b"", 7, ["fatal"], b"\xff\xfe", "remote: " + REFUSED, "  " + REFUSED], ids=repr
)
def test_words_that_are_not_gits_are_unknown(proof: Proof, stderr: Any) -> None:
    proof.unknown(subprocess.CalledProcessError(128, ["git", "fetch"], stderr=stderr))


@pytest.mark.parametrize(
    ("said", "row", "kind"),
    [
        ("git@example.org: Permission denied (publickey).", "not let in", "permanent"),
        ("Host key verification failed.", "not let in", "permanent"),
        ("ERROR: Repository not found.", "no such repository", "permanent"),
        ("fatal: remote error: access denied or repository not exported: /it", "no such repository", "permanent"),
        ("client_loop: send disconnect: Broken pipe", "broke off", "unsure"),
        ("fatal: early EOF", "broke off", "unsure"),
        ("error: cannot lock ref 'refs/heads/main': is at 1234 but expected 5678", "locked", "unsure"),
        (
            " ! [remote rejected] main -> main (cannot lock ref 'refs/heads/main': is at 1 but expected 2)",
            "locked",
            "unsure",
        ),
        ("fatal: the remote end hung up upon initial contact", "could not ask", "transient"),
    ],
)
def test_what_only_an_ssh_server_would_say(proof: Proof, said: str, row: str, kind: str) -> None:
    """Words of rows that other tests prove."""
    said += "\nfatal: Could not read from remote repository.\n"
    error = subprocess.CalledProcessError(128, ["git", "push"], stderr=said)
    proof.constructor(error, f"{GIT} {row}", kind, because="the words of an SSH server")
