"""Every command of README.md and docs/ runs, trainings with little data; the page of flags is what the flags are.

Left out are docker (no container engine) and the making of environments, which continuous integration does.
"""

import importlib.metadata
import json
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests
from data_settings import PREPARED, write_images
from PIL import Image

from metaaug_tf import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
DEMO = "python -m metaaug_tf.main --dataset=glyphs --workdir=runs/demo"
# What makes a training small; the last value of a flag counts.
TINY = ("batch_size=8", "validation_batch_size=4", "epochs=1", "warmup_epochs=0", "image_size=16", "jit_compile=False")
TINY += ("model=conv_net", "width=1", "measure_step_ratio=False")
FEW = {
    "glyphs": ("train_per_class=2", "validation_per_class=1", "test_per_class=1", "image_size=32", "epochs=2"),
    "folder": (),
    "omniglot": ("train_per_class=2", "validation_per_class=1", "test_per_class=1"),
    "cifar10": ("train_examples=16", "validation_examples=10", "test_per_class=1"),
}


# Of commands that need downloads or other machines.
ELSEWHERE = ("--config.pretrained=True", "--dataset=imagenet2012", "--distribution=")


def documented() -> dict[str, None]:
    """The commands of all pages in their order, each once; lines that end in a backslash joined."""
    found: dict[str, None] = {}
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            lines = re.sub(r"\s*\\\n\s*", " ", block).splitlines()
            lines = [line.split("  #")[0].strip() for line in lines if not line.startswith("#")]
            lines = [re.sub(r"^srun( --\S+)* ", "", line) for line in lines]
            found |= dict.fromkeys(filter(None, lines))
    return found


COMMANDS = list(documented())


def mode(command: str) -> str:
    """How the command is tried here."""
    words = shlex.split(command)
    if words[:3] == ["python", "-m", "metaaug_tf.main"]:
        return "understood" if any(mark in command for mark in ELSEWHERE) else "main"
    if words[:3] == ["python", "-m", "metaaug_tf.export.serve"]:
        return "serve"
    if words[:3] == ["python", "-m", "metaaug_tf.data.service"] or (words[1:2] and words[1].startswith("benchmarks/")):
        return "help"
    return "pip" if words[:3] == ["python", "-m", "pip"] else words[0]


def commands(*modes: str) -> list[str]:
    return [command for command in COMMANDS if mode(command) in modes]


def test_every_command_is_tried_in_one_of_these_ways():
    assert {mode(command) for command in COMMANDS} == {
        *("main", "understood", "serve", "help", "curl", "docker", "make", "pip", "export")
    }
    assert DEMO in COMMANDS


@pytest.mark.parametrize("command", commands("make"))
def test_make_has_the_target(command):
    done = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and ("metaaug_tf.main" in done.stdout or "pytest" in done.stdout)


@pytest.mark.parametrize("command", commands("help"))
def test_programs_beside_the_main_one_tell_their_flags(command):
    """The test of services (test_data_service.py) runs one."""
    words = shlex.split(command)
    program = [sys.executable, *words[1 : 3 if words[1] == "-m" else 2], "--help"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=120)
    flags = {word.split("=")[0] for word in words if word.startswith("--")}
    assert done.returncode == 0 and all(flag in done.stdout for flag in flags)


@pytest.mark.parametrize("command", commands("export"))
def test_the_cluster_in_the_environment_is_one(command):
    name, value = shlex.split(command)[1].split("=", 1)
    cluster = json.loads(value)
    assert name == "TF_CONFIG" and len(cluster["cluster"]["worker"]) == 2 and cluster["task"]["index"] == 0


@pytest.mark.parametrize("command", commands("pip"))
def test_extras_that_are_installed_exist(command):
    wanted = re.findall(r"\[([\w,]+)\]", command)
    known = importlib.metadata.metadata("metaaug_tf").get_all("Provides-Extra")
    assert set(",".join(wanted).split(",")) - {""} <= set(known)


@pytest.mark.parametrize("command", commands("understood"))
def test_flags_of_a_command_that_needs_downloads_or_other_machines_are_fine(command, monkeypatch):
    arguments(command, monkeypatch)
    main.parse()
    config = main.resolve_config().flat
    given = dict(re.findall(r"--config\.(\w+)=(\S+)", command))
    assert {key: str(config[key]) for key in given} == given


def arguments(command: str, monkeypatch, *more: str) -> None:
    """Makes the command's flags those of the process, as if none had been parsed before."""
    own = (*main.OWN_FLAGS, "config")
    for name in [name for name in main.FLAGS if name in own or name.startswith("config.")]:
        delattr(main.FLAGS, name)
    monkeypatch.setattr(sys, "argv", [*shlex.split(command)[2:], *more])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images of one's own in DIR, and image.png."""
    folder = tmp_path_factory.mktemp("place")
    write_images(folder / "DIR", ["ant", "bee"], 24, size=16)
    Image.fromarray(np.full((32, 32, 3), 77, np.uint8)).save(folder / "image.png")
    return folder


@pytest.fixture
def run(place, monkeypatch):
    """(command) -> None: runs it in `place` in this process, and first what makes the runs that it names."""
    monkeypatch.chdir(place)

    def run_command(command: str) -> None:
        words = shlex.split(command)
        makers = [c for c in commands("main") if "--mode" not in c and "--check_data" not in c and "--workdir" in c]
        for maker in makers:
            workdir = re.search(r"--workdir=(\S+)", maker)[1]
            if maker != command and workdir in command and not Path(workdir, "summary.json").exists():
                run_command(maker)
        given = {word.split("=")[0]: word.split("=")[1] for word in words if "=" in word}
        more = []
        if not given.keys() & {"--mode", "--show_policy"}:
            more = [f"--config.{setting}" for setting in (*TINY, *FEW.get(given["--dataset"], ()))]
        arguments(data_for(command, given.get("--dataset")), monkeypatch, *more)
        assert main.main() == 0

    return run_command


def data_for(command: str, dataset: str | None) -> str:
    """The command with the folder that holds prepared datasets in DIR's place, where it names one."""
    command = command.replace("--dataset=NAME", "--dataset=folder")
    if dataset in ("omniglot", "cifar10"):
        if not PREPARED.is_dir():
            pytest.skip(f"no prepared datasets in {PREPARED}")
        return command.replace("--data_dir=DIR", f"--data_dir={PREPARED}")
    return command


@pytest.mark.long
@pytest.mark.parametrize("command", commands("main"))
def test_commands_of_the_program(command, run, place):
    if "onnx" in command:
        pytest.importorskip("tf2onnx")
        pytest.importorskip("ai_edge_litert")
    run(command)
    for left in {"--check_data": "runs/contact_sheet_folder.png", "--export_format": "runs/demo/export/onnx"}.items():
        assert left[0] not in command or (place / left[1]).exists()
    if (workdir := re.search(r"--workdir=(\S+)", command)) and "--mode" not in command:
        assert (place / workdir[1] / "report.html").is_file()
    if compared := re.search(r"--compare=runs/(\S+)", command):
        assert compared[1] in (place / "runs/mine/report.html").read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.parametrize("command", commands("serve"))
def test_the_server_is_started_and_asked(command, run, place):
    run(next(c for c in commands("main") if re.search(r"--model=(runs/\w+)", command)[1] in c and "--mode" not in c))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = shlex.split(command.replace("8501", port))
    server = subprocess.Popen([sys.executable, *words[1:]], cwd=place, stdout=subprocess.PIPE, text=True)
    try:
        assert "serving" in server.stdout.readline()
        wait_for(f"http://127.0.0.1:{port}/healthz")
        if "demo" in command and shutil.which("curl"):
            (curl,) = commands("curl")
            done = subprocess.run(curl.replace("8501", port), shell=True, cwd=place, capture_output=True, text=True)
            assert "probabilities" in done.stdout, done.stdout + done.stderr
    finally:
        server.terminate()
        server.wait(30)


def wait_for(url: str) -> None:
    for _ in range(200):
        try:
            requests.get(url, timeout=5).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.1)
    raise AssertionError(f"no answer from {url}")


@pytest.mark.long
def test_python_of_the_readme_runs(run, place):
    run(DEMO)
    import keras
    from helpers import random_examples, tiny_task

    from metaaug_tf.policy.show import policy_text

    train, validation = random_examples(128, 0), random_examples(20, 1)
    names = {"task": tiny_task(), "images": train.images, "labels": train.labels}
    names |= {"validation_images": validation.images, "validation_labels": validation.labels}
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.S)):
        exec(compile(code, f"README.md, block {number}", "exec"), names)
    assert names["augmented"].shape == train.images.shape
    assert len(names["result"]["classes"]) == 1 and int(names["model"].sampler.epoch.numpy()) == 30
    assert isinstance(names["model"].task, keras.Model) and "Rotate" in policy_text(Path("runs/demo/policy"))


def test_the_page_of_flags_is_current(monkeypatch):
    arguments(DEMO, monkeypatch)
    maker = runpy.run_path(str(ROOT / "docs/make_command_line.py"))
    main.define_flags("default")
    assert maker["PAGE"].read_text(encoding="utf-8") == maker["page"](), "run python docs/make_command_line.py"
