"""The asyncio face of a Scorer: requests from many tasks become batches on one thread that owns the model.

Owns the queue and its bound, the deadline, the cache of answers, warm-up and draining. Does not own grouping
(`grouping`), the model (`onnx_cpu`, `torch_gpu`) or metrics: `Stats` holds the counters that the app exports.

A request waits at most `deadline` seconds for company. The queue is bounded in estimated tokens; beyond it `score`
raises Overloaded at once and takes nothing. A text that cannot be scored, or on which the model fails twice (in its
batch and alone), is answered by its error: never by an invented score, and never at its neighbours' cost. That goes for
errors that nobody foresaw, too, as long as the model still scores known texts of each script: else the next process
would read the same text again and end as well. Where it does not, or memory is short, no text is to blame: the thread
ends. Such an error is logged, since nothing that we know of raises one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from nlp import grouping
from nlp.cache import AnswerCache
from nlp.grouping import Answer
from nlp.scorer import BATCH_TOKENS, Closed, Overloaded, Prepared, Scorer, ScorerDied, ScorerError
from streams.records import Score

_FRAME_TOKENS: Final = 2
"""What stands before and behind the tokens of every text."""
_CHARACTERS_PER_TOKEN: Final = 3
_GATHER_BATCHES: Final = 16
"""Batches' worth of tokens that are taken from the queue together, so that sorting by length has something to sort."""
_WARM_UP: Final = ("warm", "a sentence of the usual length, as people write it on a Tuesday", "long text " * 60)
_KNOWN: Final = (
    *_WARM_UP,
    "משפט באורך רגיל, כמו שכותבים ביום שלישי",
    "یک جمله معمولی که مردم روز سه‌شنبه می‌نویسند",
    "جملة عادية كما يكتبها الناس يوم الثلاثاء",
    "una frase normal que la gente escribe un martes",
)
"""Texts that a model scores if it knows their script: they tell whether it works where another has failed."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a BatchingScorer.

    `batch_tokens`: padded tokens of one batch, None for what suits the scorer. `queue_tokens`: estimated tokens that
    may wait. `deadline`: seconds that a text waits for others. `cache_texts`: answers remembered (about 3 kB each).
    """

    batch_tokens: int | None = None
    queue_tokens: int = 250_000
    deadline: float = 0.004
    cache_texts: int = 10_000


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters of texts since the start, and what is waiting and remembered now.

    `scored`: answered by a score. Of the readable texts `exact` had been scored before (or stood in the batch twice),
    `near` were near copies of such, `missed` were the model's. `evicted` counts answers that the cache's bound pushed
    out, `remembered` those that it holds. `overloaded` are texts that were not taken: their callers offer them again.
    """

    scored: int = 0
    exact: int = 0
    near: int = 0
    missed: int = 0
    evicted: int = 0
    remembered: int = 0
    refused: int = 0
    failed: int = 0
    overloaded: int = 0
    rounds: int = 0
    busy_seconds: float = 0.0
    queued_tokens: int = 0


class _Request:
    """Texts of one caller and the future that awaits their answers."""

    __slots__ = ("cost", "future", "loop", "texts")

    def __init__(self, texts: list[str], cost: int) -> None:
        self.texts, self.cost = texts, cost
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[Answer]] = self.loop.create_future()

    def _settle(self, answers: list[Answer] | ScorerError) -> None:
        if self.future.done():  # the caller was cancelled meanwhile
            return
        if isinstance(answers, ScorerError):
            self.future.set_exception(answers)
        else:
            self.future.set_result(answers)

    def answer(self, answers: list[Answer] | ScorerError) -> None:
        """Hand the answers to the caller's loop; a loop that is gone has nobody left to tell."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle, answers)


class BatchingScorer:
    """Scores texts for any number of asyncio tasks. Start it, use it, close it; it cannot be started twice."""

    def __init__(self, make: Callable[[], Scorer], limits: Limits = Limits()) -> None:
        """`make` opens the model; it is called on the owner thread, which also closes it."""
        self._make, self._limits = make, limits
        self._waiting: deque[_Request] = deque()
        self._taken: list[_Request] = []
        self._signal = threading.Condition()
        self._cache = AnswerCache(limits.cache_texts)
        self._stats = Stats()
        self._closing = False
        self._broken: BaseException | None = None
        self._thread = threading.Thread(target=self._own, name="scorer", daemon=True)
        self._ready = threading.Event()
        self.model_id = ""
        self.model_revision = ""
        self.max_tokens = 0
        self._batch_tokens = BATCH_TOKENS

    @property
    def stats(self) -> Stats:
        """The counters at this moment."""
        return self._stats

    async def start(self) -> None:
        """Open and warm up the model on its thread; raise what opening raised, for example ModelFilesDamaged."""
        self._thread.start()
        await asyncio.to_thread(self._ready.wait)
        if self._broken is not None:
            raise self._broken

    async def score(self, texts: Sequence[str]) -> list[Answer]:
        """Return for each text its Score, or the Unscorable or ScorerError that stands in for it.

        Raise Overloaded if the queue is full (a request of any size is taken while it is empty), Closed after
        `close`, ScorerDied if the owner thread ended: no answer will ever come, so the process should end as well.
        """
        if not texts:
            return []
        request = _Request(list(texts), sum(self._estimate(text) for text in texts))
        with self._signal:
            self._admit(request)
            self._waiting.append(request)
            self._count(queued_tokens=request.cost)
            self._signal.notify()
        return await request.future

    async def close(self) -> None:
        """Score what is waiting, then free the model and end the thread."""
        with self._signal:
            self._closing = True
            self._signal.notify()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _estimate(self, text: str) -> int:
        return min(self.max_tokens, len(text) // _CHARACTERS_PER_TOKEN + _FRAME_TOKENS)

    def _admit(self, request: _Request) -> None:
        if self._broken is not None:
            raise _died(self._broken)
        if self._closing or not self._thread.is_alive():
            raise Closed("the scorer is closed" if self._closing else "the scorer was not started")
        waiting = self._stats.queued_tokens
        if waiting and waiting + request.cost > self._limits.queue_tokens:
            self._count(overloaded=len(request.texts))
            limit = self._limits.queue_tokens
            raise Overloaded(f"{waiting} tokens are waiting and {request.cost} more would exceed {limit}: try later")

    def _count(self, now: Stats | None = None, **changes: float) -> None:
        """Add to the counters, or to `now` in their place; callers hold the lock."""
        before = now or self._stats
        values = {name: getattr(before, name) + change for name, change in changes.items()}
        self._stats = replace(before, **values)

    def _own(self) -> None:
        """Life of the owner thread."""
        try:
            with contextlib.closing(self._make()) as scorer:
                self.model_id, self.model_revision = scorer.model_id, scorer.model_revision
                self.max_tokens = scorer.max_tokens
                self._batch_tokens = self._limits.batch_tokens or scorer.batch_tokens
                scorer.score(_WARM_UP)
                self._ready.set()
                while self._take():
                    self._round(scorer, self._taken)
        except BaseException as error:  # noqa: BLE001 - a thread has no caller: start and score raise it for all
            self._fail(error)
        finally:
            self._ready.set()

    def _take(self) -> bool:
        """Wait for requests, give others `deadline` seconds to join, take them; False when closed and drained."""
        full = self._batch_tokens * _GATHER_BATCHES
        with self._signal:
            self._signal.wait_for(lambda: self._waiting or self._closing)
            until = time.monotonic() + self._limits.deadline
            while not self._closing and self._stats.queued_tokens < full and (left := until - time.monotonic()) > 0:
                self._signal.wait(left)
            self._taken = []
            cost = 0
            while self._waiting and (not self._taken or cost + self._waiting[0].cost <= full):
                self._taken.append(self._waiting.popleft())
                cost += self._taken[-1].cost
            return bool(self._taken)

    def _round(self, scorer: Scorer, requests: list[_Request]) -> None:
        began = time.monotonic()
        texts = [text for request in requests for text in request.texts]
        try:
            answers = self._answers(scorer, texts)
        except MemoryError:
            raise
        except BaseException as error:  # noqa: BLE001 - a tokeniser's panic is no Exception
            _logger.error(  # noqa: TRY400 - not its message: that may hold a mention's words
                "scoring %d texts together failed (%s): each is tried alone", len(texts), _place(error)
            )
            answers = [self._alone(scorer, text) for text in texts]
        errors = sum(isinstance(answer, ScorerError) for answer in answers)
        refused = sum(isinstance(answer, ValueError) for answer in answers)
        with self._signal:
            # All in one assignment: who reads the counters takes no lock.
            now = replace(self._stats, remembered=len(self._cache), **asdict(self._cache.counts))
            self._count(
                now,
                scored=len(texts) - errors - refused,
                failed=errors,
                refused=refused,
                rounds=1,
                busy_seconds=time.monotonic() - began,
                queued_tokens=-sum(request.cost for request in requests),
            )
        start = 0
        for request in requests:
            request.answer(answers[start : start + len(request.texts)])
            start += len(request.texts)

    def _answers(self, scorer: Scorer, texts: list[str]) -> list[Answer]:
        prepared = scorer.prepare(texts)
        readable = [entry for entry in prepared if isinstance(entry, Prepared)]
        found = iter(self._cache.answer(readable, lambda entries: self._run(scorer, entries)))
        return [next(found) if isinstance(entry, Prepared) else entry for entry in prepared]

    def _alone(self, scorer: Scorer, text: str) -> Answer:
        """Answer one text of a round that failed as a whole; raise what was raised if the text is not to blame."""
        try:
            return self._answers(scorer, [text])[0]
        except MemoryError:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            self._prove(scorer)
            self._cache.counts.missed += 1
            fault = ScorerError(f"the model broke down on this text: {error!r}")
            fault.__cause__ = error
            return fault

    def _prove(self, scorer: Scorer) -> None:
        """Raise what the model, or what we do around it, raises on texts that are known to be good."""
        entries = [entry for entry in scorer.prepare(_KNOWN) if isinstance(entry, Prepared)]
        for answer in AnswerCache(0).answer(entries, lambda known: self._run(scorer, known)):
            if isinstance(answer, ScorerError):
                raise answer

    def _run(self, scorer: Scorer, entries: Sequence[Prepared]) -> dict[str, Score | ScorerError]:
        return grouping.run_distinct(scorer, entries, self._batch_tokens)

    def _fail(self, error: BaseException) -> None:
        with self._signal:
            self._broken = error
            unanswered = [*self._taken, *self._waiting]
            self._waiting.clear()
        for request in unanswered:
            request.answer(_died(error))


def _died(cause: BaseException) -> ScorerDied:
    """Return the error anew: each of its callers adds its own traceback."""
    error = ScorerDied(f"the scorer's thread ended: {cause!r}")
    error.__cause__ = cause
    return error


def _place(error: BaseException) -> str:
    """Return what was raised and where."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
