"""The listening room in a real browser, at a desk and on a phone: what a person does works."""

from __future__ import annotations

import csv
import os
import re
import shutil
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import uvicorn
from conftest import RATE, tone_mixture

from antiphon.encoders.melpatch import MelPatch
from antiphon.evaluate import probe
from antiphon.listen.room import prepare
from antiphon.listen.server import STATIC, make_app
from antiphon.maps import _SHAPES
from antiphon.methods.clmr import CLMR
from antiphon.train import Train, pretrain

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: no browser tests")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe: no such tests")
expect = sync_api.expect
expect.set_options(timeout=30_000)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
if CHROMIUM is None:
    pytest.skip("no chromium here: the room is not tested in a browser", allow_module_level=True)

DESK, PHONE = (1280, 800), (390, 844)
TABS = ["table", "feature", "map", "blind", "notes", "file"]


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    torch.manual_seed(0)
    method = CLMR(MelPatch(RATE, bands=32, dim=8, depth=1, seconds=1.0))
    folder = tmp_path_factory.mktemp("runs") / "small"
    trained = pretrain(tones, folder, method, train=Train(steps=2, batch=4), progress=False)
    quick = {"seeds": 1, "resamples": 10, "retrieval_seconds": 2.0, "leaks": False}
    probe(folder, tones, probes=("logistic",), save=True, progress=False, **quick)
    return trained


def table(path: Path, tracks: list[tuple[str, str]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "id", "labels"), *tracks])
    return str(path)


@pytest.fixture(scope="module")
def address(run, tones, tmp_path_factory):
    """A room of sixteen tracks, and eight others beside them, as a server on a free port."""
    folder = tmp_path_factory.mktemp("collections")
    inside = [(t.path, f"Tone {t.id}", t.labels[0]) for t in tones]
    outside = []
    for n in range(8):
        soundfile.write(folder / f"{n}.wav", tone_mixture(100 + n, seconds=4), RATE)
        outside.append((str(folder / f"{n}.wav"), f"Other {n}", "far"))
    (folder / "broken.wav").write_bytes(b"RIFF but not for long")
    outside.append((str(folder / "broken.wav"), "Broken", "far"))
    data = [table(folder / "tones.csv", inside), table(folder / "others.csv", outside)]
    app = make_app(prepare(run, *data, progress=False))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def browser():
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if root else []
        )
        yield started
        started.close()


@pytest.fixture
def visit(browser, address):
    """Open the room: ``visit("#map", size=PHONE)``. No page may have complained in the end."""
    contexts, errors = [], []

    def opened(place="", size=DESK, scheme="light"):
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
        )
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: m.type in ("error", "warning") and errors.append(m.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address + place)
        page.wait_for_selector("body[data-ready]")
        return page

    opened.errors = errors
    yield opened
    for context in contexts:
        context.close()
    assert not errors  # what the content security policy forbids is one, too


both = pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])


def rows(page):
    """The table, when it is there: one dict a row."""
    expect(page.locator("#rows-body button.play").first).to_be_visible()
    expect(page.locator("#rows")).not_to_have_attribute("aria-busy", "true")
    return page.eval_on_selector_all(
        "#rows-body tr",
        """lines => lines.map(line => ({
            title: line.querySelector(".title").textContent,
            labels: [...line.querySelector("td.wide .labels").children].map(one => one.textContent),
            start: line.querySelector(".time").textContent,
            values: [...line.querySelectorAll("td.number span")].map(
                one => parseFloat(one.textContent.replace("−", "-"))),
        }))""",
    )


def settled(page, words):
    """Wait until the status line says so."""
    expect(page.locator("#status")).to_contain_text(re.compile(words))


def plays(page):
    """Wait until the audio element's time has moved; a slow machine may look after the end."""
    page.wait_for_function(
        """() => {
            const played = document.querySelector("audio").played
            return played.length && played.end(0) - played.start(0) > 0.08
        }"""
    )


def figures(lines):
    """The numbers beside the segments of a list."""
    found = lines.locator(".figure > span").evaluate_all("a => a.map(x => x.lastChild.data)")
    return [float(x.replace("−", "-")) for x in found]


def source(page):
    return page.eval_on_selector("audio", "a => new URL(a.src).pathname")


@both
def test_a_feature_is_chosen_sorted_searched_and_paged(visit, size):
    page = visit(size=size)
    page.get_by_role("spinbutton", name="Feature").fill("5")
    page.keyboard.press("Enter")
    expect(page.get_by_role("columnheader", name="Feature 5")).to_have_attribute(
        "aria-sort", "descending"
    )
    settled(page, "128 segments, page 1 of 13")
    first = [row["values"][0] for row in rows(page)]
    assert len(first) == 10
    assert first == sorted(first, reverse=True)
    page.get_by_role("button", name="Feature 5").click()
    settled(page, "128 segments, page 1 of 13")
    expect(page.get_by_role("columnheader", name="Feature 5")).to_have_attribute(
        "aria-sort", "ascending"
    )
    page.wait_for_function(
        "x => !document.querySelector('#rows-body td.number span').textContent.startsWith(x)",
        arg=f"{first[0]:.2f}",
    )
    low = [row["values"][0] for row in rows(page)]
    assert low == sorted(low)
    assert low[0] < first[-1]
    page.get_by_role("button", name="Next page").click()
    settled(page, "page 2 of 13")
    assert rows(page)[0]["values"][0] >= low[-1]
    page.get_by_label("Search titles").fill("tone drone")
    settled(page, "64 segments, page 1 of 7")
    assert {tuple(row["labels"]) for row in rows(page)} == {("drone",)}


def test_more_features_and_a_tag_are_columns(visit):
    page = visit("#table?feature=5")
    page.get_by_label("More features, by number").fill("7, 2")
    page.keyboard.press("Enter")
    page.get_by_label("More tags").select_option("drone")
    expect(page.get_by_role("columnheader", name=re.compile("Feature|drone"))).to_have_count(4)
    page.get_by_role("columnheader", name="drone").get_by_role("button").click()
    expect(page.get_by_role("columnheader", name="drone")).to_have_attribute(
        "aria-sort", "descending"
    )
    page.wait_for_function(
        "() => document.querySelectorAll('#rows-body tr:first-child td.number').length === 4"
    )
    tags = [row["values"][3] for row in rows(page)]
    assert tags == sorted(tags, reverse=True)
    page.get_by_role("button", name="Remove the column Feature 7").click()
    expect(page.get_by_role("columnheader", name="Feature 7")).to_have_count(0)
    page.get_by_label("More features, by number").fill("99")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("There is no feature 99")


def test_files_that_could_not_be_read_are_told(visit):
    page = visit()
    page.get_by_text("1 file could not be read").click()
    expect(page.locator("#skipped li")).to_contain_text("broken.wav")


def test_the_address_keeps_what_is_looked_at(visit):
    page = visit("#table?feature=3")
    page.get_by_role("button", name="Track").click()
    expect(page.get_by_role("columnheader", name="Track")).to_have_attribute(
        "aria-sort", "ascending"
    )
    page.get_by_role("button", name="Next page").click()
    settled(page, "page 2 of 13")
    seen = rows(page)
    page.reload()
    settled(page, "page 2 of 13")
    assert rows(page) == seen
    page.get_by_role("link", name="Map").click()
    page.go_back()
    expect(page.locator("#rows")).to_be_visible()
    other = visit(page.url.rpartition("/")[2])
    settled(other, "page 2 of 13")
    assert rows(other) == seen


@pytest.mark.parametrize("tab", TABS)
def test_an_address_shows_its_view_and_takes_no_focus(visit, tab):
    page = visit(f"#{tab}")
    expect(page.locator(f"#view-{tab}")).to_be_visible()
    assert page.evaluate("document.activeElement === document.body")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


@both
def test_the_segment_or_the_track_plays_and_the_cursor_moves(visit, size):
    page = visit("#table?feature=3", size=size)
    shown = rows(page)
    page.get_by_label("then").select_option("repeat")
    page.locator("#rows-body button.play").first.click()
    plays(page)
    assert re.fullmatch(r"/audio/segment/a/\d+", source(page))
    expect(page.locator("#now-title")).to_have_text(shown[0]["title"])
    expect(page.locator("#wave .peaks")).to_have_count(1)
    expect(page.locator("#wave .activation")).to_have_attribute("d", re.compile("^M.+L"))
    page.get_by_label("Whole track").check(force=True)
    page.wait_for_function("() => document.querySelector('audio').src.includes('/audio/track/')")
    plays(page)
    place = "parseFloat(document.querySelector('#wave .cursor').style.left)"
    page.wait_for_function(f"x => {place} !== x", arg=page.evaluate(place))
    expect(page.locator("#wave .segment")).to_have_count(1)
    page.wait_for_function("() => document.querySelector('audio').duration > 7.9")
    box = page.locator("#wave").bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    page.wait_for_function("() => document.querySelector('audio').currentTime >= 5.9")
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.locator("#now-title")).to_have_text(shown[1]["title"])
    page.get_by_role("button", name="Pause").click()
    assert page.eval_on_selector("audio", "a => a.paused")


def test_neighbours_of_what_plays_are_other_tracks(visit):
    page = visit("#table?feature=3")
    page.locator("#rows-body button.play").first.click()
    title = page.locator("#now-title").inner_text()
    near = page.locator("#neighbours li")
    expect(near).to_have_count(8)
    assert title not in near.locator(".title").all_inner_texts()
    alike = figures(near)
    assert alike == sorted(alike, reverse=True)
    near.get_by_role("button", name=re.compile("^Play")).first.click()
    expect(page.locator("#now-title")).not_to_have_text(title)
    plays(page)


@both
def test_a_note_and_a_mark_are_there_after_a_reload(visit, size):
    page = visit("#table?feature=6", size=size)
    title = rows(page)[0]["title"]
    mark = page.locator("#rows-body button.mark").first
    mark.click()
    settled(page, "is marked")
    expect(mark).to_have_attribute("aria-pressed", "true")
    page.get_by_role("link", name="Feature").click()
    page.get_by_label("What does it respond to?").fill(f"A <b>drone</b>, on {size}")
    page.locator("#note-by").fill("Clara")
    page.get_by_role("button", name="Save the note").click()
    settled(page, "note on feature 6 is saved")
    page.reload()
    expect(page.get_by_label("What does it respond to?")).to_have_value(
        f"A <b>drone</b>, on {size}"
    )
    expect(page.locator("#note-by")).to_have_value("Clara")
    page.get_by_role("link", name="Notes").click()
    expect(page.locator("#notes-all")).to_contain_text(f"A <b>drone</b>, on {size}")
    expect(page.locator("#marks .title")).to_have_text([title])
    for name in ("Markdown", "CSV"):
        with page.expect_download() as download:
            page.get_by_role("link", name=f"As {name}").click()
        assert "drone" in Path(download.value.path()).read_text()
    page.locator("#marks button.mark").click()
    expect(page.locator("#marks")).to_contain_text("Nothing is marked")


@both
def test_a_feature_is_heard_in_both_collections(visit, size):
    page = visit("#feature?feature=4", size=size)
    for key in "ab":
        top = page.locator(f"section[aria-labelledby=top-{key}] li")
        expect(top.first).to_be_visible()
        shown = figures(top)
        assert len(shown) >= 8
        assert shown == sorted(shown, reverse=True)
    expect(page.locator("#tops")).to_contain_text("in-domain")
    expect(page.locator("#tops")).to_contain_text("out-of-domain")
    page.get_by_role("button", name="Play Other").first.click()
    plays(page)
    assert source(page).startswith("/audio/segment/b/")
    page.get_by_role("button", name="Next feature").click()
    expect(page.get_by_role("heading", name="Feature 5")).to_be_visible()


@both
def test_blind_listening_tells_nothing_and_then_all(visit, size):
    page = visit("#blind?feature=2", size=size)
    page.locator("#blind-by").fill(f"Judge {size[0]}")
    page.get_by_label("Sounds", exact=True).select_option("6")
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("heading", name="Feature 2: is it")).to_be_focused()

    def hidden():
        told = page.locator("body").inner_text() + page.title()
        assert not re.search(r"Tone|Other \d|drone(?!,)|plain|0\.\d\d", told)
        assert page.locator("#aside").is_hidden()

    hidden()
    page.keyboard.press("Space")
    plays(page)
    assert re.fullmatch(r"/audio/blind/[\w-]+/0", source(page))
    hidden()
    page.keyboard.press("y")
    expect(page.locator("#blind-left")).to_have_text("5 sounds left")
    page.get_by_role("link", name="Table").click()
    expect(page.get_by_role("heading", name="Hidden while you judge")).to_be_visible()
    hidden()
    page.get_by_role("button", name="Back to the session").click()
    page.get_by_role("button", name="Show how I did").click()
    expect(page.get_by_role("alert")).to_contain_text("Sound 2 isn't judged yet")
    for n in range(1, 6):
        page.keyboard.press("n")
        expect(page.locator("#now-title")).to_have_text(f"Sound {n + 1} of 6")
        page.keyboard.press("x")
    expect(page.locator("#blind-left")).to_have_text("All are judged.")
    page.get_by_role("button", name="Show how I did").click()
    expect(page.get_by_role("heading", name=re.compile(r"^\d of 6 right$"))).to_be_visible()
    result = page.locator("#blind-result")
    assert len(set(result.locator(".title, tbody th").all_inner_texts())) == 6
    answers = result.locator("tbody td:nth-child(4)").all_inner_texts()
    truth = [
        words.endswith("one of the strongest")
        for words in result.locator("tbody td:nth-child(5)").all_inner_texts()
    ]
    right = sum((said == "yes") == true for said, true in zip(answers, truth, strict=True))
    assert (sum(truth), answers) == (3, ["yes"] + ["no"] * 5)
    expect(result.get_by_role("heading")).to_have_text(f"{right} of 6 right")
    expect(result).to_contain_text("tracks 11 to 13 of 16")
    expect(page.locator("#blind-before")).to_contain_text(f"Judge {size[0]}")
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("alert")).to_contain_text("used up: 6 tracks are needed and 0 are left")
    assert "400" in visit.errors.pop()
    assert not visit.errors


def test_what_the_feature_tab_shows_is_not_judged(visit):
    page = visit("#feature?feature=3")
    shown = set()
    for once in (True, False):
        page.get_by_label("each track once").set_checked(once)
        page.wait_for_load_state("networkidle")
        top = page.locator("section[aria-labelledby=top-a] li .title")
        expect(top).to_have_count(10)
        shown |= set(top.all_inner_texts())
    assert len(shown) == 10
    page.get_by_role("link", name="Blind").click()
    page.get_by_label("Sounds", exact=True).select_option("6")
    page.get_by_role("button", name="Begin").click()
    noes = page.locator(".judge input[value=false]")
    expect(noes).to_have_count(6)
    for choice in noes.all():
        choice.check()
    page.get_by_role("button", name="Show how I did").click()
    judged = page.locator("#blind-result tbody th")
    expect(judged).to_have_count(6)
    heard = {words[: len("Tone 00")] for words in judged.all_inner_texts()}
    assert len(heard | shown) == 16
    page.reload()
    page.get_by_label("Sounds", exact=True).select_option("6")
    page.get_by_role("button", name="Begin").click()  # without a name, the browser is known
    expect(page.get_by_role("alert")).to_contain_text("used up")
    assert "400" in visit.errors.pop()


def labelled(page, **more):
    """Answer with the labels of a real collection."""
    words = ["obsidianshell", "neoncorridor", "whallon"]
    tags = [
        {"label": w, "count": 10, "of": 11, "base": 0.094, "lift": 14.27, "q": q}
        for w, q in zip(words, (0.0004, 0.0234, 1.0), strict=True)
    ]

    def answer(route):
        found = route.fetch().json()
        for one in found:
            one |= {"tags": tags, **more}
        route.fulfill(json=found)

    page.unroute("**/api/top**")
    page.route("**/api/top**", answer)


def test_the_labels_of_a_feature_fit_into_their_card(visit):
    page = visit("#table")
    labelled(page)
    page.get_by_role("link", name="Feature").click()
    for key in "ab":
        card = page.locator(f"section[aria-labelledby=top-{key}] .scroll")
        expect(card.locator("tr.sure")).to_have_count(2)
        wide, room = card.evaluate("one => [one.scrollWidth, one.clientWidth]")
        assert wide <= room
        assert card.locator("caption").bounding_box()["width"] <= room


def test_labels_that_are_being_counted(visit):
    page = visit("#table")
    labelled(page, tags=[], tags_pending=True)
    page.get_by_role("link", name="Feature").click()
    card = page.locator("section[aria-labelledby=top-a]")
    expect(card).to_contain_text("being counted")
    labelled(page)
    expect(card.locator(".enrichment")).to_contain_text("obsidianshell")
    labelled(page, tags=[], tags_failed="no memory")
    page.get_by_role("button", name="Next feature").click()
    expect(card).to_contain_text("could not be counted: no memory")


def test_a_spectrum_stands_beside_the_untrained_encoders(visit):
    page = visit("#feature?feature=3")
    expect(page.get_by_role("heading", name="A spectrum that moves it")).to_be_visible()
    expect(page.locator("#filter .curve")).to_have_count(2)
    line = page.locator("#filter .untrained")
    assert line.evaluate("a => getComputedStyle(a).strokeDasharray") != "none"
    expect(page.locator("#filter-card")).to_contain_text("dashed")


def test_the_legend_of_the_wave_is_read_on_a_phone(visit):
    page = visit("#table?feature=3", size=PHONE)
    rows(page)
    page.locator("#rows-body button.play").first.click()
    legend = page.locator("#wave-legend")
    expect(legend).to_contain_text("gradient")
    assert legend.evaluate(
        "a => a.scrollWidth <= a.clientWidth && a.scrollHeight <= a.clientHeight"
    )


@both
def test_a_file_is_dropped_and_lands(visit, size, tmp_path):
    page = visit("#table?feature=3", size=size)
    sound = tmp_path / "my song.wav"
    soundfile.write(sound, tone_mixture(3, seconds=5.5), RATE)
    page.evaluate(
        """bytes => {
            const data = new DataTransfer()
            data.items.add(new File([new Uint8Array(bytes)], "my song.wav", {type: "audio/wav"}))
            const how = {dataTransfer: data, bubbles: true, cancelable: true}
            for (const type of ["dragenter", "dragover", "drop"])
                document.body.dispatchEvent(new DragEvent(type, how))
        }""",
        list(sound.read_bytes()),
    )
    result = page.locator("#file-result")
    expect(result).to_contain_text("my song.wav")
    expect(result.locator(".tags li")).to_have_count(2)
    expect(result).to_contain_text("logistic probe of 2 classes")
    expect(result).to_contain_text("by the probe's share")
    expect(result).not_to_contain_text("splits")
    expect(result.locator(".heat rect")).to_have_count(2 * 5)
    expect(result.locator(".rows .title").first).to_have_text("Tone 03")
    expect(result.locator(".own path")).to_have_count(2)
    expect(result.locator(".sign[role=option]")).to_have_count(16)
    result.get_by_role("button", name="Play my song.wav").click()
    plays(page)
    expect(page.locator("#now-title")).to_have_text("my song.wav")
    expect(page.locator("#wave .activation")).to_have_attribute("d", re.compile("^M.+L"))


def test_where_a_file_lands_is_not_behind_the_player(visit, tmp_path):
    """With two tags in 620 pixels, as with five of the demo's in 800."""
    page = visit("#file", size=(1280, 620))
    soundfile.write(tmp_path / "song.wav", tone_mixture(3, seconds=5.5), RATE)
    page.get_by_label("Drop a recording").set_input_files(tmp_path / "song.wav")
    expect(page.locator("#file-result .sign[role=option]")).to_have_count(16)
    lands = page.get_by_role("heading", name="Where it lands").bounding_box()["y"]
    assert page.locator("header").bounding_box()["height"] < lands
    assert lands + 100 < page.locator("#player").bounding_box()["y"]
    name = page.locator("#h-own").bounding_box()["y"]
    assert name > page.locator("header").bounding_box()["height"]


def test_a_file_is_chosen_and_a_bad_one_is_told(visit, tmp_path):
    page = visit("#file")
    bad = tmp_path / "bad.mp3"
    bad.write_bytes(b"this is no sound")
    soundfile.write(tmp_path / "good.wav", np.zeros(RATE), RATE)
    page.get_by_label("Drop a recording").set_input_files(tmp_path / "good.wav")
    expect(page.locator("#file-result")).to_contain_text("good.wav")
    page.get_by_label("Drop a recording").set_input_files(bad)
    expect(page.get_by_role("alert")).to_contain_text("bad.mp3 can't be read as sound")
    expect(page.locator("#file-result")).to_be_empty()  # or it would seem to be this one's
    expect(page.locator("#status")).to_be_empty()
    page.get_by_label("Drop a recording").set_input_files(tmp_path / "good.wav")
    expect(page.locator("#file-result")).to_contain_text("good.wav")
    expect(page.locator("#error")).to_be_hidden()
    assert len(visit.errors) == 1, "the browser tells of the 422, and of nothing else"
    assert "422" in visit.errors.pop()


@both
def test_a_click_on_the_map_is_heard(visit, size):
    page = visit("#map?feature=3", size=size)
    signs = page.locator("#map-plane .sign[role=option]")
    expect(signs).to_have_count(16)
    name = signs.nth(4).get_attribute("aria-label")
    signs.nth(4).click()
    plays(page)
    assert name.startswith(page.locator("#now-title").inner_text())
    first = source(page)
    page.keyboard.press("ArrowRight")
    if page.locator("#map-plane .sign:focus").get_attribute("aria-label") == name:
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_function("x => !document.querySelector('audio').src.endsWith(x)", arg=first)
    plays(page)
    page.locator("#map-plane .legend button").first.click()
    assert page.locator("#map-plane .sign.faint").count() in range(1, 16)


def test_the_map_has_the_signs_of_the_report():
    script = (STATIC / "map.js").read_text()
    assert re.findall(r'^  "(M.+z)",$', script, re.M) == list(_SHAPES)


def test_everything_is_done_by_keys(visit):
    page = visit("#table?feature=3")
    shown = rows(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    plays(page)
    page.keyboard.press("n")
    expect(page.locator("#now-title")).to_have_text(shown[1]["title"])
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator("#rows-body tr").nth(1)).to_have_class("current")
    page.keyboard.press("m")
    settled(page, "is marked")
    page.keyboard.press("m")
    settled(page, "is not marked any more")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_role("dialog")).to_contain_text(
        re.compile("arrows.*on the map.*Enter", re.S)
    )
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    title = page.locator("#now-title").inner_text()
    page.keyboard.press("/")
    page.keyboard.type("n m p? 0")
    expect(page.locator("#search")).to_have_value("n m p? 0")
    settled(page, "0 segments")
    expect(page.locator("#now-title")).to_have_text(title)
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    page.keyboard.type("9")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("feature=9"))


def test_every_control_is_reached_by_tab_and_shows_it(visit):
    page = visit("#table?feature=3")
    rows(page)
    wanted = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select, summary, [tabindex='0']")]
            .filter(one => one.checkVisibility() && !one.disabled)
            .filter(one => one.type !== "radio" || one.checked).length"""
    )
    reached = set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => {
                const one = document.activeElement
                if (one === document.body) return null
                one.dataset.seen ??= String(document.querySelectorAll("[data-seen]").length)
                const shown = getComputedStyle(one.type === "radio" ? one.nextElementSibling : one)
                return [one.dataset.seen, shown.outlineStyle !== "none", one.outerHTML.slice(0, 80)]
            }"""
        )
        if found:
            reached.add(found[0])
            assert found[1], f"no visible focus: {found[2]}"
    assert len(reached) == wanted


def test_the_end_of_a_page_goes_on_with_the_next(visit):
    page = visit("#table?feature=3&size=10")
    rows(page)
    page.locator("#rows-body button.play").last.click()
    plays(page)
    page.keyboard.press("n")
    settled(page, "page 2 of 13")
    expect(page.locator("#rows-body tr").first).to_have_class("current")
    page.keyboard.press("p")
    settled(page, "page 1 of 13")
    expect(page.locator("#rows-body tr").last).to_have_class("current")


def test_a_phone_shows_no_page_wider_than_itself(visit):
    page = visit("#table?feature=3&with=1,2,4", size=PHONE)
    rows(page)
    page.locator("#rows-body button.play").first.click()
    for tab in TABS:
        page.locator(f"#to-{tab}").click()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], tab


@pytest.mark.parametrize(
    ("size", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk-light", "phone-dark"]
)
def test_axe_finds_no_serious_fault(visit, size, scheme):
    page = visit("#table?feature=3", size, scheme)
    rows(page)
    page.locator("#rows-body button.play").first.click()
    checker = axe.Axe()
    for tab in TABS:
        page.locator(f"#to-{tab}").click()
        page.wait_for_load_state("networkidle")
        found = checker.run(page, options={"resultTypes": ["violations"]}).response["violations"]
        bad = [
            (one["id"], [node["html"][:200] for node in one["nodes"][:3]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert not bad, (tab, bad)


def test_a_server_that_is_gone_is_told_in_words(visit):
    page = visit("#table?feature=3")
    rows(page)
    page.route("**/api/rows**", lambda route: route.abort())
    page.get_by_role("button", name="Next page").click()
    expect(page.get_by_role("alert")).to_contain_text("The room does not answer")
    page.get_by_role("button", name="Close the message").click()
    expect(page.locator("#error")).to_be_hidden()
    assert all("ERR_FAILED" in error for error in visit.errors)
    visit.errors.clear()
