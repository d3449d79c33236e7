"""Show that every public symbol has a known type: `pyright --verifytypes`, which must say 100 %."""

import re
import subprocess
import sys
import tempfile


def main() -> int:
    """Run it from an empty folder: from one that shadows the package it silently reports 0 %."""
    with tempfile.TemporaryDirectory() as folder:
        found = subprocess.run(
            ["pyright", "--verifytypes", "resilience", "--ignoreexternal"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    score = re.search(r"Type completeness score: ([\d.]+)%", found.stdout)
    print(score[0] if score else found.stdout + found.stderr)
    if score is None or float(score[1]) < 100:
        print(found.stdout)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
