"""What is asked of the server and can't be answered: bodies, numbers, errors in a sentence."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from antiphon.audio import AudioError
from antiphon.listen.collection import Missing
from antiphon.listen.sound import Gone

_BODY = 2**20  # bytes of JSON


async def json_body(request: Request) -> dict[str, Any]:
    """The body of a request: a JSON object of at most a megabyte."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY:
            raise HTTPException(413, "that is more than a megabyte of text")
    try:
        value = json.loads(body)
    except ValueError:
        raise HTTPException(422, "the body isn't JSON") from None
    if not isinstance(value, dict):
        raise HTTPException(422, "the body must be a JSON object")
    return value


Body = Annotated[dict[str, Any], Depends(json_body)]


def numbers(text: str) -> list[int]:
    """Numbers of features, between commas; each once.

    Raises:
        ValueError: one is none.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if not (word.isascii() and word.isdecimal() and len(word) < 9):
            raise ValueError(f"{word!r} is no feature's number")
    return list(dict.fromkeys(int(word) for word in words))


def whole(value: Any, what: str) -> int:
    """A whole number out of JSON.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{what} must be a whole number")
    return value


def unreadable(name: str, error: AudioError) -> str:
    """What can't be read, and why, in a sentence without paths.

    >>> unreadable("a.mp3", AudioError("/tmp/x", "not readable as sound (Invalid data)"))
    "a.mp3 can't be read as sound: Invalid data"
    """
    found = re.fullmatch(r"not readable as sound \((.*)\)", error.cause, re.DOTALL)
    return f"{name} can't be read as sound: {found[1] if found else error.cause}"


def tell_errors(app: FastAPI) -> None:
    """Answer each error with its status and ``{"error": a sentence}``."""

    def told(status: int, why: Any) -> JSONResponse:
        return JSONResponse({"error": str(why)}, status)

    @app.exception_handler(HTTPException)
    def http(_: Request, error: HTTPException) -> JSONResponse:
        return told(error.status_code, error.detail)

    @app.exception_handler(RequestValidationError)
    def question(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return told(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

    @app.exception_handler(Missing)
    def missing(_: Request, error: Missing) -> JSONResponse:
        return told(404, error)

    @app.exception_handler(ValueError)
    def silly(_: Request, error: ValueError) -> JSONResponse:
        return told(400, error)

    @app.exception_handler(FileExistsError)
    def already(_: Request, error: FileExistsError) -> JSONResponse:
        return told(409, error)

    @app.exception_handler(OSError)
    def disk(_: Request, error: OSError) -> JSONResponse:
        return told(500, f"the disk says: {error.strerror or type(error).__name__}")

    @app.exception_handler(Gone)
    def gone(_: Request, error: Gone) -> JSONResponse:
        return told(410, error)

    @app.exception_handler(AudioError)
    def no_sound(_: Request, error: AudioError) -> JSONResponse:
        return told(422, unreadable("this", error))

    @app.exception_handler(Exception)
    def bug(_: Request, error: Exception) -> JSONResponse:
        return told(500, f"something went wrong here: {type(error).__name__}")
