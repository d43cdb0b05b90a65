"""A TensorBoard on a free port of this machine, and a browser to look at it with."""

import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from typing import NamedTuple

# Seconds that anything may take on a machine with other things to do.
DEADLINE = 60


def eventually(read, accept):
    """Reads until a value is accepted; TensorBoard loads a directory bit by bit."""
    end = time.monotonic() + DEADLINE
    while not accept(value := read()):
        if time.monotonic() > end:
            raise TimeoutError(f"after {DEADLINE} s there is still only {value!r}")
        time.sleep(0.1)
    return value


class TensorBoard(NamedTuple):
    """What a server at `url` answers."""

    url: str

    def read(self, path, **query):
        url = f"{self.url}data/plugin/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
            return answer.read()

    def tags(self, plugin):
        """The tags of each run, with what is said about them."""
        return json.loads(self.read(f"{plugin}/tags"))

    def images(self, run, tag, sample):
        """The encoded picture of each step."""
        query = {"run": run, "tag": tag, "sample": sample}
        entries = json.loads(self.read("images/images", **query))
        return {entry["step"]: self._image(entry["query"]) for entry in entries}

    def _image(self, query):
        query = dict(urllib.parse.parse_qsl(query))
        return self.read("images/individualImage", **query)

    def scalars(self, run, tag):
        """The value of each step."""
        rows = json.loads(self.read("scalars/scalars", run=run, tag=tag))
        return {step: value for _, step, value in rows}

    def last_steps(self):
        """The step of each run that all of its numbers have reached."""
        return {
            run: min(max(self.scalars(run, tag)) for tag in tags)
            for run, tags in self.tags("scalars").items()
        }


@contextlib.contextmanager
def tensorboard(log_dir, *options):
    """Starts a server, yields a `TensorBoard`, and ends the server."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(log_dir)]
    command += ["--host", "127.0.0.1", "--port", "0", "--reload_interval", "1"]
    with tempfile.TemporaryDirectory() as folder:
        # A file never fills up, as a pipe does that nobody drains.
        output = pathlib.Path(folder, "output")
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*command, *options],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            yield TensorBoard(_url(process, output))
        finally:
            _end(process)


def _url(process, output):
    def read():
        text = output.read_text()
        if process.poll() is not None:
            raise RuntimeError(f"TensorBoard has ended: {text}")
        return re.findall(r"http://127\.0\.0\.1:\d+/", text)

    return eventually(read, bool)[0]


def _end(process):
    process.terminate()
    try:
        process.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Tab(NamedTuple):
    """How a tab of TensorBoard is opened, and what the parts of an image card are."""

    address: str
    card: str
    slider: str
    picture: str


TABS = {
    # The element inside the container is a new one at each step.
    "images": Tab("#images", "tf-image-loader", "#steps", "#main-image-container"),
    # The filter is for our images: cards that are not in sight are not drawn.
    "time_series": Tab(
        "?tagFilter=gradcam/last$#timeseries", "image-card", "input[type=range]", "img"
    ),
}


def find_browser():
    """The path of Chromium, or `None`."""
    return shutil.which("chromium")


@contextlib.contextmanager
def browser(url, width=1280, height=1600):
    """Starts a browser without a window, and yields a page of it that is at `url`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_browser())
        try:
            size = {"width": width, "height": height}
            page = chromium.new_page(base_url=url, viewport=size)
            page.set_default_timeout(DEADLINE * 1000)
            page.goto(url)
            yield page
        finally:
            chromium.close()
