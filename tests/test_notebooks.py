"""Every notebook runs from top to bottom, without a warning, and stores no output."""

import os
import pathlib
import re

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted(pathlib.Path(__file__).parents[1].glob("notebooks/*.ipynb"))
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["quickstart", "shortcut"]


@pytest.mark.slow
@by_name
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": os.fspath(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    streams = "".join(output.text for output in outputs if "text" in output)
    assert "Warning:" not in streams
    assert any("image/png" in output.get("data", {}) for output in outputs)
    if path.stem == "quickstart":
        # The maps find the digits that the notebook is about.
        peaks, chance = re.search(r"box (\d+)%, at random (\d+)%", streams).groups()
        assert int(peaks) > 3 * int(chance)
    if path.stem == "shortcut":
        # Accuracy says nothing, and the share of the heat in the object tells.
        accuracy = re.search(r"accuracy: .* shortcut ([\d.]+)%", streams)[1]
        inside = re.search(r"inside: honest (\d\.\d+), shortcut (\d\.\d+)", streams)
        honest, shortcut = map(float, inside.groups())
        assert float(accuracy) >= 99
        assert honest > 0.4 and honest > 2 * shortcut


@by_name
def test_notebook_stores_no_output(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
