"""Show that changelog and version agree: a release has its section, and work towards one an Unreleased section."""

import re
import sys
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Compare the first heading of the changelog with the version."""
    text = (ROOT / "src/resilience/_version.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'__version__ = "(.+)"', text)
    first = next(
        iter(re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)), "nothing"
    )
    expected = "Unreleased" if "dev" in version else version
    if first != expected:
        print(f"changelog: version {version} wants a first section [{expected}], found [{first}]", file=sys.stderr)
        return 1
    print(f"changelog: [{first}] agrees with version {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
