"""Pictures of the step page and the training replay for the README, light and dark, in the browser that the tests use.

python examples/draw_graph.py --out examples/gallery
python examples/replay.py --out examples/gallery
python examples/screenshots.py examples/gallery

Needs Chromium (apt install chromium).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "viz"))
import browser

SHARPNESS = 1.25  # the README shows a picture at a width of about 830


class Shot(NamedTuple):
    width: int
    height: int  # 0: all of the page
    address: str  # what the page shows
    script: str = ""


SHOTS = {
    "walk": Shot(1100, 760, "#step=14&token=q4", "document.querySelector('footer').hidden = true; fit()"),
    "replay": Shot(1040, 0, "#step=70&query=3&key=3", "document.querySelector('footer').hidden = true"),
}


def shoot(b: browser.Browser, page: Path, shot: Shot, picture: Path) -> None:
    dark = picture.stem.endswith("_dark")
    b.size(shot.width, shot.height or 100, dark=dark, scale=SHARPNESS)
    b.open(page, shot.address)
    height = shot.height or b("document.documentElement.scrollHeight")
    b.size(shot.width, height, dark=dark, scale=SHARPNESS)
    b(shot.script or "0")
    b.screenshot(picture)


def main(argv: list[str] | None = None) -> list[Path]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where walk.html and replay.html are, and the pictures go")
    folder = parser.parse_args(argv).folder
    program = browser.find()
    if program is None:
        sys.exit("no pictures: no Chromium here (apt install chromium)")
    written = []
    b = browser.Browser(program)
    for name, shot in SHOTS.items():
        for picture in (folder / f"{name}.png", folder / f"{name}_dark.png"):
            shoot(b, folder / f"{name}.html", shot, picture)
            print(f"{picture.stat().st_size / 1000:6.1f} kB  {picture}")
            written.append(picture)
    b.close()
    return written


if __name__ == "__main__":
    main()
