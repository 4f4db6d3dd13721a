"""Micro-batching joins what waits, gives everyone his own part, and lets one bad request fail alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from metaaug_tf.export.server.batcher import Batcher


class Recorder:
    """Doubles x, at first only when told to, and notes the sizes of the batches; refuses negative numbers."""

    def __init__(self):
        self.entered, self.release, self.sizes = threading.Event(), threading.Event(), []

    def __call__(self, signature, inputs):
        self.entered.set()
        assert self.release.wait(30)
        values = inputs["x"].numpy()
        self.sizes.append(len(values) if values.ndim else 0)
        if (values < 0).any():
            raise ValueError(f"negative in {signature}")
        return {"y": values * 2}


def ask_all(values, signatures=None, max_batch=100):
    """Answers, or errors, of calls and the sizes of the batches; all but the first come in while that is computed."""
    recorder, signatures = Recorder(), signatures or ["double"] * len(values)
    batcher = Batcher(recorder, max_batch)
    with ThreadPoolExecutor(len(values)) as pool:
        jobs = [(batcher.call, s, {"x": tf.constant(v)}) for s, v in zip(signatures, values, strict=True)]
        futures = [pool.submit(*jobs[0])]
        assert recorder.entered.wait(30)
        for waiting, job in enumerate(jobs[1:], 1):
            futures.append(pool.submit(*job))
            while batcher._jobs.qsize() < waiting and not futures[-1].done():
                time.sleep(0.001)
        recorder.release.set()
        return [future.exception(30) or future.result()["y"] for future in futures], recorder.sizes


def test_waiting_requests_are_joined_and_parted_again():
    values = [np.arange(n, dtype=np.float32) for n in (1, 3, 2, 5, 1)]
    answers, sizes = ask_all(values)
    for value, answer in zip(values, answers, strict=True):
        np.testing.assert_array_equal(answer, 2 * value)
    assert sizes == [1, 11]


def test_a_bad_request_fails_alone():
    values = [np.array([v], np.float32) for v in (1, -2, 3, 4)]
    answers, _ = ask_all(values)
    assert isinstance(answers[1], ValueError)
    np.testing.assert_array_equal([answer[0] for k, answer in enumerate(answers) if k != 1], [2, 6, 8])


def test_batches_stay_within_the_bound_and_other_shapes_and_scalars_apart():
    values = [np.ones((4, 2), np.float32)] * 3 + [np.ones((4, 3), np.float32), np.float32(1), np.float32(2)]
    answers, sizes = ask_all(values, max_batch=8)
    assert sizes == [4, 8, 4, 0, 0]
    assert [answer.shape for answer in answers] == [value.shape for value in values]
    assert answers[-1] == pytest.approx(4)


def test_signatures_are_not_mixed():
    values = [np.array([v], np.float32) for v in (1, -1, 2, 3)]
    answers, _ = ask_all(values, ["a", "b", "a", "b"])
    assert str(answers[1]) == "negative in b" and [answer[0] for answer in (answers[0], *answers[2:])] == [2, 4, 6]
