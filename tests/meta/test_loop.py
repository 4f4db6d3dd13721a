"""make_loop: how many steps a call takes, which kind each is, and where the data end."""

from types import SimpleNamespace

import pytest
import tensorflow as tf

from metaaug_tf.meta.loop import make_loop


@pytest.mark.parametrize("run_eagerly", [True, False])
@pytest.mark.parametrize(("count", "last"), [(1, [0, 1, 2, 3, 4]), (2, [1, 3]), (5, [4])])
def test_a_call_takes_as_many_steps_as_it_is_to_and_returns_the_last_ones_logs(run_eagerly, count, last):
    settings = {"steps_per_execution": count, "jit_compile": False, "run_eagerly": run_eagerly}
    model = SimpleNamespace(distribute_strategy=tf.distribute.get_strategy(), **settings)
    turn = tf.Variable(0)

    def take(kind, batch):
        turn.assign(1 - turn)
        return {"batch": batch, "kind": tf.constant(kind)}

    loop = make_loop(model, [lambda batch: take(0, batch), lambda batch: take(1, batch)], choose=turn.read_value)
    batches, found = iter(tf.data.Dataset.range(5)), []
    with pytest.raises(StopIteration):
        while True:
            found.append(loop(batches))
    assert [int(logs["batch"]) for logs in found] == last
    assert [int(logs["kind"]) for logs in found] == [index % 2 for index in last]
