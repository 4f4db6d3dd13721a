"""Lanes join what is small, cut what is large, give everyone his own part, and survive whatever a call raises."""

import threading
from concurrent.futures import Future

import numpy as np
import pytest

from metaaug_tf.export.server import batcher as module
from metaaug_tf.export.server.batcher import LANES, SLICE_SECONDS, Batcher, Job, LaneFull


class Recorder:
    """Doubles x, at first only when released, and notes what each call got; refuses negative numbers."""

    def __init__(self):
        self.entered, self.release, self.calls = threading.Event(), threading.Event(), []

    def __call__(self, inputs):
        self.entered.set()
        assert self.release.wait(30)
        self.calls.append(inputs["x"].tolist())
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return {"y": inputs["x"] * 2}

    def sizes(self):
        return [len(call) if isinstance(call, list) else 0 for call in self.calls]


@pytest.fixture
def lanes():
    made = []

    def make(max_batch=100):
        made.append(Batcher(deliver, max_batch))
        return made[-1]

    yield make
    for batcher in made:
        batcher.close()


def deliver(finished):
    for job, answer in finished:
        if isinstance(answer, BaseException):
            job.handle.set_exception(answer)
        else:
            job.handle.set_result(answer)


def job(function, values, key="double", seconds=0.001, lane="small"):
    values = np.asarray(values, np.float32)
    each = [seconds] * (len(values) if values.ndim else 1)
    return Job(function, {"x": values}, each, key, lane, lambda outputs: outputs["y"], handle=Future())


def ask_all(batcher, recorder, jobs):
    """Answers, or errors; all but the first job come in while that is computed."""
    batcher.submit(jobs[0])
    assert recorder.entered.wait(30)
    for other in jobs[1:]:
        batcher.submit(other)
    recorder.release.set()
    return [job.handle.exception(30) or job.handle.result() for job in jobs]


def test_waiting_requests_are_joined_and_parted_again(lanes):
    recorder, values = Recorder(), [np.arange(n, dtype=np.float32) for n in (1, 3, 2, 5, 1)]
    for value, answer in zip(values, ask_all(lanes(), recorder, [job(recorder, v) for v in values]), strict=True):
        np.testing.assert_array_equal(answer, 2 * value)
    assert recorder.sizes() == [1, 11]


def test_a_bad_request_fails_alone(lanes):
    recorder = Recorder()
    *answers, last = ask_all(lanes(), recorder, [job(recorder, [value]) for value in (*range(16), -1)])
    assert isinstance(last, ValueError)
    np.testing.assert_array_equal(np.concatenate(answers), 2 * np.arange(16))
    assert len(recorder.calls) <= 2 + 2 * 4  # by halves, not one by one


def test_an_answer_that_can_not_be_made_fails_alone(lanes):
    recorder = Recorder()
    jobs = [job(recorder, [value]) for value in (1, 2, 3)]
    jobs[1].finish = lambda outputs: 1 // 0
    answers = ask_all(lanes(), recorder, jobs)
    assert isinstance(answers[1], ZeroDivisionError) and [answers[0][0], answers[2][0]] == [2, 6]


def test_batches_stay_within_the_bound_and_other_kinds_and_scalars_apart(lanes):
    recorder = Recorder()
    values = [[1, 1, 1, 1]] * 3 + [[1, 1, 1, 1], 1, 2]
    keys = ["a", "a", "a", "b", None, None]
    answers = ask_all(lanes(8), recorder, [job(recorder, v, k) for v, k in zip(values, keys, strict=True)])
    assert recorder.sizes() == [4, 8, 4, 0, 0]
    assert [np.shape(answer) for answer in answers] == [np.shape(value) for value in values]
    assert answers[-1] == 4


def test_large_requests_are_computed_in_slices_by_turns(lanes):
    recorder, slow = Recorder(), 0.4 * SLICE_SECONDS
    jobs = [job(recorder, values, seconds=slow, lane="large") for values in ([1, 2, 3, 4, 5], [11, 12, 13])]
    answers = ask_all(lanes(), recorder, jobs)
    assert [answer.tolist() for answer in answers] == [[2, 4, 6, 8, 10], [22, 24, 26]]
    assert recorder.calls == [[1, 2], [11, 12], [3, 4], [13, 5]]


def test_an_example_that_takes_longer_than_a_slice_is_computed_alone(lanes):
    recorder = Recorder()
    ask_all(lanes(), recorder, [job(recorder, [1, 2, 3], seconds=2 * SLICE_SECONDS, lane="large")])
    assert recorder.calls == [[1], [2], [3]]


def test_no_more_than_a_slice_is_joined(lanes):
    recorder = Recorder()
    ask_all(lanes(), recorder, [job(recorder, [value], seconds=0.4 * SLICE_SECONDS) for value in range(6)])
    assert recorder.calls == [[0], [1, 2], [3, 4], [5]]


def test_small_requests_do_not_wait_for_large_ones(lanes):
    held, free, batcher = Recorder(), Recorder(), lanes()
    free.release.set()
    large, small = job(held, [1], lane="large"), job(free, [2])
    batcher.submit(large)
    assert held.entered.wait(30)
    batcher.submit(small)
    assert small.handle.result(30) == 4 and not large.handle.done()
    held.release.set()
    assert large.handle.result(30) == 2


@pytest.mark.parametrize("error", [MemoryError, SystemExit, KeyboardInterrupt])
def test_a_lane_survives_whatever_a_call_raises(lanes, error):
    def fail(inputs):
        raise error

    recorder, batcher, failing = Recorder(), lanes(), job(fail, [1])
    recorder.release.set()
    batcher.submit(failing)
    assert isinstance(failing.handle.exception(30), error)
    after = job(recorder, [1])
    batcher.submit(after)
    assert after.handle.result(30) == 2 and batcher.trouble() is None


def test_what_nobody_waits_for_is_not_computed(lanes):
    recorder = Recorder()
    jobs = [job(recorder, [value], key) for value, key in ((1, "a"), (2, "b"), (3, "c"))]
    jobs[1].cancelled = True
    batcher = lanes()
    batcher.submit(jobs[0])
    assert recorder.entered.wait(30)
    for other in jobs[1:]:
        batcher.submit(other)
    recorder.release.set()
    assert jobs[2].handle.result(30) == 6
    assert recorder.calls == [[1], [3]]


def test_a_queue_is_bounded_and_what_was_cancelled_makes_room(lanes):
    recorder, batcher = Recorder(), lanes()
    batcher.submit(job(recorder, [0], lane="large"))
    assert recorder.entered.wait(30)
    waiting = [job(recorder, [1], lane="large") for _ in range(LANES["large"])]
    for other in waiting:
        batcher.submit(other)
    assert batcher.waiting() == {"small": 0, "large": LANES["large"], "new": 0}
    with pytest.raises(LaneFull):
        batcher.submit(job(recorder, [2], lane="large"))
    waiting[0].cancelled = True
    batcher.submit(job(recorder, [2], lane="large"))
    recorder.release.set()


def test_a_call_that_does_not_end_is_trouble(lanes, monkeypatch):
    recorder, batcher = Recorder(), lanes()
    batcher.submit(job(recorder, [0]))
    assert recorder.entered.wait(30) and batcher.trouble() is None
    monkeypatch.setattr(module, "_STUCK_SECONDS", -1.0)
    assert "small requests has taken more than" in batcher.trouble()
    recorder.release.set()
