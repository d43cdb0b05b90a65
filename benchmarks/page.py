"""Makes docs/benchmarks.md of benchmarks.md next to this file and benchmarks.json."""

import json
import pathlib

DOCS = pathlib.Path(__file__).parents[1] / "docs"
TEMPLATE = pathlib.Path(__file__).with_name("benchmarks.md")

NOT_MEASURED = "Not measured."

NO_ACCELERATOR = "No accelerator was at hand: there are no numbers."


def write(folder):
    """Writes the page into the folder of its numbers."""
    results = json.loads((folder / "benchmarks.json").read_text())
    (folder / "benchmarks.md").write_text(page(results))
    if folder == DOCS:
        import methods

        # They tell what Score-CAM costs, too.
        methods.write_pages()


def page(results):
    """The text of the page; a part without numbers says so."""
    sections = {
        name: section(results[name]) if name in results else NOT_MEASURED
        for name, section in SECTIONS.items()
    }
    return TEMPLATE.read_text().format(
        goals=_goals(results), machines=_machines(results), **sections
    )


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _ratio(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _spread(found):
    """A ratio with its quartiles."""
    low, high = found["quartiles"]
    return f"{_ratio(found['ratio'])} ({_ratio(low)} to {_ratio(high)})"


def _ms(value):
    return (
        f"{value:.2f}"
        if value < 10
        else f"{value:.1f}"
        if value < 100
        else f"{value:.0f}"
    )


# The sections.


def _machines(results):
    columns = {
        "cpu": "Processor",
        "cores": "Cores",
        "memory_gb": "Memory, GB",
        "accelerators": "Accelerator",
        "python": "Python",
        "tensorflow": "TensorFlow",
        "keras": "Keras",
        "numpy": "NumPy",
    }
    parts = {}
    for name, measured in results.items():
        parts.setdefault(json.dumps(measured.get("machine")), []).append(name)
    rows = []
    for text, names in parts.items():
        machine = json.loads(text) or dict.fromkeys(columns, "not recorded")
        if isinstance(machine["accelerators"], list):
            machine["accelerators"] = ", ".join(machine["accelerators"]) or "none"
        rows.append([", ".join(names), *(machine[key] for key in columns)])
    return _table(["Parts", *columns.values()], rows)


def _speed(measured):
    head = ["Network", "Batch", "Forward, ms", "Maps, ms", "Maps / forward"]
    head += ["Difference, ms", "First call, s", "Peak memory, MB", "Ratio"]
    return _table(head, [_speed_row(case) for case in measured["cases"]])


def _speed_row(case):
    times, first, peak = case["median_ms"], case["first_call_s"], case["peak_mb"]
    return [
        case["model"],
        case["batch"],
        _ms(times["forward"]),
        _ms(times["maps"]),
        _spread(case),
        _ms(case["extra_ms"]),
        f"{first['forward']:.1f} and {first['maps']:.1f}",
        f"{peak['forward']:.0f} and {peak['maps']:.0f}",
        "" if case["peak_ratio"] is None else _ratio(case["peak_ratio"]),
    ]


def _accelerator(measured):
    if not measured["cases"]:
        return NO_ACCELERATOR
    head = ["Types", "Network", "Batch", "Forward, ms", "Maps, ms", "Maps / forward"]
    head += ["Difference, ms", "First call, s", "Peak memory, MB", "Ratio"]
    return _table(head, [[c["policy"], *_speed_row(c)] for c in measured["cases"]])


def _others(measured):
    head = ["Library", "Version", "Batch", "Ours, ms", "Theirs, ms", "Theirs / ours"]
    rows = [
        [f"`{name}`", found["version"] or "none", case["batch"], *_other_cells(found)]
        for case in measured["cases"]
        for name, found in case["peers"].items()
    ]
    return _table([*head, "First call, s"], rows)


def _other_cells(found):
    if "error" in found:
        return ["", f"does not run: {found['error'].replace('|', '/')}", "", ""]
    times = found["median_ms"]
    first = f"{found['first_call_s']:.1f}"
    return [_ms(times["ours"]), _ms(times["peer"]), _spread(found), first]


def _torch(measured):
    head = ["Library", "Network", "Batch", "Forward, ms", "Maps, ms", "Maps / forward"]
    rows = [
        [
            ", ".join(f"{name} {of}" for name, of in case["versions"].items()),
            case["model"],
            case["batch"],
            _ms(case["median_ms"]["forward"]),
            _ms(case["median_ms"]["maps"]),
            _spread(case),
            f"{case['first_call_s']['forward']:.1f} and "
            f"{case['first_call_s']['maps']:.1f}",
        ]
        for case in measured["cases"]
    ]
    return _table([*head, "First call, s"], rows)


def _channels(measured):
    names = {
        "scorecam": ("`scorecam`", measured["channels"]),
        "ablationcam": ("`ablationcam`", measured["channels"]),
        "tf-keras-vis": ("Score-CAM of tf-keras-vis", measured["peer_channels"]),
    }
    head = ["Method", "Channels", "Time, s", "For a channel, ms"]
    head += ["Over K + 1 forward passes", "Peak memory, MB"]
    rows = []
    for name, (label, count) in names.items():
        ratios = sorted(measured["over_k_plus_1_forwards"][name])
        seconds = measured["median_s"][name]
        each = _ms(1e3 * seconds / count)
        ratio, peak = ratios[len(ratios) // 2], measured["peak_mb"][name]
        rows.append(
            [label, count, f"{seconds:.1f}", each, f"{ratio:.2f}", f"{peak:.0f}"]
        )
    unit = _ms(measured["forward_ms_per_image"])
    peak = f"{measured['peak_mb']['forward']:.0f}"
    rows.append(["a forward pass, each image", "", "", unit, "", peak])
    settings = [measured["model"], measured["size"], measured["chunk"]]
    return (
        _table(["Network", "Size, px", "Inputs at once"], [settings])
        + "\n\n"
        + _table(head, rows)
    )


def _callback(measured):
    size = measured["size"]
    samples = f"{measured['samples']} images of {size}x{size}"
    labels = {
        "forward": f"one forward pass of {samples}, compiled",
        "maps only": "maps and numbers, without drawing",
        "ours": "maps, numbers, drawing, writing",
        "rebuilt": "the usual recipe, the model rebuilt at each epoch",
        "tf-explain": "the callback of tf-explain, one picture without text",
    }
    times = measured["median_ms"]
    rows = [[label, _ms(times[n])] for n, label in labels.items() if n in times]
    return _table(["An epoch's end", "Time, ms"], rows)


def _dataset(measured):
    head = ["Images", "Size, px", "Batch", "Maps", "`explain_dataset`, images/s"]
    head += ["`predict`, images/s", "`explain_dataset` / `predict`"]
    settings = [f"{measured['images']:,}", measured["size"], measured["batch"]]
    rows = [
        [*settings, kind, *found["images_per_s"].values(), _spread(found)]
        for kind, found in measured["rates"].items()
    ]
    curve = measured["memory_mb"]
    shown = [*curve[:2], *curve[2:-1][:: max(len(curve) // 5, 1)], curve[-1]]
    memory = _table(
        ["Images done", *(f"{at:,}" for at, _ in shown)],
        [["Memory held, MB", *(f"{mb:.0f}" for _, mb in shown)]],
    )
    return _table(head, rows) + "\n\n" + memory


def _imports(measured):
    rows = [
        ["TensorFlow and Keras", measured["tensorflow_and_keras_ms"]],
        ["`keras_gradcam` after them", measured["ours_on_top_ms"]],
        ["`keras_gradcam` in a fresh process, with them", measured["keras_gradcam_ms"]],
    ]
    return _table(["Import", "Time, ms"], rows)


SECTIONS = {
    "speed": _speed,
    "accelerator": _accelerator,
    "others": _others,
    "torch": _torch,
    "channels": _channels,
    "callback": _callback,
    "dataset": _dataset,
    "imports": _imports,
}

# The goals.


def _goals(results):
    rows = []
    for text, sign, bound, unit, value in _all_goals():
        try:
            found = value(results)
        except (KeyError, StopIteration):
            rows.append([text, f"{sign} {bound}{unit}", "not measured", ""])
            continue
        met = found <= bound if sign == "at most" else found >= bound
        shown = (
            f"{_ratio(found)}{unit}" if unit in ("", " ms") else f"{found:.1f}{unit}"
        )
        rows.append([text, f"{sign} {bound}{unit}", shown, "yes" if met else "no"])
    return _table(["Goal", "Bound", "Measured", "Met"], rows)


def _all_goals():
    """Text, "at most" or "at least", bound, unit, and what finds it in the results."""
    yield from _speed_goals()
    for name, bound, batches in (
        ("tf-keras-vis", 10, (1,)),
        ("tf-keras-vis", 4, (32,)),
        ("keras.io", 10, (1, 32)),
        ("tf-explain", 4, (1, 32)),
        ("xplique, kept", 1, (1, 32)),
        ("xplique, new", 20, (1, 32)),
    ):
        for batch in batches:
            text = f"`{name}` / ours, MobileNetV2, batch {batch}"
            yield text, "at least", bound, "", _of_other(name, batch)
    yield (
        "Dataset: memory above that after the first 500",
        *("at most", 50, " MB"),
        lambda results: results["dataset"]["growth_mb"],
    )
    for kind in ("float32", "uint8"):
        yield (
            f"Dataset: rate over that of `predict`, {kind} maps",
            *("at least", 0.9, ""),
            lambda r, kind=kind: r["dataset"]["rates"][kind]["ratio"],
        )


def _speed_goals():
    bounds = {"MobileNetV2": 1.1, "EfficientNetB0": 1.05, "ResNet50": 1.05}
    for batch in (32, 1):
        for name, bound in bounds.items():
            text = f"Maps / forward, {name}, batch {batch}"
            bound = bound if batch == 32 else 1.1
            yield text, "at most", bound, "", _of_speed(name, batch, "ratio")
    text = "Maps over their forward pass, small CNN, batch 1"
    yield text, "at most", 0.5, " ms", _of_speed("small CNN", 1, "extra_ms")
    for name in ("small CNN", *bounds):
        text = f"Peak memory over that of a forward pass, {name}, batch 32"
        peak = _of_speed(name, 32, "peak_ratio")
        yield text, "at most", 5, " %", lambda r, peak=peak: 100 * (peak(r) - 1)


def _of_speed(name, batch, key):
    def value(results):
        cases = results["speed"]["cases"]
        return next(c[key] for c in cases if (c["model"], c["batch"]) == (name, batch))

    return value


def _of_other(name, batch):
    def value(results):
        cases = results["others"]["cases"]
        return next(c["peers"][name]["ratio"] for c in cases if c["batch"] == batch)

    return value
