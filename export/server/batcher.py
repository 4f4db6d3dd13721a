"""Computes requests in lanes: small ones are joined, large ones are cut into slices, and neither waits for the other.

A lane is a thread with a queue. It takes what stands in front; if that is done within a slice's time, others of the
same kind that wait are computed together with it, since most of a small call is overhead (0.5 ms for one small image,
0.1 ms for one of 32; the demo's network). If it is not, a slice is computed and the rest goes to the end of the queue.
Requests that need more than one slice have a lane of their own, and so have those for which the model must be compiled
first: the operating system shares the cores between the lanes, so that a small request waits for no large one, not
even for the decoding of a single large image.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
# How long a lane computes before it turns to the next request, unless one example alone takes longer.
SLICE_SECONDS = 0.05
# Requests that may wait in a lane; further ones are rejected. "new" is for those that need compiling.
LANES = {"small": 512, "large": 128, "new": 128}
_STUCK_SECONDS = 120.0
_log = logging.getLogger(__name__)


class LaneFull(Exception):
    """A lane's queue holds as many requests as it may."""


@dataclass(eq=False)
class Job:
    """A request on its way.

    Attributes:
        function: inputs by name -> outputs by name, arrays; [B, ...] in all of them, where `joinable`.
        inputs: by name.
        seconds: estimated time of each example; of the whole where it can't be cut.
        key: equal for jobs that can be joined; None where an input has no batch axis: neither joined nor cut.
        lane: one of LANES.
        finish: makes the answer of all outputs, in the lane's thread.
        answer_bytes: about the length of the answer.
        handle: of whoever asked, not looked at here.
        cancelled: nobody waits for it any more.
        done: number of examples computed.
    """

    function: Callable[[Arrays], Arrays]
    inputs: Arrays
    seconds: Sequence[float]
    key: Hashable | None
    lane: str
    finish: Callable[[Arrays], Any]
    answer_bytes: int = 0
    handle: Any = None
    cancelled: bool = False
    done: int = 0
    parts: list[Arrays] = field(default_factory=list)

    def left(self) -> float:
        """Estimated seconds of what is not computed yet."""
        return sum(self.seconds[self.done :])

    def slice_end(self, seconds: float, examples: int) -> int:
        """The end of the longest run of examples from `done` on that fits; one example always does."""
        end = self.done + 1
        spent = self.seconds[self.done]
        while end < len(self.seconds) and end - self.done < examples and spent + self.seconds[end] <= seconds:
            spent += self.seconds[end]
            end += 1
        return end


# What a lane computes at once: jobs with the range of their examples.
Pieces = list[tuple[Job, int, int]]
Finished = list[tuple[Job, Any]]


class Batcher:
    """The lanes."""

    def __init__(
        self,
        deliver: Callable[[Finished], None],
        max_batch: int,
        computed: Callable[[int, float], None] = lambda examples, seconds: None,
    ):
        """Starts a thread for each lane.

        Args:
            deliver: gets jobs with their answers, or with the exceptions that were raised; called in a lane's thread.
            max_batch: most examples computed at once.
            computed: gets the number of examples and the seconds of each call, for metrics.
        """
        self._lanes = {name: _Lane(name, size, deliver, max_batch, computed) for name, size in LANES.items()}

    def submit(self, job: Job) -> None:
        """Queues a job.

        Raises:
            LaneFull: too many are waiting.
        """
        self._lanes[job.lane].submit(job)

    def waiting(self) -> dict[str, int]:
        """The number of jobs that wait in each lane."""
        return {name: len(lane.jobs) for name, lane in self._lanes.items()}

    def trouble(self) -> str | None:
        """What is wrong with a lane; None if nothing is."""
        for name, lane in self._lanes.items():
            if not lane.thread.is_alive():
                return f"the thread for {name} requests has ended"
            if lane.since is not None and time.monotonic() - lane.since > _STUCK_SECONDS:
                return f"a call for {name} requests has taken more than {_STUCK_SECONDS:.0f} s"
        return None

    def close(self, seconds: float = 5.0) -> bool:
        """Ends the threads once they have computed their current call; whether all did within `seconds`."""
        for lane in self._lanes.values():
            lane.close()
        end = time.monotonic() + seconds
        for lane in self._lanes.values():
            lane.thread.join(max(0.0, end - time.monotonic()))
        return not any(lane.thread.is_alive() for lane in self._lanes.values())


class _Lane:
    """A queue and the thread that works on it."""

    def __init__(self, name: str, size: int, deliver, max_batch: int, computed):
        self.jobs: deque[Job] = deque()
        self.since: float | None = None
        self._size, self._deliver, self._max_batch, self._computed = size, deliver, max_batch, computed
        self._closed, self._changed = False, threading.Condition()
        self.thread = threading.Thread(target=self._work, daemon=True, name=f"{name} requests")
        self.thread.start()

    def submit(self, job: Job) -> None:
        with self._changed:
            if len(self.jobs) >= self._size:
                self.jobs = deque(other for other in self.jobs if not other.cancelled)
                if len(self.jobs) >= self._size:
                    raise LaneFull
            self.jobs.append(job)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _work(self) -> None:
        while not self._closed:
            try:
                with self._changed:
                    self._changed.wait_for(lambda: self.jobs or self._closed)
                    pieces = self._take()
                self._turn(pieces)
            except BaseException:  # whatever it is, those who ask next must be answered
                _log.exception("a lane continues after an error")

    def _take(self) -> Pieces:
        """The next piece of the front job, and whole jobs that can be computed with it."""
        pieces: Pieces = []
        left, examples, later = SLICE_SECONDS, self._max_batch, []
        while self.jobs:
            job = self.jobs.popleft()
            if job.cancelled:
                continue
            end = len(job.seconds) if pieces else job.slice_end(left, examples)
            if pieces and (job.key != pieces[0][0].key or job.left() > left or end - job.done > examples):
                later.append(job)
                continue
            pieces.append((job, job.done, end))
            left -= sum(job.seconds[job.done : end])
            examples -= end - job.done
            if end < len(job.seconds) or job.key is None:
                break
        self.jobs.extendleft(reversed(later))
        return pieces

    def _turn(self, pieces: Pieces) -> None:
        self.since = time.monotonic()
        try:
            finished = self._computed_pieces(pieces) if pieces else []
        finally:
            self.since = None
        unfinished = [job for job, _, _ in pieces if job.done < len(job.seconds) and not _failed(job, finished)]
        with self._changed:
            self.jobs.extend(unfinished)
        if finished:
            self._deliver(finished)

    def _computed_pieces(self, pieces: Pieces) -> Finished:
        """Computes the pieces together; after an error by halves, so that it is one job's alone."""
        start = time.monotonic()
        try:
            outputs = pieces[0][0].function(_joined(pieces))
            self._computed(sum(end - begin for _, begin, end in pieces), time.monotonic() - start)
            return [
                done for piece, part in zip(pieces, _parted(pieces, outputs), strict=True) for done in _add(piece, part)
            ]
        except BaseException as error:
            if len(pieces) == 1:
                return [(pieces[0][0], error)]
        half = len(pieces) // 2
        return self._computed_pieces(pieces[:half]) + self._computed_pieces(pieces[half:])


def _failed(job: Job, finished: Finished) -> bool:
    return any(job is other for other, _ in finished)


def _add(piece: tuple[Job, int, int], part: Arrays) -> Finished:
    """Keeps a piece's outputs; the job with its answer if it was the last piece."""
    job, _, end = piece
    parts = [*job.parts, part]
    if end < len(job.seconds):
        job.parts, job.done = parts, end
        return []
    whole = {name: np.concatenate([p[name] for p in parts]) for name in part} if len(parts) > 1 else part
    job.done, job.parts = end, []
    try:
        return [(job, job.finish(whole))]
    except Exception as error:
        return [(job, error)]


def _joined(pieces: Pieces) -> Arrays:
    job, start, end = pieces[0]
    if job.key is None:
        return job.inputs
    if len(pieces) == 1:
        return {name: value[start:end] for name, value in job.inputs.items()}
    return {name: np.concatenate([job.inputs[name][start:end] for job, start, end in pieces]) for name in job.inputs}


def _parted(pieces: Pieces, outputs: Arrays) -> list[Arrays]:
    if len(pieces) == 1:
        return [outputs]
    ends = np.cumsum([end - start for _, start, end in pieces]).tolist()
    return [
        {name: value[start:end] for name, value in outputs.items()}
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]
