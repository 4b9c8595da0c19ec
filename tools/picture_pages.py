"""Take the pictures of the pages in docs/images, at real load; needs Chromium.

python tools/picture_pages.py
"""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from browser.cdp import Browser, Page, chromium  # noqa: E402 -- the tests' own driver
from helpers.service import RunningService  # noqa: E402

PHOTOS = sorted((ROOT / "samples").glob("*.jpg"))
# Long enough that the charts have something to show.
LOAD_S = 75
SEEN = "new Promise((resolve) => setTimeout(resolve, {}))"


def shot(page: Page, name: str) -> None:
    """Write a picture of what is seen."""
    file = ROOT / "docs" / "images" / f"{name}.png"
    page.screenshot(file, whole=False)
    with Image.open(file) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(file, optimize=True)
    print(name)


def main() -> int:
    """Write every picture; exit status 1 where there is no Chromium."""
    program = chromium()
    if program is None:
        print("Chromium is not installed", file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningService(Path(folder) / "data", workers=2) as service,
        Browser(program, Path(folder) / "profile") as browser,
    ):
        for name, view in (("page", {}), ("page-phone", {"width": 390, "height": 844, "dark": True})):
            page = browser.new_page(**view)
            page.open(service.url)
            page.choose_files("#files", PHOTOS)
            page.wait_for(f"document.querySelectorAll('.card[aria-busy=false]').length === {len(PHOTOS)}")
            page.evaluate(SEEN.format(500))
            shot(page, name)
            page.close()
        command = [sys.executable, "-m", "beholder", "load", "--url", f"{service.url}/upload"]
        options = ["--image_folder", str(ROOT / "samples"), "--num_request", "100000", "--concurrency", "6"]
        load = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 -- ours
        try:
            page = browser.new_page(height=1000)
            page.open(f"{service.url}/fleet")
            for second in range(LOAD_S):
                if second == LOAD_S // 2:
                    load.send_signal(signal.SIGSTOP)
                if second == LOAD_S * 2 // 3:
                    load.send_signal(signal.SIGCONT)
                page.evaluate(SEEN.format(1000))
            shot(page, "fleet")
        finally:
            load.send_signal(signal.SIGCONT)
            load.kill()
            load.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
