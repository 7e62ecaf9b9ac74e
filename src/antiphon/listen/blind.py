"""Judging without knowing: can a person hear which segments a feature responds to?

Half of what is played are the feature's top segments, half are drawn from other tracks; the person
says of each whether it is one of the feature's. Nothing tells which is which but the sound.

The functions are pure; :class:`Trials` keeps the sessions.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.files import read_json, write_json
from antiphon.listen.collection import Missing
from antiphon.listen.notes import checked, now

Session = dict[str, Any]

_NAMED = re.compile(r"[A-Za-z0-9_-]{8,40}")
_MOST = 100  # items of a session


def draw(
    column: NDArray[np.floating], tracks: NDArray[np.integer], count: int, turn: int = 0
) -> tuple[list[int], list[int]]:
    """Segments to be judged: the feature's top ones, and as many at random from other tracks.

    One of a track. The same arguments give the same segments, so that several persons judge the
    same ones; another turn gives others.

    Args:
        column: the feature in all segments, ``(n,)``.
        tracks: the number of each segment's track, ``(n,)``.
        count: of both together; even.
        turn: 0 takes the top tracks, 1 the next ones, and so on.

    Raises:
        ValueError: an odd or a silly count, fewer tracks than that, or no values that differ.
    """
    if count < 4 or count > _MOST or count % 2:
        raise ValueError(f"an even number of segments from 4 to {_MOST} is judged, not {count}")
    finite = np.flatnonzero(np.isfinite(column))
    order = finite[np.argsort(-column[finite], kind="stable")]
    _, first = np.unique(tracks[order], return_index=True)
    best = order[np.sort(first)]  # the best segment of each track, by its value
    half = count // 2
    if len(best) < count:
        raise ValueError(
            f"{count} segments of different tracks are needed, and there are {len(best)} tracks"
        )
    if column[best[0]] == column[best[-1]]:
        raise ValueError("this feature has the same value in every track: there is nothing to hear")
    begin = turn % max(1, len(best) // count) * half
    top = best[begin : begin + half]
    random = np.random.default_rng([turn, count, half])
    others = np.setdiff1d(np.unique(tracks[finite]), tracks[top])
    # What stands above the top ones of a later turn is a top segment too.
    others = np.setdiff1d(others, tracks[best[:begin]])
    rest = [
        int(random.choice(finite[tracks[finite] == track]))
        for track in random.choice(others, half, replace=False)
    ]
    return [int(n) for n in top], rest


def judged(answers: Sequence[bool], truth: Sequence[bool]) -> dict[str, Any]:
    """What answers are worth.

    Returns:
        ``right, of``; ``chance``, the share that would be right if the same number of yeses were
        dealt out blindly; ``p``, the chance of as many right or more then (Fisher's exact test,
        one-sided: hypergeometric); ``interval``, 95 % of Clopper and Pearson for the share that
        is right; ``kappa``, Cohen's, of the answers and the feature.

    Raises:
        ValueError: not as many answers as there are items, or none.

    >>> judged([True, True, False, False], [True, True, False, False])["p"]
    0.16666666666666666
    """
    from scipy.stats import beta, hypergeom

    if len(answers) != len(truth) or not answers:
        raise ValueError(f"{len(truth)} answers are needed, there are {len(answers)}")
    said, true = np.asarray(answers, bool), np.asarray(truth, bool)
    n, yes, top = len(said), int(said.sum()), int(true.sum())
    hits, right = int((said & true).sum()), int((said == true).sum())
    low = float(beta.ppf(0.025, right, n - right + 1)) if right else 0.0
    high = float(beta.ppf(0.975, right + 1, n - right)) if right < n else 1.0
    return {
        "right": right,
        "of": n,
        "chance": (yes * top + (n - yes) * (n - top)) / n**2,
        "p": min(1.0, float(hypergeom.sf(hits - 1, n, top, yes))),
        "interval": [low, high],
        "kappa": cohen(said.tolist(), true.tolist()),
    }


def cohen(first: Sequence[Any], second: Sequence[Any]) -> float | None:
    """Cohen's kappa of two judges; None where chance alone makes them agree always.

    Cohen, "A coefficient of agreement for nominal scales" (1960).

    Raises:
        ValueError: they haven't judged the same number of items, or none.

    >>> cohen([1, 1, 0, 0], [1, 0, 0, 0])
    0.5
    """
    if len(first) != len(second) or not first:
        raise ValueError("two judges of the same items are needed")
    n = len(first)
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    one, two = Counter(first), Counter(second)
    by_chance = sum(one[k] * two[k] for k in one) / n**2
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


def fleiss(items: Iterable[Sequence[Any]]) -> float | None:
    """Fleiss' kappa of several judges; items may have different numbers of them, 2 or more.

    Fleiss, "Measuring nominal scale agreement among many raters" (1971), where an item's agreement
    is the share of its pairs of judges that agree. None where all answers are the same.

    Args:
        items: the answers to each item.

    Raises:
        ValueError: no items, or one with fewer than two answers.
    """
    counts = [Counter(item) for item in items]
    if not counts or min(c.total() for c in counts) < 2:
        raise ValueError("items that two or more have judged are needed")
    agreed = [sum(k * (k - 1) for k in c.values()) / (c.total() * (c.total() - 1)) for c in counts]
    total = sum(counts, Counter())
    by_chance = sum(k * k for k in total.values()) / total.total() ** 2
    mean = sum(agreed) / len(agreed)
    return None if by_chance == 1 else (mean - by_chance) / (1 - by_chance)


def agreement(sessions: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Do the judges of a feature agree? Cohen's kappa of two, Fleiss' of more.

    Of what somebody has judged twice, the first answer counts: by the second, it isn't blind. Who
    gave no name is somebody new each time.

    Returns:
        ``judges, items, kappa, kind`` of the items that two or more have judged, or None.
    """
    heard: dict[tuple[Any, ...], dict[str, bool]] = {}
    for session in sorted(sessions, key=lambda s: (s["answered"], s["begun"])):
        judge = session["by"] or f"\0{session['session']}"
        for item, answer in zip(session["items"], session["answers"], strict=True):
            place = (item["data"], item["track"], round(item["start"], 4))
            heard.setdefault(place, {}).setdefault(judge, answer)
    shared = [answers for answers in heard.values() if len(answers) > 1]
    judges = sorted({judge for answers in shared for judge in answers})
    if not shared:
        return None
    if len(judges) == 2:
        pairs = [[answers[judge] for answers in shared] for judge in judges]
        kind, kappa = "Cohen", cohen(*pairs)
    else:
        kind, kappa = "Fleiss", fleiss([list(answers.values()) for answers in shared])
    return {"judges": len(judges), "items": len(shared), "kappa": kappa, "kind": kind}


class Trials:
    """The sessions, each a JSON file.

    Args:
        folder: of the run's room.
        model: hash of the encoder's weights.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder, self.model, self._lock = folder / "blind", model, threading.Lock()
        self.folder.mkdir(parents=True, exist_ok=True)

    def turn(self, feature: int, data: str, count: int, by: str) -> int:
        """How many sessions of the kind this person has begun: those who give no name, none."""
        return sum(
            bool(by) and (s["data"], s["count"], s["by"]) == (data, count, by)
            for s in self.all(feature, answered=False)
        )

    def begin(
        self, feature: int, by: Any, data: str, items: Sequence[Mapping[str, Any]]
    ) -> Session:
        """Shuffle the items, and keep them.

        Args:
            feature: what they are about.
            by: who judges.
            data: the collection's name.
            items: of each ``track, start, seconds, top, row``; told to nobody before the answers.
        """
        shuffled = list(items)
        secrets.SystemRandom().shuffle(shuffled)
        session: Session = {
            "session": secrets.token_urlsafe(12),
            "feature": feature,
            "by": checked(by, "the judge's name"),
            "data": data,
            "count": len(items),
            "model": self.model,
            "begun": now(),
            "items": [{"data": data, **item} for item in shuffled],
        }
        write_json(self._path(session["session"]), session)
        return session

    def read(self, session: str) -> Session:
        """A session.

        Raises:
            Missing: there is none of that name.
        """
        found = read_json(self._path(session)) if _NAMED.fullmatch(session) else None
        if found is None:
            raise Missing("there is no such session")
        return found

    def answer(self, session: str, answers: Any) -> Session:
        """Keep the answers, and what they are worth; only the first ones count.

        Raises:
            Missing: there is no such session.
            ValueError: not a yes or no for each item.
            FileExistsError: it is answered.
        """
        with self._lock:
            found = self.read(session)
            if "answers" in found:
                raise FileExistsError("this session is answered already: begin another one")
            if not isinstance(answers, list) or not all(isinstance(a, bool) for a in answers):
                raise ValueError("answers are a list of true and false, one for each item")
            result = judged(answers, [item["top"] for item in found["items"]])
            found |= {"answers": answers, "answered": now(), "result": result}
            write_json(self._path(session), found)
        return found

    def all(self, feature: int | None = None, answered: bool = True) -> list[Session]:
        """The sessions on these weights, the oldest first; those that are answered, or all."""
        found = [read_json(path) for path in self.folder.glob("*.json")]
        mine = [
            s
            for s in found
            if s
            and s["model"] == self.model
            and (feature is None or s["feature"] == feature)
            and ("answers" in s or not answered)
        ]
        return sorted(mine, key=lambda s: (s["begun"], s["session"]))

    def _path(self, session: str) -> Path:
        return self.folder / f"{session}.json"


def summary(session: Mapping[str, Any]) -> dict[str, Any]:
    """``session, feature, by, at, right, of, p, kappa`` of an answered one."""
    result = session["result"]
    return {
        **{key: session[key] for key in ("session", "feature", "by")},
        "at": session["answered"],
        **{key: result[key] for key in ("right", "of", "p", "kappa")},
    }
