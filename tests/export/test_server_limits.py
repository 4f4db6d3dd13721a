"""What clients may do to the server: nothing that holds up others, is kept without end, or ends in a traceback."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from export_fixtures import export_all
from servers import HEAD, PATH, Server, files_request, image_file, received

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
SMALL = files_request([image_file(8)])
PATIENCE = 2


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "export"
    export_all(folder)
    return folder


@pytest.fixture(scope="module")
def server(export):
    server = Server(export / "task", "--max_request_mib=1", "--max_request_pixels=100000000", patience=PATIENCE)
    yield server
    code, _, said = server.stop()
    assert code == 0 and said == ""  # of all that follows, nothing is worth a line


def error(answer):
    """The message of a rejection."""
    return json.loads(answer[1])["error"]


def resident_mib(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def test_held_bodies_are_dropped_and_hold_little(server):
    before = resident_mib(server)
    held = []
    for _ in range(40):
        held.append(server.connect(HEAD + b"Content-Length: 1000000\r\n\r\n"))
        held[-1].setblocking(False)
    part = b" " * 4096
    for _ in range(220):
        for connection in held:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                connection.send(part)
    assert server.predict(SMALL)[0] == 200
    assert (
        resident_mib(server) - before < 8 + 40 * 0.32 + 20
    )  # eight of the largest, what is on its way, what a request costs
    for connection in held:
        answer = received(connection, PATIENCE + 20)
        assert answer == b"" or b" 503 " in answer
    assert server.metric("metaaug_held_bytes") == 0


@pytest.mark.parametrize("start", [b"", b"GET /healthz HTTP/1.1\r\nX: "], ids=["idle", "half a head"])
def test_a_connection_without_a_request_is_closed(server, start):
    connection = server.connect(start)
    began = time.monotonic()
    assert received(connection) == b"" and time.monotonic() - began < PATIENCE + 3


def test_a_head_that_comes_in_drops_is_not_waited_for(server):
    connection = server.connect(b"GET /healthz HTTP/1.1\r\n")
    with pytest.raises(ConnectionError):
        for _ in range(100):
            connection.sendall(b"X: y\r\n")
            time.sleep(0.1)


def test_clients_that_hang_up_are_no_news(server):  # stderr is looked at in the end
    for _ in range(20):
        server.connect(HEAD + b"Content-Length: 1000\r\n\r\n{").close()
        server.connect(HEAD + b"Content-Length: %d\r\n\r\n" % len(SMALL) + SMALL).close()
    assert server.predict(SMALL)[0] == 200


def test_two_lengths_end_the_connection(server):
    inner = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    lengths = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(inner))
    answer = received(server.connect(HEAD + lengths + inner))
    assert answer.count(b"HTTP/1.1") == 1 and b" 400 " in answer and b'"error"' in answer


def test_no_http_and_endless_heads_are_rejected_with_json(server):
    assert b'{"error": "the request is not valid HTTP"}' in received(server.connect(b"FOO\r\n\r\n"))
    endless = server.connect(b"GET / HTTP/1.1\r\nX: ")
    time.sleep(0.2)
    endless.sendall(b"y" * 70_000)
    assert b" 431 " in received(endless)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_answered_and_not_read(server, chunked):
    kind = b"Transfer-Encoding: chunked\r\n\r\n200000\r\n" if chunked else b"Content-Length: 99000000\r\n\r\n"
    connection = server.connect(HEAD + kind, b" " * 2**20)
    began = time.monotonic()
    if chunked:
        connection.sendall(b" " * 2**20)
    answer = received(connection)
    assert b" 413 " in answer and b"connection: close" in answer and b"at most 1048576 bytes" in answer
    assert time.monotonic() - began < 5


def test_pixels_are_summed_before_anything_is_decoded(server):
    request = files_request([image_file(4096, compress_level=9)] * 7)
    answer = server.predict(request)
    assert answer[0] == 413 and "100000000 pixels together, not 117440512" in error(answer)
    one = files_request([image_file(4096, compress_level=9)])
    assert server.predict(one)[0] == 200


def test_scans_are_summed_too(server):
    file = image_file(1024, "JPEG", progressive=True, quality=10)
    many = file[:-2] + b"\xff\xda" * 50  # it isn't looked at further
    assert "pixels together" in error(server.predict(files_request([many] * 6)))


def test_a_large_request_does_not_hold_up_small_ones(server):
    large = files_request([image_file(1000, compress_level=9)] * 20)
    answers, seconds = [], []
    thread = threading.Thread(target=lambda: answers.append((server.predict(large)[0], time.monotonic())))
    thread.start()
    while thread.is_alive():
        start = time.monotonic()
        assert server.predict(SMALL)[0] == 200
        seconds.append((time.monotonic(), time.monotonic() - start))
    assert answers[0][0] == 200
    assert sum(end < answers[0][1] for end, _ in seconds) > 3  # answered while the large one was computed


@pytest.mark.parametrize("row", [b'"\\ud800"', b'{"b64":"\xc3\xa9"}', b'{"b64":"\\udfff"}', b'{"b64":"AAA"}', b"NaN"])
def test_what_is_no_bytes_gets_400(server, row):
    answer = server.predict(b'{"signature_name":"serving_bytes","instances":[' + row + b"]}")
    assert answer[0] == 400 and error(answer)


def test_the_image_that_is_wrong_is_named_in_slices_too(server):
    files = [image_file(1000, compress_level=9)] * 12 + [b"text"]
    assert "image 12 of the request is neither" in error(server.predict(files_request(files)))


def test_health_readiness_and_metrics(server):
    assert json.loads(server.ask("GET", "/healthz")[1]) == {"status": "ok"}
    assert json.loads(server.ask("GET", "/readyz")[1]) == {"status": "ready", "version": "1"}
    before = server.metric('metaaug_requests_total{status="200"}')
    server.predict(SMALL)
    assert server.metric('metaaug_requests_total{status="200"}') == before + 3 - 1  # with the metrics and this
    assert server.metric("metaaug_call_examples_sum") > 0 and server.metric("process_resident_memory_bytes") > 1e8


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost", 200), ("127.0.0.1:80", 200), ("[::1]:80", 200), ("pod", 200)),
        *(("evil.example", 421), ("EVIL.example:80", 421), ("127.0.0.1.evil.example.", 421)),
    ],
)
def test_a_name_that_leads_to_loopback_from_outside_is_rejected(server, host, status):
    assert server.ask("GET", "/v1/models/task", headers={"Host": host})[0] == status


def test_a_request_whose_client_is_gone_is_not_computed(server):
    large = files_request([image_file(4096, compress_level=9)] * 5)
    before = server.metric("metaaug_call_examples_sum")
    connection = server.connect(HEAD + b"Content-Length: %d\r\n\r\n" % len(large), large)
    while server.metric("metaaug_call_examples_sum") == before:
        time.sleep(0.01)
    connection.close()
    time.sleep(1)
    after = server.metric("metaaug_call_examples_sum")
    time.sleep(1)
    assert before < after == server.metric("metaaug_call_examples_sum") < before + 5


@pytest.mark.long
def test_a_deadline_is_kept(export):
    server = Server(export / "task", "--deadline_seconds=0.3", "--allowed_hosts=good.example,other.example")
    status, content, headers = server.predict(files_request([image_file(2048, compress_level=9)] * 30))
    assert status == 503 and "not computed within 0.3 s" in json.loads(content)["error"] and headers["Retry-After"]
    assert server.predict(SMALL)[0] == 200
    assert server.ask("GET", "/v1/models/task", headers={"Host": "Good.example"})[0] == 200
    server.process.send_signal(signal.SIGSTOP)
    server.process.send_signal(signal.SIGTERM)
    server.process.send_signal(signal.SIGCONT)
    assert server.process.wait(30) == 0


@pytest.mark.long
def test_sigterm_answers_what_is_under_way_and_ends_in_time(export):
    server = Server(export / "task")
    half = server.connect(HEAD + b"Content-Length: 1000\r\n\r\n{")
    lost, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                status = server.predict(SMALL)[0]
            except ConnectionRefusedError:
                return
            except OSError as problem:
                lost.append(problem)
                return
            lost.extend([status] if status != 200 else [])

    clients = [threading.Thread(target=ask) for _ in range(16)]
    for client in clients:
        client.start()
    time.sleep(1)
    code, seconds, said = server.stop()
    stop.set()
    for client in clients:
        client.join()
    half.close()
    assert (code, said, lost) == (0, "", []) and seconds < 25


@pytest.mark.long
def test_sigterm_answers_those_who_wait_to_be_accepted(export):
    server = Server(export / "task")
    server.process.send_signal(signal.SIGSTOP)
    waiting = [server.connect(b"GET /v1/models/task HTTP/1.1\r\nHost: localhost\r\n\r\n") for _ in range(64)]
    server.process.terminate()
    server.process.send_signal(signal.SIGCONT)
    answers = [received(connection) for connection in waiting]
    assert {answer[:15] for answer in answers} == {b"HTTP/1.1 200 OK"}
    assert server.process.wait(25) == 0


@pytest.mark.long
def test_the_second_signal_is_the_end(export):
    server = Server(export / "task")
    with server.connect(HEAD + b"Content-Length: 1000\r\n\r\n{"):
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(3) == 128 + signal.SIGTERM


@pytest.mark.long
def test_a_new_version_is_picked_up_without_an_error(export, tmp_path):
    folder = tmp_path / "task"
    shutil.copytree(export / "task/1", folder / "1")
    server = Server(folder)
    statuses, stop = set(), threading.Event()

    def ask():
        while not stop.is_set():
            statuses.add(server.predict(SMALL)[0])

    client = threading.Thread(target=ask)
    client.start()
    shutil.copytree(export / "task/1", tmp_path / "aside")
    os.replace(tmp_path / "aside", folder / "2")
    end = time.monotonic() + 60
    while b'"2"' not in server.ask("GET", "/v1/models/task")[1] and time.monotonic() < end:
        time.sleep(0.1)
    stop.set()
    client.join()
    assert statuses == {200}
    assert server.ask("POST", "/v1/models/task/versions/2:predict", SMALL)[0] == 200
    assert server.ask("POST", "/v1/models/task/versions/1:predict", SMALL)[0] == 404
    assert server.stop()[0] == 0


@pytest.mark.long
def test_idle_connections_make_room_where_files_are_few(export):
    code = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); "
    server = Server(export / "task", patience=f"60\n{code}")
    held = [server.connect() for _ in range(400)]
    assert server.predict(SMALL, timeout=10)[0] == 200
    assert sum(received(connection, 0.01) == b"" for connection in held) > 100
    code, _, said = server.stop()
    assert (code, said) == (0, "")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--port=99999", "--port must be from 0 to 65535, got 99999"),
        ("--port=-1", "--port must be"),
        ("--max_request_mib=nan", "--max_request_mib must be above 0 and at most 1024, got nan"),
        ("--max_request_mib=1e400", "--max_request_mib must be"),
        ("--max_request_mib=-1", "--max_request_mib must be"),
        ("--max_batch=0", "--max_batch must be at least 1, got 0"),
        ("--max_request_pixels=0", "--max_request_pixels must be"),
        ("--deadline_seconds=0", "--deadline_seconds must be"),
        ("--host=256.1.1.1", "--host must be a name or address of this machine, got '256.1.1.1'"),
    ],
)
def test_wrong_flags_are_rejected_before_anything_is_loaded(monkeypatch, capsys, flag, said):
    from metaaug_tf.export import serve

    monkeypatch.setattr(sys, "argv", ["serve", "--model=nowhere", flag])
    assert serve.main() == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("metaaug_tf: ") and said in captured.err and captured.out == ""


def test_a_port_that_is_taken_is_named(export):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "metaaug_tf.export.serve", f"--model={export / 'task'}", f"--port={port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and done.stdout == ""
    assert f"metaaug_tf: port {port} of 127.0.0.1 can't be used: Address already in use" in done.stderr


def test_paths_are_those_of_the_requests():
    assert PATH.encode() in HEAD
