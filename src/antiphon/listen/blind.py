"""Judging without knowing: can a person hear which segments a feature responds to?

Half of what is played are the feature's strongest tracks, half are drawn from weaker ones; the
person says of each whether it is one of the feature's. Nothing tells which is which but the sound:
what the Feature tab shows is not played, nor is what the person has been asked about.

The functions are pure; :class:`Trials` keeps the sessions.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as Container
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.files import read_json, write_json
from antiphon.listen.collection import Collection, Missing
from antiphon.listen.notes import checked, now

Session = dict[str, Any]

SHOWN = 10
"""Segments of a feature that its tab shows, in each of its orders: their tracks aren't played."""

_NAMED = re.compile(r"[A-Za-z0-9_-]{8,40}")
_MOST = 100  # items of a session


def draw(
    column: NDArray[np.floating],
    tracks: NDArray[np.integer],
    count: int,
    shown: Container[int] = frozenset(),
    heard: Container[int] = frozenset(),
) -> tuple[list[int], list[int], tuple[int, int, int]]:
    """Segments to be judged: the feature's strongest, and as many at random from weaker tracks.

    One of a track. The same arguments give the same segments, so that several persons judge the
    same ones first.

    Args:
        column: the feature in all segments, ``(n,)``.
        tracks: the number of each segment's track, ``(n,)``.
        count: of both together; even.
        shown: tracks that can be seen beside their value: they are left out.
        heard: tracks that this person has been asked about: they are, too.

    Returns:
        The strongest, the others, and the ranks of the first and the last of the strongest among
        all tracks, and how many those are.

    Raises:
        ValueError: an odd or a silly count, fewer tracks left than that, or no values that differ.
    """
    if count < 4 or count > _MOST or count % 2:
        raise ValueError(f"an even number of segments from 4 to {_MOST} is judged, not {count}")
    finite = np.flatnonzero(np.isfinite(column))
    order = finite[np.argsort(-column[finite], kind="stable")]
    _, first = np.unique(tracks[order], return_index=True)
    best = order[np.sort(first)]  # the best segment of each track, by its value
    if not len(best) or column[best[0]] == column[best[-1]]:
        raise ValueError("this feature has the same value in every track: there is nothing to hear")
    gone = np.array(sorted({*shown, *heard}), np.int64)
    ranks = np.flatnonzero(~np.isin(tracks[best], gone))
    if len(ranks) < count:
        used = len(np.intersect1d(tracks[best], np.array(sorted({*heard} - {*shown}), np.int64)))
        why = f"the Feature tab shows {len(best) - len(ranks) - used} of {len(best)}"
        why += f", and you have judged {used} others" if used else ""
        raise ValueError(
            ("the sounds of this feature are used up: " if used else "there are too few sounds: ")
            + f"{count} tracks are needed and {len(ranks)} are left; {why}"
        )
    half = count // 2
    left = best[ranks]
    top = left[:half]
    weaker = left[half:][column[left[half:]] < column[top[-1]]]
    if len(weaker) < half:
        raise ValueError(
            "this feature is as strong in most tracks that are left: there is nothing to hear"
        )
    random = np.random.default_rng([count, *sorted({*heard})])
    rest = [
        int(random.choice(finite[tracks[finite] == track]))
        for track in random.choice(np.sort(tracks[weaker]), half, replace=False)
    ]
    return [int(n) for n in top], rest, (int(ranks[0]) + 1, int(ranks[half - 1]) + 1, len(best))


def items_of(
    source: Collection, feature: int, top: Sequence[int], rest: Sequence[int]
) -> list[dict[str, Any]]:
    """What a session keeps of each segment: ``track, start, seconds, top, row``."""
    places = [*top, *rest]
    return [
        {
            "track": source.track_of(n).id,
            "start": float(source.found.start[n]),
            "seconds": float(source.found.seconds[n]),
            "top": place < len(top),
            "row": row,
        }
        for place, (n, row) in enumerate(zip(places, source.rows(places, [feature]), strict=True))
    ]


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
    gave no name is known by the browser.

    Returns:
        ``judges, items, kappa, kind`` of the items that two or more have judged, or None.
    """
    heard: dict[tuple[Any, ...], dict[str, bool]] = {}
    for session in sorted(sessions, key=lambda s: (s["answered"], s["begun"])):
        judge = session["by"] or f"\0{session.get('browser') or session['session']}"
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

    def heard(self, feature: int, data: str, by: str, browser: str) -> set[str]:
        """The ids of the tracks that a person has been asked about, answered or not.

        Somebody with a name has heard what that name has, and what this browser has without a
        name; somebody without one, all that this browser has.
        """

        def same(session: Session) -> bool:
            here = session.get("browser", "") == browser
            return (session["by"] == by or (here and not session["by"])) if by else here

        return {
            item["track"]
            for session in self.all(feature, answered=False)
            if session["data"] == data and same(session)
            for item in session["items"]
        }

    def begin(
        self,
        feature: int,
        by: Any,
        data: str,
        items: Sequence[Mapping[str, Any]],
        browser: str = "",
        ranks: Sequence[int] | None = None,
    ) -> Session:
        """Shuffle the items, and keep them.

        Args:
            feature: what they are about.
            by: who judges.
            data: the collection's name.
            items: of each ``track, start, seconds, top, row``; told to nobody before the answers.
            browser: a random id of whoever gives no name.
            ranks: see :func:`draw`; told with the result.
        """
        shuffled = list(items)
        secrets.SystemRandom().shuffle(shuffled)
        session: Session = {
            "session": secrets.token_urlsafe(12),
            "feature": feature,
            "by": checked(by, "the judge's name"),
            "browser": browser,
            "data": data,
            "count": len(items),
            "ranks": ranks,
            "model": self.model,
            "begun": now("microseconds"),
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
            found |= {"answers": answers, "answered": now("microseconds"), "result": result}
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
        "at": datetime.fromisoformat(session["answered"]).isoformat(timespec="seconds"),
        **{key: result[key] for key in ("right", "of", "p", "kappa")},
    }
