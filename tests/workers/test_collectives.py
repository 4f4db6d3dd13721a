"""What workers exchange, to the bit: three of them, each in a thread of its own."""

import numpy as np
import pytest
import tensorflow as tf
from pretended_workers import all_of

from metaaug_tf.checkpoints.folder import Checkpoint, Position
from metaaug_tf.errors import UserError
from metaaug_tf.workers import collectives as module
from metaaug_tf.workers.collectives import Collectives, strategy_all_reduce


def test_totals_are_sums_over_all():
    found = all_of(3, lambda worker: worker.total(np.array([[1, worker.index, -5]])))
    for total in found:
        np.testing.assert_array_equal(total, [[3, 3, -15]])


DTYPES = [np.float32, np.float64, np.uint8, np.bool_, np.int64]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_arrays_are_gathered_in_order_and_to_the_bit(dtype):
    """Sizes that are no multiple of the eight bytes of a summand."""
    values = np.random.default_rng(0).integers(0, 256, [3, 2, 3 * np.dtype(dtype).itemsize], np.uint8)
    own = [(part % 2 if dtype is np.bool_ else part).view(dtype) for part in values]
    for gathered in all_of(3, lambda worker: worker.gather(own[worker.index])):
        assert gathered.dtype == dtype and gathered.shape == (6, 3)
        assert gathered.tobytes() == b"".join(part.tobytes() for part in own)


def test_not_a_number_and_minus_zero_are_gathered_to_the_bit():
    own = np.array([[1.5, -0.0, np.nan]], np.float32)
    for gathered in all_of(3, lambda worker: worker.gather(own)):
        assert gathered.tobytes() == 3 * own.tobytes()


def test_messages_are_gathered_and_long_ones_cut():
    texts = ["é" * 3, "x" * 100_000, ""]
    found = all_of(3, lambda worker: worker.messages(texts[worker.index]))
    assert found == [["ééé", "x" * 8192, ""]] * 3


def test_a_message_cut_within_a_letter_stays_readable():
    found = all_of(2, lambda worker: worker.messages("x" + "é" * 5000))
    assert found[0] == ["x" + "é" * 4095] * 2


@pytest.mark.parametrize("length", [0, 1, 16, 17, 40])
def test_the_chiefs_bytes_reach_all_whatever_the_others_pass(monkeypatch, length):
    monkeypatch.setattr(module, "_PIECE", 16)
    content = bytes(range(1, length + 1))
    assert all_of(3, lambda worker: worker.broadcast(content if worker.index == 0 else b"other")) == [content] * 3


def test_what_the_chief_reads_all_have_to_the_bit():
    arrays = {"model/00000": np.array([-0.0, 1e-45, np.inf], np.float32), "big": np.arange(3_000_000)}
    saved = Checkpoint(Position(2, 5), arrays, {"digest": "d", "callbacks": [{"best": 0.1}]})
    for one in all_of(2, lambda worker: worker.from_chief(lambda: saved, Checkpoint.to_bytes, Checkpoint.from_bytes)):
        assert one.position == saved.position and one.metadata["callbacks"] == [{"best": 0.1}]
        assert {name: array.tobytes() for name, array in one.tensors.items()} == {
            name: array.tobytes() for name, array in arrays.items()
        }


def test_only_the_chief_reads_and_its_rejection_is_everyones():
    asked = []

    def reject(worker):
        asked.append(worker.index)
        raise UserError("all damaged: é")

    errors = all_of(3, lambda worker: worker.from_chief(lambda: reject(worker), str.encode, bytes.decode))
    assert [(type(error), str(error)) for error in errors] == [(UserError, "all damaged: é")] * 3 and asked == [0]


def test_alone_there_is_nobody_to_talk_to():
    def never(own):
        raise AssertionError

    alone, array = Collectives(0, 1, never), np.array([1.5])
    assert alone.total(array) is array and alone.gather(array) is array
    assert alone.messages("x" * 10_000) == ["x" * 10_000] and alone.broadcast(b"x") == b"x"
    assert alone.from_chief(lambda: 3, None, None) == 3


def test_the_default_strategy_joins_nobody():
    alone = Collectives.of(tf.distribute.get_strategy())
    assert (alone.index, alone.count) == (0, 1)


def test_a_strategys_all_reduce_sums_its_workers_and_traces_each_shape_once():
    class OneOfTwo:
        reduced = 0

        def reduce(self, kind, values, axis):
            assert kind == "SUM" and axis is None
            self.reduced += 1
            return values + 10

    strategy = OneOfTwo()
    total = strategy_all_reduce(strategy)
    for own in ([1, 2], [3, 4], [[5]]):
        np.testing.assert_array_equal(total(np.array(own)), np.array(own) + 10)
    assert strategy.reduced == 2
