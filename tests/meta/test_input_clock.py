"""The time that training waits for input, against inputs that take a known time."""

import time

import numpy as np
import tensorflow as tf

from metaaug_tf.meta.loop import InputClock

BATCHES = 10


def pause(seconds, value):
    def sleep(value):
        time.sleep(seconds)
        return value

    return tf.ensure_shape(tf.numpy_function(sleep, [value], value.dtype), [])


def seconds_waited(input_seconds, step_seconds):
    """What the clock says and what the steps took altogether."""
    dataset = tf.data.Dataset.range(BATCHES).map(lambda number: pause(input_seconds, number)).prefetch(2)
    clock, batches = InputClock(), iter(dataset)
    step = tf.function(lambda: pause(step_seconds, clock.next(batches)))
    started = time.monotonic()
    assert [int(step()) for _ in range(BATCHES)] == list(range(BATCHES))
    elapsed = time.monotonic() - started
    return clock.read_and_reset(), elapsed, clock.read_and_reset()


def test_steps_that_take_no_time_wait_for_all_that_the_input_takes():
    waited, elapsed, after_reset = seconds_waited(0.03, 0.0)
    assert 0.03 * BATCHES * 0.9 <= waited <= elapsed and after_reset == 0


def test_input_that_is_quicker_than_the_steps_is_ready_before_they_ask():
    shares = []
    for _ in range(3):  # the least of three, as other processes may hold up the input's thread
        waited, elapsed, _ = seconds_waited(0.002, 0.03)
        shares.append(waited / elapsed)
    assert np.min(shares) < 0.1
