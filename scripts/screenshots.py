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

import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from antiphon.listen.room import Room, prepare
from antiphon.listen.server import make_app

IMAGES = Path(__file__).parents[1] / "docs/images"
DESK, TALL, PHONE = (1280, 800), (1280, 1080), (390, 844)
NOTE = "An example of a note: what these segments have in common, in words."


def telling(room: Room) -> int:
    """The feature among the first hundred whose top segments share a label most surely."""
    surest = {}
    for n in range(min(100, room.about()["run"]["dim"])):
        tags = room.top(n, 10, 1)[0]["tags"]
        surest[n] = min((tag["q"] for tag in tags), default=1.0)
    return min(surest, key=lambda n: surest[n])


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
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = IMAGES / f"{name}.png"
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {image.width} x {image.height}, {path.stat().st_size / 1000:.0f} kB")
    page.close()


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

    columns = ",".join(str(feature + n) for n in (3, 9))
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
    parser.add_argument("--feature", type=int, help="default: one whose top shares a label")
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("there is no chromium here: apt-get install chromium")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = Path(folder) / given.run.resolve().name
        shutil.copytree(given.run, run, ignore=shutil.ignore_patterns("snapshots", "room"))
        room = prepare(run, given.data, given.other)
        address = serve(room)
        feature = telling(room) if given.feature is None else given.feature
        print(f"feature {feature}")
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        desk(browser, address, feature, given.drop)
        page = opened(browser, f"{address}#table?feature={feature}", PHONE, device_scale_factor=2)
        page.locator("#rows-body button.play").nth(1).click()
        keep(page, "room-phone")
        report = run / "report.html"
        if report.is_file():
            keep(opened(browser, report.as_uri(), DESK, device_scale_factor=1.5), "report")
        browser.close()


if __name__ == "__main__":
    main()
