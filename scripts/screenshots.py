"""Take the pictures of ``docs/images``: the listening room and a report, in Debian's chromium.

Run it from the root of the repository on a run that keeps a probe (``antiphon probe RUN DATA
--save``)::

    python scripts/screenshots.py runs/demo demo --other ~/Music --drop song.mp3

The run is copied first: nothing is written into it.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from antiphon.files import read_json
from antiphon.listen.room import Room, prepare
from antiphon.listen.server import make_app
from antiphon.look import look
from antiphon.look._parts import SURE
from antiphon.report import report

IMAGES = Path(__file__).parents[1] / "docs/images"
DESK, TALL, PHONE = (1280, 800), (1280, 1080), (390, 844)
NOTE = "An example of a note: what these segments have in common, in words."


def telling(looked: Path) -> int:
    """The feature whose top segments share a label most surely, of all: by the q of ``look``."""
    about = read_json(looked / "look.json")["parts"]["occurrence"]
    if about["left_out"]:
        return 0
    table = pq.read_table(looked / about["file"], columns=["feature", "p", "q"])
    surest = int(np.nanargmin(table["p"].to_numpy()))  # dead features have none
    feature, q = int(table["feature"][surest].as_py()), float(table["q"][surest].as_py())
    said = "beyond chance" if q <= SURE else "no feature is beyond chance"
    print(f"feature {feature}: q {q:.3g}, {said}")
    return feature


def serve(room: Room) -> str:
    """Start the room in a thread; its address."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(room), log_level="warning"))
    threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    return f"http://127.0.0.1:{bound.getsockname()[1]}/"


def opened(browser: Browser, address: str, size: tuple[int, int], **how: Any) -> Page:
    """A page of that size, that has come to rest."""
    width, height = size
    page = browser.new_page(viewport={"width": width, "height": height}, **how)
    page.goto(address)
    page.wait_for_load_state("networkidle")
    return page


def keep(page: Page, name: str) -> None:
    """The picture, in few colours, as a small file."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(700)
    store(name, page.screenshot())
    page.close()


def store(name: str, png: bytes) -> None:
    """A picture in few colours."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    path = IMAGES / f"{name}.png"
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {image.width} x {image.height}, {path.stat().st_size / 1000:.0f} kB")


def learned(browser: Browser, page: Path) -> None:
    """The report's section "What it has learned": two of its figures."""
    shown = opened(browser, page.as_uri(), DESK, device_scale_factor=1.5)
    for name, article in (("labels", "Tags of the top segments"), ("filters", "Filter spectra")):
        png = shown.locator(f'#look article[aria-label="{article}"]').screenshot()
        store(f"report-{name}", png)
    shown.close()


def desk(browser: Browser, address: str, feature: int, drop: Path | None) -> None:
    """The views at a desk."""

    def room(place: str, size: tuple[int, int] = DESK, **how: Any) -> Page:
        return opened(browser, f"{address}#{place}", size, device_scale_factor=1.5, **how)

    page = room(f"feature?feature={feature}", TALL)
    page.locator("#note-text").fill(NOTE)
    page.locator("#note-by").fill("Clara")
    page.get_by_role("button", name="Save the note").click()
    page.wait_for_selector("#filter svg")
    page.locator("#tops button.play").nth(1).click()
    page.evaluate("scrollTo(0, 0)")
    keep(page, "room-feature")

    columns = ",".join(str(abs(feature - n)) for n in (3, 9))
    page = room(f"table?feature={feature}&with={columns}")
    for n in (1, 4):
        page.locator("#rows-body button.mark").nth(n).click()
    page.get_by_label("Whole track").check(force=True)
    page.locator("#rows-body button.play").nth(2).click()
    keep(page, "room-table")

    page = room(f"map?feature={feature}", color_scheme="dark")
    page.locator("#map-plane .sign").nth(30).click(timeout=120_000)
    page.mouse.move(0, 0)
    keep(page, "room-map")

    page = room(f"blind?feature={feature}")
    page.locator("#blind-by").fill("Clara")
    page.get_by_role("button", name="Begin").click()
    page.locator(".judge button.play").first.click()
    for answer in "yxyx":
        page.keyboard.press(answer)
        page.keyboard.press("n")
    keep(page, "room-blind")

    if drop:
        page = room(f"file?feature={feature}", TALL)
        page.locator("#file-field").set_input_files(drop)
        page.wait_for_selector("#file-map .own", timeout=120_000)
        page.get_by_label("Whole track").check(force=True)
        page.locator("#file-result button.play").first.click()
        keep(page, "room-drop")


def main() -> None:
    """Copy the run, open its room, and look at it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("data")
    parser.add_argument("--other", help="a second data set")
    parser.add_argument("--drop", type=Path, help="a recording to drop on the page")
    parser.add_argument("--feature", type=int, help="default: the one surest of a label")
    parser.add_argument("--only", choices=("room", "report"), help="default: both")
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("there is no chromium here: apt-get install chromium")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = Path(folder) / given.run.resolve().name
        shutil.copytree(given.run, run, ignore=shutil.ignore_patterns("snapshots", "room"))
        looked = look(run, given.data)
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        if given.only != "room":
            page = report(run)
            keep(opened(browser, page.as_uri(), DESK, device_scale_factor=1.5), "report")
            learned(browser, page)
        if given.only != "report":
            address = serve(prepare(run, given.data, given.other))
            feature = telling(looked) if given.feature is None else given.feature
            desk(browser, address, feature, given.drop)
            phone = f"{address}#table?feature={feature}"
            shown = opened(browser, phone, PHONE, device_scale_factor=2)
            shown.locator("#rows-body button.play").nth(1).click()
            keep(shown, "room-phone")
        browser.close()


if __name__ == "__main__":
    main()
