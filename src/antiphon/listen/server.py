"""The room's server: FastAPI and static pages, that work offline; and the verb that starts it."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import anyio
import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from antiphon.audio import AudioError
from antiphon.interpret.projection import Layout
from antiphon.listen import blind, notes, uploads
from antiphon.listen.collection import Asked
from antiphon.listen.guard import Guard, is_loopback, names_of
from antiphon.listen.questions import Body, numbers, tell_errors, unreadable, whole
from antiphon.listen.room import Room, prepare
from antiphon.progress import say
from antiphon.runs import Run

STATIC = Path(__file__).parent / "static"

_PORTS = 20  # that are tried
_TAKEN = (errno.EADDRINUSE, errno.EACCES)
_HEAR = ["GET", "HEAD"]

Feature = Annotated[int, Query(ge=0)]
Count = Annotated[int, Query(ge=1, le=100)]


def make_app(room: Room, host: str = "127.0.0.1", largest: int = uploads.LARGEST) -> Guard:
    """The room as an ASGI application.

    Args:
        room: what is shown.
        host: where it will listen: the name it answers to, besides this machine's own.
        largest: bytes that an upload may have.
    """
    app = FastAPI(title="antiphon", docs_url=None, redoc_url=None, openapi_url=None)
    tell_errors(app)
    _tables(app, room)
    _tracks(app, room)
    _audio(app, room)
    _drops(app, room, largest)
    _written(app, room)
    _trials(app, room)
    app.mount("/", StaticFiles(directory=STATIC, html=True, check_dir=False))
    names, addresses = names_of(host)
    return Guard(app, names, addresses)


def _tables(app: FastAPI, room: Room) -> None:
    @app.get("/api/room")
    def about() -> dict[str, Any]:
        return room.about()

    @app.get("/api/rows")
    def rows(
        source: str = "a",
        features: str = "",
        tags: str = "",
        tag: Annotated[list[str] | None, Query()] = None,
        sort: str = "track",
        order: Annotated[str, Query(pattern="^(asc|desc)$")] = "asc",
        search: Annotated[str, Query(max_length=1000)] = "",
        marked: bool = False,
        page: Annotated[int, Query(ge=1)] = 1,
        size: Count = 10,
    ) -> dict[str, Any]:
        mine = room.marks.of(source) if source in room.sources else set()
        chosen = [word for word in (t.strip() for t in tags.split(",")) if word]
        asked = Asked(
            features=numbers(features),
            tags=list(dict.fromkeys([*chosen, *(tag or [])])),
            sort=sort,
            descending=order == "desc",
            search=search,
            only=mine if marked else None,
            page=page,
            size=size,
        )
        return room.source(source).table(asked, mine)

    @app.get("/api/top")
    def top(
        feature: Feature, count: Count = 10, per_track: Annotated[int | None, Query(ge=1)] = None
    ) -> list[dict[str, Any]]:
        return room.top(feature, count, per_track)

    @app.get("/api/feature/{feature}")
    def one(feature: int) -> dict[str, Any]:
        return room.feature(feature)

    @app.get("/api/neighbours")
    def neighbours(id: int, source: str = "a", count: Count = 10) -> dict[str, Any]:
        return {"rows": room.neighbours(source, id, count)}

    @app.get("/api/map")
    def plane(source: str = "a") -> Any:
        room.source(source)
        if (found := room.maps[source].shown()) is not None:
            return found
        if why := room.maps[source].failed:
            raise HTTPException(500, f"the map could not be made: {why}")
        return JSONResponse({"pending": "the map is being laid out"}, 202)


def _tracks(app: FastAPI, room: Room) -> None:
    @app.get("/api/track/{source}/{number}")
    def track(source: str, number: int) -> dict[str, Any]:
        return room.whole_track(source, number)

    @app.get("/api/track/{source}/{number}/wave")
    def wave(
        source: str, number: int, points: Annotated[int, Query(ge=1, le=10_000)] = 1000
    ) -> dict[str, Any]:
        return room.wave(source, number, points)

    @app.get("/api/track/{source}/{number}/activation")
    def activation(source: str, number: int, feature: Feature) -> dict[str, Any]:
        return room.activation(source, number, feature)

    @app.get("/api/segment/{source}/{number}/saliency")
    def saliency(
        source: str,
        number: int,
        feature: Feature,
        points: Annotated[int, Query(ge=1, le=10_000)] = 200,
    ) -> dict[str, Any]:
        return room.saliency(source, number, feature, points)


def _audio(app: FastAPI, room: Room) -> None:
    @app.api_route("/audio/segment/{source}/{number}", methods=_HEAR)
    def segment(source: str, number: int) -> FileResponse:
        found = room.segment(source, number).found
        start, seconds = float(found.start[number]), float(found.seconds[number])
        path = room.sound.excerpt(found.tracks[found.track[number]], start, seconds)
        return FileResponse(path, media_type="audio/wav")

    @app.api_route("/audio/track/{source}/{number}", methods=_HEAR)
    def track(source: str, number: int) -> FileResponse:
        path, kind = room.sound.whole(room.track(source, number))
        return FileResponse(path, media_type=kind)

    @app.api_route("/audio/drop/{upload}", methods=_HEAR)
    def drop(upload: str) -> FileResponse:
        path, kind = room.sound.whole(room.uploads.track(upload))
        return FileResponse(path, media_type=kind)

    @app.api_route("/audio/blind/{session}/{item}", methods=_HEAR)
    def trial(session: str, item: int) -> FileResponse:
        return FileResponse(room.blind_sound(session, item), media_type="audio/wav")


def _drops(app: FastAPI, room: Room, largest: int) -> None:
    @app.post("/api/drop")
    async def drop(
        request: Request, name: Annotated[str, Query(max_length=1000)] = ""
    ) -> dict[str, Any]:
        too_large = HTTPException(413, f"a file may have {largest / 2**20:g} MB at most")
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > largest:
            raise too_large
        partial, total = room.uploads.partial(name), 0
        try:
            async with await anyio.open_file(partial, "wb") as file:
                async for chunk in request.stream():
                    total += len(chunk)
                    if total > largest:
                        raise too_large
                    await file.write(chunk)
            return await run_in_threadpool(room.drop, partial, name)
        except AudioError as error:
            raise HTTPException(422, unreadable(uploads.tidy(name), error)) from None
        finally:
            partial.unlink(missing_ok=True)

    @app.get("/api/drop/{upload}/activation")
    def activation(upload: str, feature: Feature) -> dict[str, Any]:
        return room.drop_activation(upload, feature)


def _written(app: FastAPI, room: Room) -> None:
    @app.get("/api/notes")
    def all_notes() -> list[dict[str, Any]]:
        return room.notes.all()

    @app.put("/api/notes/{feature}")
    def note(feature: int, body: Body) -> list[dict[str, Any]]:
        room.sources["a"].feature(feature)
        room.notes.put(feature, body.get("text"), body.get("by", ""))
        return room.notes.all()

    @app.get("/api/notes.md")
    def markdown() -> PlainTextResponse:
        text = notes.as_markdown(room.run.name, room.written())
        return _download(text, "text/markdown", "notes.md")

    @app.get("/api/notes.csv")
    def table() -> PlainTextResponse:
        return _download(notes.as_csv(room.written()), "text/csv", "notes.csv")

    @app.get("/api/marks")
    def marks() -> list[dict[str, Any]]:
        return room.marks.all()

    @app.put("/api/marks/{source}/{number}")
    def mark(source: str, number: int, body: Body) -> list[dict[str, Any]]:
        room.segment(source, number)
        marked, feature = body.get("marked"), body.get("feature")
        if not isinstance(marked, bool):
            raise ValueError("marked must be true or false")
        if feature is not None:
            room.sources["a"].feature(whole(feature, "feature"))
        room.marks.put(source, number, marked, feature)
        return room.marks.all()


def _trials(app: FastAPI, room: Room) -> None:
    @app.post("/api/blind")
    def begin(body: Body) -> dict[str, Any]:
        feature = whole(body.get("feature"), "feature")
        count = whole(body.get("count", 20), "count")
        source = str(body.get("source", "a"))
        by, browser = body.get("by", ""), body.get("browser", "")
        session = room.begin_blind(feature, source, count, by, browser)
        name = session["session"]
        items = [
            {"item": n, "audio": f"/audio/blind/{name}/{n}"} for n in range(len(session["items"]))
        ]
        return {"session": name, "feature": feature, "items": items}

    @app.post("/api/blind/{session}")
    def answer(session: str, body: Body) -> dict[str, Any]:
        found = room.trials.answer(session, body.get("answers"))
        items = [
            {"item": n, "row": item["row"], "top": item["top"], "answer": said}
            for n, (item, said) in enumerate(zip(found["items"], found["answers"], strict=True))
        ]
        return {**found["result"], "ranks": found.get("ranks"), "items": items}

    @app.get("/api/blind")
    def sessions(feature: Feature) -> dict[str, Any]:
        found = room.trials.all(feature)
        told = [blind.summary(session) for session in found]
        return {"sessions": told, "agreement": blind.agreement(found)}


def _download(text: str, kind: str, name: str) -> PlainTextResponse:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return PlainTextResponse(text, media_type=kind, headers=headers)


def listen(
    run: str | Path | Run,
    data: str,
    data2: str | None = None,
    layout: Layout = "t-sne",
    host: str = "127.0.0.1",
    port: int = 8000,
    open_browser: bool = True,
    device: str = "auto",
    progress: bool = True,
) -> None:
    """Open the listening room: a run's features, to look at and to hear, in the browser.

    Everything that is written lies in the run's folder; of the data sets' files it only reads.

    Args:
        run: a run's folder.
        data: what to listen to; a folder, a table or a named data set.
        data2: another data set, to be seen beside it.
        layout: of the map, t-sne or umap.
        host: where to listen; by default only this machine can reach it.
        port: the next free one is taken if another program has it.
        open_browser: show the page, where there is a desktop.
        device: auto takes a GPU if there is one.
        progress: show how far the preparation is.

    Raises:
        ValueError: there is nothing to listen to.
        OSError: the run's folder can't be written to, or no port is free.
        ModuleNotFoundError: the layout's library isn't installed.
    """
    room = prepare(run, data, data2, layout, device, progress)
    bound = bind(host, port)
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{bound.getsockname()[1]}/"
    if not is_loopback(host):
        say(
            f"listening on {host}: everyone in this network can listen, write notes and upload "
            "files; leave out --host to keep it to this machine",
            "yellow",
        )
    say(f"the listening room of {room.run.name}: {address} (Ctrl-C ends it)")
    config = uvicorn.Config(
        make_app(room, host), log_level="warning", access_log=False, timeout_graceful_shutdown=2
    )
    if open_browser and _desktop():
        threading.Timer(1.0, webbrowser.open, [address]).start()
    try:
        with suppress(KeyboardInterrupt):  # what ends it is no failure
            uvicorn.Server(config).run(sockets=[bound])
        say("the room is closed; notes and marks are kept")
    finally:
        bound.close()


def _desktop() -> bool:
    return sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )


def bind(host: str, port: int) -> socket.socket:
    """A socket at the port, or the next one that is free; 0 is any.

    Raises:
        OSError: nothing can listen there, or no port is free.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempt in range(port, min(port + _PORTS, 65_536)) if port else [0]:
        # With the protocol's number: only then asyncio sends at once what is small (no Nagle).
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host.strip("[]"), attempt))
            bound.listen()
        except OSError as error:
            bound.close()
            if error.errno not in _TAKEN:
                raise OSError(error.errno, f"can't listen on {host}: {error.strerror}") from None
            continue
        if attempt != port:
            say(f"port {port} is taken: this is {attempt}", "yellow")
        return bound
    raise OSError(f"no port from {port} to {port + _PORTS - 1} is free: say another --port")
