"""The pages: their code runs, and shows what they say; their links and names exist."""

import contextlib
import importlib
import io
import json
import linecache
import os
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, make_classifier

import keras_gradcam as kg

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
# Code, and the text block right behind it, where there is one.
BLOCK = re.compile(
    r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL
)
ERROR = re.compile(r"\w+(Error|Warning): ")
by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def page_namespace():
    """What the pages call `model`, `images` and so on."""
    rng = np.random.default_rng(0)
    x = rng.random((8, 16, 12, 3)).astype("float32")
    y = np.arange(8)
    model = make_classifier(classes=10)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    return {
        "keras": keras,
        "model": model,
        "images": x[:2],
        "dataset": tf.data.Dataset.from_tensor_slices(x).batch(3),
        **{"x": x, "y": y, "x_val": x, "y_val": y},
        "boxes_val": np.tile([2, 3, 12, 9], (8, 1)),
    }


def shown_by(code, namespace):
    """What a block prints, or what it raises, without Keras' frame around it."""
    printed = io.StringIO()
    # Keras saves the source of a lambda.
    linecache.cache["page"] = (len(code), None, code.splitlines(True), "page")
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "page", "exec"), namespace)
    except Exception as error:
        message = re.sub(r"\x1b\[\d*m", "", str(error))
        message = re.sub(r"^Exception encountered when calling .*\s+", "", message)
        return f"{_public(type(error)).__name__}: {message}"
    return printed.getvalue()


def _public(error):
    """The class of Python's own that a user catches."""
    return next(kind for kind in error.__mro__ if kind.__module__ == "builtins")


def same(expected, shown):
    """Errors are quoted from their start, printed text as a whole; "..." skips."""
    parts = " ".join(expected.split()).split("...")
    pattern = ".*".join(re.escape(part) for part in parts)
    pattern += ".*" if ERROR.match(expected) else ""
    return bool(re.fullmatch(pattern, " ".join(shown.split())))


def test_a_page_with_another_error_or_output_is_noticed():
    assert same("ValueError: no\nlayer", "ValueError: no layer 'a'. Pass another.")
    assert not same("ValueError: no layer", "TypeError: no layer")
    assert not same("ValueError: no layer", "")
    assert same("ValueError: ... 'a'", "ValueError: no layer 'a'. Pass another.")
    assert same("(2, 3)\n", "(2, 3)\n")
    assert not same("(2, 3)\n", "(2, 3) (4,)\n")
    assert shown_by("1 / 0", {}) == "ZeroDivisionError: division by zero"
    assert shown_by("print(1)", {}) == "1\n"


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if BLOCK.search(page.read_text())],
    ids=lambda page: page.name,
)
def test_code_of_a_page_runs_and_shows_what_the_page_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = page_namespace()
    for code, text in BLOCK.findall(page.read_text()):
        shown = shown_by(code, namespace)
        if text:
            assert same(text, shown), f"{code}\nsays: {text}\nshows: {shown}"
        else:
            assert not ERROR.match(shown), f"{code}\n{shown}"


@by_name
def test_every_fence_of_a_page_is_closed_and_has_a_language(page):
    fences = re.findall(r"^```.*$", page.read_text(), re.MULTILINE)
    assert all(len(fence) > 3 for fence in fences[::2])
    assert set(fences[1::2]) <= {"```"}
    assert len(fences) % 2 == 0


@by_name
def test_links_of_a_page_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        if path.startswith("https://"):
            continue
        target = page if not path else page.parent / path
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def _anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings}


@by_name
def test_lines_of_a_page_have_at_most_100_columns(page):
    lines = page.read_text().splitlines()
    # A row of a table cannot be broken.
    assert [line for line in lines if len(line) > 100 and line[0] != "|"] == []


@by_name
def test_code_in_a_line_is_not_broken(page):
    prose = re.sub(r"(?ms)^```.*?^```$", "", page.read_text())
    assert [line for line in prose.splitlines() if line.count("`") % 2] == []


def test_design_has_the_sentence_of_every_file(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    tables = importlib.import_module("file_tables")
    # Otherwise run: python docs/file_tables.py
    assert (ROOT / "docs" / "design.md").read_text() == tables.page()
    rooms = {path.parent for path in (ROOT / "keras_gradcam").rglob("__init__.py")}
    assert {ROOT / "keras_gradcam" / folder for folder in tables.FOLDERS} == rooms


def test_files_and_make_targets_that_contributing_names_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    names = set(re.findall(r"`([\w/]+\.py)`", text))
    assert len(names) > 5
    for name in names:
        assert (ROOT / name).exists() or (ROOT / "keras_gradcam" / name).exists(), name
    targets = set(re.findall(r"make (\w+)", text + (ROOT / "README.md").read_text()))
    for target in targets - {"is"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_license_is_the_one_of_the_metadata():
    assert "license = Apache-2.0" in (ROOT / "setup.cfg").read_text()
    words = (ROOT / "LICENSE").read_text().split()
    assert words[:4] == ["Apache", "License", "Version", "2.0,"]
    assert len(words) == 1581


def test_changelog_has_the_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (\S+)", text, re.MULTILINE)[0] == kg.__version__


def test_picture_of_the_readme_is_small():
    for name in ("demo.png", "methods.png", "tensorboard.png", "time_series.png"):
        assert os.path.getsize(ROOT / "docs" / name) < 400_000


def test_guide_lists_every_target():
    page = (ROOT / "docs" / "guide.md").read_text()
    cells = re.findall(r"^\| .* \| `(kg\.targets\..*)` \|$", page, re.MULTILINE)
    names = {"kg": kg, "mask": np.ones((4, 4)), "reference": np.ones(3)}
    assert {eval(cell, names).name for cell in cells} == set(kg.targets.TARGETS)


def test_methods_page_is_made_of_the_table_and_the_numbers(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    benchmark = importlib.import_module("methods")
    for name in benchmark.PAGES:
        # Otherwise run: make docs-methods ARGS=--page
        assert (ROOT / "docs" / name).read_text() == benchmark.page(name)
    page = (ROOT / "docs" / "methods.md").read_text()
    names = re.findall(r"^\| `(\S+)` \| .* \| .* \|", page, re.MULTILINE)
    assert set(kg.methods.METHODS) <= set(names)
    measured = json.loads((ROOT / "docs" / "methods.json").read_text())
    assert set(measured["costs"]) == set(measured["places"])
    assert set(measured["costs"]) == set(benchmark.MEASURED)
    assert set(measured["transformers"]) == {"gradcam", *benchmark.OF_TRANSFORMERS}


def test_benchmarks_page_is_made_of_the_numbers(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    benchmark = importlib.import_module("page")
    measured = json.loads((ROOT / "docs" / "benchmarks.json").read_text())
    # Otherwise run: make bench ARGS=--page
    assert (ROOT / "docs" / "benchmarks.md").read_text() == benchmark.page(measured)


def test_default_layers_are_those_expected_in_every_architecture():
    page = (ROOT / "docs" / "models.md").read_text()
    rows = [x for x in page.partition("## Default layers")[2].splitlines() if "`" in x]
    assert len([row for row in rows if row.startswith("|")]) > 80
    assert not [row for row in rows if "another layer" in row]
