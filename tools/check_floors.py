"""Show that the floors' contracts can fail: plant `import time` in `_core`, and an upward import, in a copy."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
PLANTS = {
    "_core/backoff.py": "import time\n",
    "_core/budget.py": "from resilience._io import world\n",
    "_io/call.py": "import asyncio\n",
}


def broken(copy: Path) -> bool:
    """Whether import-linter refuses the package in `copy`."""
    found = subprocess.run(
        ["lint-imports", "--no-cache"], cwd=copy, env=environment(copy), capture_output=True, text=True, check=False
    )
    return found.returncode != 0 and "BROKEN" in found.stdout


def environment(copy: Path) -> dict[str, str]:
    """This environment, with the copy found before the installed package."""
    import os

    return {**os.environ, "PYTHONPATH": str(copy / "src")}


def main() -> int:
    """Plant each fault alone; every one must be seen, and the clean copy must not."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "src", copy / "src")
        shutil.copy(ROOT / "pyproject.toml", copy)
        if broken(copy):
            print("floors: the contracts refuse the package as it is", file=sys.stderr)
            return 1
        for name, plant in PLANTS.items():
            file = copy / "src" / "resilience" / name
            clean = file.read_text(encoding="utf-8")
            file.write_text(
                clean.replace(
                    "from __future__ import annotations\n", f"from __future__ import annotations\n{plant}", 1
                ),
                encoding="utf-8",
            )
            seen = broken(copy)
            file.write_text(clean, encoding="utf-8")
            if not seen:
                print(f"floors: {plant.strip()!r} planted in {name} was not seen", file=sys.stderr)
                return 1
    print(f"floors: {len(PLANTS)} planted imports, each refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
