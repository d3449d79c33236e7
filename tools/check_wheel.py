"""Build wheel and sdist, and use the wheel where nothing but its own dependencies is installed."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
TOUR = """
import importlib.resources, sys
import resilience
from resilience import deadline, retry, transient
from resilience.testing import Script, virtual_time
assert importlib.resources.files("resilience").joinpath("py.typed").is_file()
assert "asyncio" not in sys.modules or "resilience.testing" in sys.modules
script = Script(ConnectionRefusedError(), "here")
with virtual_time() as clock, deadline(10.0):
    assert retry(on=transient).call(script) == "here"
assert len(clock.waits) == 1
foreign = {name.partition(".")[0] for name in sys.modules} & {"redis", "psycopg", "trio", "structlog", "hypothesis", "rich"}
assert not foreign, foreign
print("wheel:", resilience.__version__, "works without extras")
"""


def main() -> int:
    """Build into a temporary folder, install into a fresh environment, run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "dist"
        run(sys.executable, "-m", "build", "--outdir", str(out), str(ROOT), quiet=True)
        (wheel,) = out.glob("*.whl")
        (sdist,) = out.glob("*.tar.gz")
        home = Path(folder) / "venv"
        venv.create(home, with_pip=True)
        python = str(next((home / "bin").glob("python3"), home / "Scripts" / "python.exe"))
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel), quiet=True)
        run(python, "-W", "error", "-c", TOUR, cwd=folder)
        print("sdist:", sdist.name)
    return 0


def run(*command: str, cwd: str | None = None, quiet: bool = False) -> None:
    """Run a command; show what it printed if it failed, or if it is to be shown."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode or not quiet:
        print(done.stdout, done.stderr, sep="", end="")
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
