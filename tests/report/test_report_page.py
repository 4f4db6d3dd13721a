"""The run report as a page: complete, self-contained, escaped, and at home on any screen."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from report_runs import (
    FAMILIES,
    make_run,
    table_with,
    write_classes,
    write_sampler,
)

from metaaug_tf.errors import UserError
from metaaug_tf.report.page import write_report


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """A finished run with its report, compared with a uniform one; tests only read it."""
    root = tmp_path_factory.mktemp("runs")
    folder = make_run(root / "demo")
    write_report(folder, [make_run(root / "uniform", policy="uniform", test=0.871)])
    return folder


class Page(HTMLParser):
    """What the tests want to know of a page: its elements with attributes, and its text."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def read_page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


# The page


def test_page_has_every_part_and_says_what_pictures_show(demo):
    html = read_page(demo)
    images = html.all("img")
    # 2 comparison, 2 training, 6 sampler, 2 weights, 11 magnitudes, 4 policy, 36 gallery
    assert len(images) == 63
    assert all(len(image["alt"]) > 20 for image in images)
    assert {a["id"] for a in html.all("section")} == {
        *("learned", "comparison", "training", "sampler", "weights", "gallery", "settings")
    }
    assert any("Least often drawn pair: Solarize then Solarize" in image["alt"] for image in images)
    assert "Comparison with other runs" in html.text and "policy=uniform" in html.text
    assert (demo / "report.html").stat().st_size < 3e6


def test_page_is_self_contained(demo):
    html = read_page(demo)
    for tag, attributes in html.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, name)
    assert "script" not in {tag for tag, _ in html.elements}
    assert not re.search(r"url\(|@import", (demo / "report.html").read_text())


def test_names_are_escaped(tmp_path):
    evil = "<script>alert('$x$')</script>"
    run = make_run(tmp_path / "run")
    (run / "policy" / "sampler.json").unlink()
    (run / "metrics.jsonl").unlink()
    write_classes(run, [f"{evil}{k}" for k in range(12)], [f"<b>{FAMILIES[k % 3]}" for k in range(12)])
    config = json.loads((run / "config.json").read_text()) | {evil: evil}
    (run / "config.json").write_text(json.dumps(config))
    write_report(run)
    html = read_page(run)
    assert "script" not in {tag for tag, _ in html.elements}
    assert f"{evil}0" in html.text


@pytest.mark.parametrize("policy", ["none", "uniform", "randaugment", "trivialaugment"])
def test_policies_without_weights(tmp_path, policy):
    run = make_run(tmp_path / "run", policy)
    write_report(run)
    html = read_page(run)
    assert not {"sampler", "weights"} & {a["id"] for a in html.all("section")}
    assert "Most trusted" not in html.text and "drawn uniformly" in html.text


def test_an_unfinished_run_has_a_page(tmp_path):
    run = make_run(tmp_path / "run")
    for name in ("summary.json", "classes.json", "policy/observations.npz", "policy/sampler.json"):
        (run / name).unlink()
    rows = [{"epoch": 0, "loss": float("nan"), "accuracy": None}, {"epoch": 1, "val_accuracy": 0.4}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_report(run)
    assert "The run is not finished: 2 epochs are recorded so far." in read_page(run).text


def test_many_classes_without_families_show_the_extreme_ones(tmp_path):
    labels = (np.arange(2000) % 136).astype(np.int32)
    grey = np.zeros((2000, 120, 60, 1), np.uint8)
    run = make_run(tmp_path / "run", labels=labels, images=grey)
    (run / "policy" / "sampler.json").unlink()
    (run / "metrics.jsonl").unlink()
    write_classes(run, [f"Greek/{k}" for k in range(136)], None)
    write_report(run)
    html = read_page(run)
    assert "Only the classes with the lowest and the highest mean weight" in html.text
    assert "The 24 most extreme of 136 classes" in html.text


def test_the_old_report_stays_when_a_new_one_fails(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", "none")
    write_report(run)
    before = (run / "report.html").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_no_tensorflow_is_imported():
    code = "import sys, metaaug_tf.report.page; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# In a browser

WIDTHS = (1280, 390)
FRAMES = """<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,"><pre id="out"></pre>
<script>
addEventListener("load", () => {
  const told = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, root = page.documentElement;
    page.querySelectorAll("details").forEach((part) => { part.open = true; });
    const wide = [...page.querySelectorAll("body *")].filter((e) => !e.closest(".scroll, pre")
      && e.getBoundingClientRect().right > root.clientWidth + 0.5).map((e) => e.outerHTML.slice(0, 80));
    const blank = [...page.images].filter((image) => !image.naturalWidth).length;
    return { client: root.clientWidth, scroll: root.scrollWidth, images: page.images.length, blank, wide };
  });
  document.getElementById("out").textContent = JSON.stringify(told);
});
</script>"""


@pytest.fixture
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is not installed")
    return found


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a line per request."""

    def log_message(self, *_):
        pass


def browse(browser: str, folder: Path, profile: Path) -> tuple[str, str]:
    """Opens frames.html of `folder` in headless Chromium; returns the DOM and what went to the console."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --enable-logging=stderr --window-size=1400,900 --dump-dom"
    url = f"http://127.0.0.1:{server.server_port}/frames.html"
    try:
        command = [browser, *flags.split(), f"--user-data-dir={profile}", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    finally:
        server.shutdown()
        server.server_close()
    return done.stdout, done.stderr


def test_page_fits_wide_and_narrow_screens(demo, browser, tmp_path):
    frames = "".join(f'<iframe src="report.html" width="{w}" height="900"></iframe>' for w in WIDTHS)
    shutil.copy(demo / "report.html", tmp_path)
    (tmp_path / "frames.html").write_text(FRAMES + frames)
    dom, console = browse(browser, tmp_path, tmp_path / "profile")
    told = json.loads(re.search(r'<pre id="out">(.*?)</pre>', dom, re.DOTALL)[1])
    assert len(told) == len(WIDTHS)
    for width, seen in zip(WIDTHS, told, strict=True):
        assert width - 40 < seen["client"] <= width
        assert seen["scroll"] <= seen["client"] and seen["wide"] == []
        assert seen["images"] > 50 and seen["blank"] == 0
    assert "CONSOLE" not in console


def test_pictures_for_the_docs_show_one_part_each(demo, browser, tmp_path):
    maker = runpy.run_path(str(Path(__file__).parents[2] / "docs/make_report_pictures.py"))
    page = (demo / "report.html").read_text(encoding="utf-8")
    pictures = {
        name: maker["photograph"](browser, maker["only"](page, *part), tmp_path)
        for name, part in maker["PARTS"].items()
    }
    assert set(pictures) == {"sampler", "magnitudes", "trusted"}
    assert all(image.width > 900 and 300 < image.height < 1500 for image in pictures.values())


def test_the_start_of_the_sampler_is_told_and_counts_as_one(tmp_path):
    folder = make_run(tmp_path / "run")
    assert "At the start all pairs are drawn equally often" in " ".join(write_report(folder).read_text().split())
    start = table_with({13: 13.0})
    write_sampler(folder, [(0, start), (1, start)])
    text = " ".join(write_report(folder).read_text().split())
    assert "At the start Identity is 50 % of the operations drawn" in text
    assert "The sampler is still as at the start" in text
