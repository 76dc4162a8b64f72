"""Write the softmax lab, and pictures of it, light and dark, for the README.

python examples/draw_lab.py --out examples/gallery

The pictures are taken in the browser that the tests use, Chromium; without it, only the page is written.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from minigrad import viz

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "viz"))
import browser

WIDTH, SHARPNESS = 1020, 1.25  # the README shows it at a width of about 830
PART = """
cards.forEach((c) => { c.card.hidden = !["softmax", "sparsemax", "hardmax"].includes(c.n.op); });
document.querySelectorAll(".jacobian, .check, footer").forEach((e) => { e.hidden = true; });
"""  # three normalizers, and of these what fits on a picture


def take_pictures(page: Path, program: str) -> list[Path]:
    pictures = [page.with_name("lab.png"), page.with_name("lab_dark.png")]
    b = browser.Browser(program)
    for picture in pictures:
        b.size(WIDTH, 100, dark="dark" in picture.name, scale=SHARPNESS)
        b.open(page)
        b(PART)
        b.size(WIDTH, b("document.documentElement.scrollHeight"), dark="dark" in picture.name, scale=SHARPNESS)
        b.screenshot(picture)
    b.close()
    return pictures


def main(argv: list[str] | None = None) -> list[Path]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where files go (default out/)")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    written = [viz.lab(args.out / "lab.html")]
    program = browser.find()
    if program is None:
        print("no pictures: no Chromium here (apt install chromium)")
    else:
        written += take_pictures(written[0], program)
    for path in written:
        print(f"{path.stat().st_size / 1000:6.1f} kB  {path}")
    return written


if __name__ == "__main__":
    main()
