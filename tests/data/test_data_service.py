"""Batches made by tf.data services on loopback are those made in this process."""

import signal
import socket
import subprocess
import sys

import pipelines
import pytest
import streamed_photos
from command_runs import signals_by_default

import metaaug_tf as ma
from metaaug_tf.data.service import lost_service_reported, start


def stop(servers):
    for server in reversed(servers):
        server._stop()


@pytest.fixture
def services():
    """(count) -> their addresses, joined by commas; each has a dispatcher and a worker in this process."""
    running = []

    def begin(count):
        running.extend(start("localhost", 0) for _ in range(count))
        return ",".join(dispatcher.target.removeprefix("grpc://") for dispatcher, _ in running)

    yield begin
    for servers in running:
        stop(servers)


@pytest.mark.long
def test_the_same_batches_in_the_same_order_in_every_epoch(services):
    sampler = ma.PairSampler()
    here, there = pipelines.make(sampler), pipelines.make(sampler, data_service=services(2))
    assert int(there.cardinality()) == 4 and there.element_spec == here.element_spec
    first = pipelines.batches(there)
    assert pipelines.same(first, pipelines.batches(here)) and len(first) == 4
    sampler.epoch.assign(1)
    sampler.probabilities.assign(pipelines.one_pair_only(13, 12))
    second = pipelines.batches(there)
    assert pipelines.same(second, pipelines.batches(here)) and not pipelines.same(first, second)
    assert all((inputs["pairs"] == [13, 12]).all() for inputs, _ in second), "services see the present table"


def test_one_service_and_going_on_within_an_epoch(services):
    sampler = ma.PairSampler()
    rest = pipelines.batches(pipelines.make(sampler, first_step=1, data_service=services(1)))
    assert pipelines.same(rest, pipelines.batches(pipelines.make(sampler))[1:]) and len(rest) == 3


def test_images_in_files_are_read_and_cropped_by_the_services(load, services):
    data = load()
    here = streamed_photos.epoch(data, 0, transforms_per_sample=2)[1]
    there = streamed_photos.epoch(data, 0, transforms_per_sample=2, data_service=services(3))[1]
    assert pipelines.same(here, there) and len(there) == len(data.train) // 8


@pytest.mark.parametrize("address", ["localhost", ":5050", "localhost:port", "localhost:65535", "localhost:5050,"])
def test_what_is_no_address_is_refused(address, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *_: socket.socket())
    with pytest.raises(ma.UserError, match="HOST:PORT, for example"):
        pipelines.make(ma.PairSampler(), data_service=address)


def free_ports():
    """A port that is free together with the next one."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("localhost", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("localhost", port + 1))
            except OSError:
                continue
            return port


def test_a_service_that_does_not_answer_is_named():
    address = f"localhost:{free_ports()}"
    with pytest.raises(ma.UserError, match=f"answers at {address}.*data.service --address={address}"):
        pipelines.make(ma.PairSampler(), data_service=address)


def test_a_service_that_was_restarted_in_the_meantime_is_reported():
    port = free_ports()
    train = pipelines.examples(400)
    sizes = {"batch_size": 4, "validation_batch_size": 2}
    plain = ma.Augmentation(policy="none", padding=0, flip=False)
    servers = start("localhost", port)
    dataset = ma.training_dataset(
        train, train, ma.PairSampler(), augmentation=plain, data_service=f"localhost:{port}", **sizes
    )
    with pytest.raises(ma.UserError, match=r"was restarted.*same command resumes"), lost_service_reported():
        for number, _ in enumerate(dataset):
            if number == 1:
                stop(servers)
                servers = start("localhost", port)
    stop(servers)


@pytest.mark.long
def test_the_command_serves_until_it_is_ended_and_refuses_a_port_in_use():
    address = f"localhost:{free_ports()}"
    command = [sys.executable, "-m", "metaaug_tf.data.service", "--address", address]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=signals_by_default
    ) as served:
        try:
            assert served.stdout.readline() == f"serving batches at {address}; Ctrl-C ends it\n"
            sampler = ma.PairSampler()
            there = pipelines.make(sampler, data_service=address)
            assert pipelines.same(pipelines.batches(there), pipelines.batches(pipelines.make(sampler)))
            second = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert second.returncode == 2 and "can't be listened on" in second.stderr
        finally:
            served.send_signal(signal.SIGINT)
        assert served.wait(20) == 0
