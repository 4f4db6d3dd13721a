"""What workers tell each other, and that all come to the same end: two of them, each in a thread of its own."""

import signal

import numpy as np
import pytest
from pretended_workers import Pretending, both

from metaaug_tf.checkpoints.folder import Position, Saved
from metaaug_tf.errors import UserError, WorkerLost
from metaaug_tf.signals import Stopped
from metaaug_tf.workers.workers import Workers, loss_of_workers_named


def messages_of(errors, kind=UserError):
    assert all(type(error) is kind for error in errors), errors
    return [str(error) for error in errors]


def test_arrays_are_gathered_to_the_bit():
    def act(worker):
        own = np.array([[1.5, -0.0, np.nan], [7, 8, worker.number]], np.float32)
        return worker.gather(own), own

    (first, own), (second, other) = both(act)
    for gathered in (first, second):
        assert gathered.dtype == np.float32 and gathered.tobytes() == np.concatenate([own, other]).tobytes()


def test_messages_are_gathered_and_long_ones_cut():
    found = both(lambda worker: worker.messages("é" * 3 if worker.is_chief else "x" * 100_000))
    assert found[0] == found[1] and found[0][0] == "ééé" and found[0][1] == "x" * 8192


def test_what_the_chief_reads_all_have_to_the_bit():
    arrays = {"model/00000": np.array([-0.0, 1e-45, np.inf], np.float32), "big": np.arange(3_000_000)}
    saved = Saved(Position(2, 5), arrays, {"digest": "d", "callbacks": [{"best": 0.1}]})
    found = both(lambda worker: worker.from_chief(lambda: saved, Saved.to_bytes, Saved.from_bytes))
    for one in found:
        assert one.position == saved.position and one.facts["callbacks"] == [{"best": 0.1}]
        assert {name: array.tobytes() for name, array in one.tensors.items()} == {
            name: array.tobytes() for name, array in arrays.items()
        }


def test_only_the_chief_reads_and_its_refusal_is_everyones():
    asked = []

    def refuse(worker):
        asked.append(worker.number)
        raise UserError("all damaged")

    errors = both(lambda worker: worker.from_chief(lambda: refuse(worker), Saved.to_bytes, Saved.from_bytes))
    assert messages_of(errors) == ["all damaged"] * 2 and asked == [0]


def refuse_together(texts):
    def act(worker):
        with worker.refusing_together():
            if texts[worker.number]:
                raise UserError(texts[worker.number])
        return "fine"

    return both(act)


def test_what_one_refuses_all_refuse_with_its_name():
    assert refuse_together(["", ""]) == ["fine", "fine"]
    assert messages_of(refuse_together(["", "no data"])) == ["worker 1 (b:2): no data"] * 2
    assert messages_of(refuse_together(["no data", "no data"])) == ["no data"] * 2
    assert messages_of(refuse_together(["x", "y"])) == ["worker 0 (a:1): x\nworker 1 (b:2): y"] * 2


def test_other_data_than_the_chiefs_are_refused_by_all():
    assert both(lambda worker: worker.check_same("data", "same")) == [None, None]
    errors = both(lambda worker: worker.check_same("data", str(worker.number)))
    assert messages_of(errors) == ["worker 1 (b:2) have other data than the chief, worker 0 (a:1)"] * 2


class Request:
    """Stands for a StopRequest."""

    def __init__(self, number=None):
        self.number = number


@pytest.mark.parametrize("receiver", [0, 1])
def test_a_signal_to_one_stops_all(receiver):
    def act(worker):
        stop = Request(signal.SIGTERM if worker.number == receiver else None)
        assert worker.agree(stop) == (signal.SIGTERM, False)
        worker.check_stop(stop)

    errors = both(act)
    assert [type(error) for error in errors] == [Stopped] * 2 and [error.exit_code for error in errors] == [143] * 2


def test_the_chiefs_clock_says_when_a_checkpoint_is_due():
    assert both(lambda worker: worker.agree(Request(), due=worker.is_chief)) == [(None, True)] * 2
    assert both(lambda worker: worker.agree(Request(), due=not worker.is_chief)) == [(None, False)] * 2


def test_alone_nothing_has_to_be_agreed():
    alone = Workers()
    assert (alone.count, alone.number, alone.is_chief, alone.replicas) == (1, 0, True, 1)
    assert alone.agree(Request(signal.SIGINT), due=True) == (signal.SIGINT, True)
    assert alone.messages("x") == ["x"] and alone.from_chief(lambda: 3, None, None) == 3
    with pytest.raises(UserError, match="as it is"), alone.refusing_together():
        raise UserError("as it is")


LOST = [
    ("Collective ops is aborted by: ... /job:worker/replica:0/task:1 stopped sending heartbeats", "worker 1 (b:2)"),
    ("Socket closed", "another worker"),
    ("from /job:worker/replica:0/task:0: /job:worker/task:1", "worker 1 (b:2)"),
]


@pytest.mark.parametrize(("text", "name"), LOST, ids=[name for _, name in LOST])
def test_a_dead_worker_is_named(text, name):
    import tensorflow as tf

    with pytest.raises(WorkerLost) as lost, loss_of_workers_named(Pretending(0, None)):
        raise tf.errors.UnavailableError(None, None, text)
    assert f"lost contact with {name};" in str(lost.value) and "go on from the newest checkpoint" in str(lost.value)


def test_errors_of_ones_own_pass():
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError), loss_of_workers_named(Pretending(0, None)):
        raise tf.errors.InvalidArgumentError(None, None, "shapes")
    with pytest.raises(tf.errors.UnavailableError), loss_of_workers_named(Workers()):
        raise tf.errors.UnavailableError(None, None, "a file server")
