"""The rooms of the package: imports run one way, and use what a room hands out."""

import ast
import importlib
import pathlib

import pytest
from conftest import ROOT

PACKAGE = ROOT / "keras_gradcam"

# From the ground up: a room may import those of lower floors, and none beside it.
FLOORS = [
    ["option_checks"],
    ["arrays", "pictures", "metrics", "configured_function"],
    ["graphs", "methods"],
    ["execution"],
    ["axes", "targets"],
    ["model"],
    ["evidence"],
    ["maps"],
    ["gradcam"],
    ["data", "explain"],
    ["training.panels", "training.samples", "training.writers", "jobs"],
    ["training"],
    # The public names of what is inside.
    ["beam", "demo", "sinks", "smoothing"],
    ["scenes"],
    ["__init__"],
    ["cli"],
    ["__main__"],
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))[1:]

# What the docstring of the class explains is most of it: one argument for each wish.
LONG = {"gradcam/gradcam.py"}
MAX_LINES = 400
MAX_FILES = 12


def room_of(path):
    """A folder below the package, or a file that lies in none."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1]) or parts[0]


def imports_of(source):
    """Yields `(module, name)` of each import of the package's own, lazy ones too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((a.name, None) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, a.name) for a in node.names)


def own_imports_of(source):
    """Yields `(room, name)`, the name `None` where a whole module is imported."""
    for module, name in imports_of(source):
        top, *parts = module.split(".")
        if top != "keras_gradcam":
            continue
        path = PACKAGE.joinpath(*parts)
        if parts and path.is_dir():
            yield ".".join(parts), name
        elif parts:
            yield room_of(path.with_suffix(".py")), f"{module}.{name}"
        elif (path / name).is_dir() or (path / f"{name}.py").exists():
            yield name, None
        else:
            yield "__init__", name


def wrong_imports(source, room):
    """Those that run back up, or beside."""
    return [
        other
        for other, _ in own_imports_of(source)
        if other != room and FLOOR_OF[other] >= FLOOR_OF[room]
    ]


def test_every_room_has_a_floor():
    assert {room_of(path) for path in FILES} == set(FLOOR_OF)


def test_imports_run_one_way():
    found = {
        str(path.relative_to(PACKAGE)): wrong_imports(path.read_text(), room_of(path))
        for path in FILES
    }
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_an_import_that_runs_back_up_is_seen():
    back = "def late():\n    from keras_gradcam.gradcam import GradCAM\n"
    assert wrong_imports(back, "evidence") == ["gradcam"]
    beside = "from keras_gradcam import methods\n"
    assert wrong_imports(beside, "graphs") == ["methods"]
    inside = "from keras_gradcam.training.callback import GradCAMCallback\n"
    assert wrong_imports(inside, "training.panels") == ["training"]
    assert wrong_imports("from keras_gradcam.maps import fusion\n", "gradcam") == []


def private_imports(source, room):
    """Names that a file takes out of another room which does not hand them out."""
    for other, name in own_imports_of(source):
        is_room = (PACKAGE / other.replace(".", "/")).is_dir()
        if is_room and other != room and name is not None:
            handed_out = importlib.import_module(f"keras_gradcam.{other}").__all__
            if name not in handed_out:
                yield f"{other}: {name}"


def test_what_is_private_to_a_room_stays_in_it():
    # The faces of the package hand on what a file of a room has.
    faces = ("beam", "scenes", "smoothing")
    found = {
        str(path.relative_to(PACKAGE)): list(
            private_imports(path.read_text(), room_of(path))
        )
        for path in FILES
        if room_of(path) not in faces
    }
    assert {path: names for path, names in found.items() if names} == {}
    private = "from keras_gradcam.arrays.resizing import resize\n"
    assert list(private_imports(private, "maps"))


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_hands_out_what_others_use(room):
    name = ".".join(room.relative_to(PACKAGE).parts)
    module = importlib.import_module(f"keras_gradcam.{name}")
    assert all(hasattr(module, each) for each in module.__all__)
    assert "\n" not in module.__doc__


def test_rooms_are_small():
    for room in [PACKAGE, *ROOMS]:
        assert len(list(room.glob("*.py"))) <= MAX_FILES, room.name
    long = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if len(path.read_text().splitlines()) > MAX_LINES
    }
    assert long == LONG


@pytest.mark.parametrize("room", ["arrays", "methods", "pictures"])
def test_pictures_know_no_model_and_formulas_no_tensorflow(room):
    known = {
        "arrays": set(),
        "methods": {"tensorflow"},
        "pictures": {"tensorflow", "keras"},
    }
    for path in (PACKAGE / room).glob("*.py"):
        names = {module.split(".")[0] for module, _ in imports_of(path.read_text())}
        assert not names & known[room], path.name


def test_tests_lie_in_folders_of_the_same_names():
    folders = {
        path.parent.name for path in pathlib.Path(ROOT / "tests").glob("*/test_*.py")
    }
    rooms = {room.name for room in ROOMS}
    assert folders - {"peers"} <= rooms
