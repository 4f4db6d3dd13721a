"""What workers decide and reject together: two of them, each in a thread of its own."""

import signal

import pytest
import tensorflow as tf
from pretended_workers import Pretending, both

from metaaug_tf.errors import UserError, WorkerLost
from metaaug_tf.signals import Stopped
from metaaug_tf.workers.cluster import Cluster
from metaaug_tf.workers.workers import Workers, raising_worker_lost


def messages_of(errors, kind=UserError):
    assert all(type(error) is kind for error in errors), errors
    return [str(error) for error in errors]


def reject_together(texts):
    def act(worker):
        with worker.rejecting_together():
            if texts[worker.index]:
                raise UserError(texts[worker.index])
        return "fine"

    return both(act)


def test_what_one_rejects_all_reject_with_its_name():
    assert reject_together(["", ""]) == ["fine", "fine"]
    assert messages_of(reject_together(["", "no data"])) == ["worker 1 (b:2): no data"] * 2
    assert messages_of(reject_together(["no data", "no data"])) == ["no data"] * 2
    assert messages_of(reject_together(["x", "y"])) == ["worker 0 (a:1): x\nworker 1 (b:2): y"] * 2


def test_other_data_than_the_chiefs_are_rejected_by_all():
    assert both(lambda worker: worker.check_same("data", "same")) == [None, None]
    errors = both(lambda worker: worker.check_same("data", str(worker.index)))
    assert messages_of(errors) == ["worker 1 (b:2) have other data than the chief, worker 0 (a:1)"] * 2


class Request:
    """Stands for a StopRequest."""

    def __init__(self, signum=None):
        self.signum = signum


@pytest.mark.parametrize("receiver", [0, 1])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_one_stops_all(receiver, signum, code):
    def act(worker):
        stop = Request(signum if worker.index == receiver else None)
        assert worker.agree(stop) == (signum, False)
        worker.check_stop(stop)

    errors = both(act)
    assert [type(error) for error in errors] == [Stopped] * 2 and [error.exit_code for error in errors] == [code] * 2


def test_the_chiefs_clock_says_when_a_checkpoint_is_due():
    assert both(lambda worker: worker.agree(Request(), due=worker.is_chief)) == [(None, True)] * 2
    assert both(lambda worker: worker.agree(Request(), due=not worker.is_chief)) == [(None, False)] * 2


def test_the_first_is_the_chief():
    assert both(lambda worker: (worker.index, worker.count, worker.is_chief)) == [(0, 2, True), (1, 2, False)]


def test_alone_nothing_has_to_be_agreed():
    alone = Workers()
    assert (alone.count, alone.index, alone.is_chief, alone.replicas) == (1, 0, True, 1)
    assert alone.agree(Request(signal.SIGINT), due=True) == (signal.SIGINT, True)
    with pytest.raises(UserError, match="as it is"), alone.rejecting_together():
        raise UserError("as it is")


LOST = [
    ("Collective ops is aborted by: ... /job:worker/replica:0/task:1 stopped sending heartbeats", "worker 1 (b:2)"),
    ("Socket closed", "another worker"),
    ("from /job:worker/replica:0/task:0: /job:worker/task:1", "worker 1 (b:2)"),
    ("/job:worker/task:1 is gone: /job:worker/replica:0/task:0", "worker 1 (b:2)"),
    ("/job:worker/replica:0/task:0", "another worker"),
]


@pytest.mark.parametrize(("text", "name"), LOST, ids=range(len(LOST)))
def test_a_dead_worker_is_named(text, name):
    with pytest.raises(WorkerLost) as lost, raising_worker_lost(Pretending(0, None)):
        raise tf.errors.UnavailableError(None, None, text)
    assert f"lost contact with {name};" in str(lost.value) and "resume from the newest checkpoint" in str(lost.value)


def test_a_dead_worker_is_named_beside_a_chief_in_a_job_of_its_own():
    worker = Pretending(0, None)
    worker.cluster = Cluster(("a:1", "b:2", "c:3"), 0, chiefs=1)
    with pytest.raises(WorkerLost, match=r"lost contact with worker 2 \(c:3\);"), raising_worker_lost(worker):
        raise tf.errors.UnavailableError(None, None, "/job:chief/task:0: /job:worker/task:1")


def test_errors_of_ones_own_pass():
    with pytest.raises(tf.errors.InvalidArgumentError), raising_worker_lost(Pretending(0, None)):
        raise tf.errors.InvalidArgumentError(None, None, "shapes")
    with pytest.raises(tf.errors.UnavailableError), raising_worker_lost(Workers()):
        raise tf.errors.UnavailableError(None, None, "a file server")
