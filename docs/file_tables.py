"""Writes the tables of files in docs/design.md from the docstrings of the files."""

import ast
import pathlib

PAGE = pathlib.Path(__file__).parent / "design.md"
PACKAGE = PAGE.parents[1] / "keras_gradcam"
BEGIN, END = "<!-- files -->\n", "<!-- end of files -->\n"

# From what people do to what lies below: each folder imports only those behind it.
FOLDERS = (
    "",
    *("demo", "jobs"),
    *("training", "training/samples", "training/panels", "training/writers"),
    "data",
    *("gradcam", "maps", "evidence", "model", "axes", "targets", "execution"),
    *("graphs", "methods", "pictures", "arrays"),
)


def sentence(path):
    """The first paragraph of a file's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text()))
    return " ".join(text.split("\n\n")[0].split())


def tables():
    """The tables of all folders."""
    lines = []
    for folder in FOLDERS:
        room = PACKAGE / folder
        files = sorted(room.glob("*.py"))
        if folder:
            files = [path for path in files if path.name != "__init__.py"]
            lines += [f"### `{folder}/`", "", sentence(room / "__init__.py"), ""]
        else:
            lines += ["### The package", ""]
        lines += ["| File | Its one sentence |", "|---|---|"]
        lines += [f"| `{path.name}` | {sentence(path)} |" for path in files]
        lines.append("")
    return "\n".join(lines)


def page():
    """The whole page, its tables as the files are now."""
    before, rest = PAGE.read_text().split(BEGIN)
    _, behind = rest.split(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{behind}"


if __name__ == "__main__":
    PAGE.write_text(page())
