"""Classes by name, their switching, lists of them, and links, in jsonargparse and in ours: the same values,
or both refuse.

    python classes_test.py PROGRAM FOLDER [CASES [SEED]]

Differences that are meant are listed in MEANT, each with its reason; any other fails, and so does one of
them that no case shows any more.
"""

import contextlib
import io
import json
import sys
from typing import List, NamedTuple

try:
    import jsonargparse
except ImportError as error:
    print(f"skipped: no jsonargparse in {sys.executable} ({error}). Hint: tools/setup --peers")
    sys.exit(77)

import beside_jsonargparse

PROGRAM, FOLDER = sys.argv[1:3]
CASES = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
SEED = int(sys.argv[4]) if len(sys.argv) > 4 else 1


class Base:
    pass


class Net(Base):
    def __init__(self, width: int = 64, act: str = "relu", batch: int = 0):
        pass


class Big(Base):
    def __init__(self, depth: int = 2, width: int = 8, act: bool = True):
        pass


class Tiny(Base):
    def __init__(self, rate: float = 0.5):
        pass


OPTIONS = {
    "Net": {"width": ["3", "200", "x"], "act": ["tanh", "sigmoid"], "batch": ["1"]},
    "Big": {"depth": ["5", "1.5"], "width": ["3", "200"], "act": ["false", "maybe"]},
    "Tiny": {"rate": ["0.25", "x"]},
}
NAMES = ["Net", "Big", "Tiny"]
DEFAULTS = {
    "Net": {"model.width": "64", "model.act": "relu"},
    "Big": {"model.depth": "2", "model.width": "8", "model.act": "true"},
    "Tiny": {"model.rate": "0.5"},
}


def strategy(model):
    if model.class_path.endswith("Net"):
        return "wide" if model.init_args.width > 100 else "narrow"
    return "other"


def parser():
    made = jsonargparse.ArgumentParser(exit_on_error=False, default_env=False)
    made.add_argument("--config", action="config")
    made.add_argument("--rows", type=int, default=2)
    made.add_argument("--strategy", type=str, default="auto")
    made.add_argument("--model", type=Base, default={"class_path": "__main__.Net"})
    made.add_argument("--blocks", type=List[Base], default=[])
    made.link_arguments("rows", "model.init_args.batch")
    made.link_arguments("model", "strategy", compute_fn=strategy)
    return made


class Case(NamedTuple):
    arguments: list
    tags: set


def block(rng, tags):
    """A class with some options, as YAML."""
    name = rng.choice(NAMES)
    options = {}
    for option in rng.sample(sorted(OPTIONS[name]), rng.randint(0, len(OPTIONS[name]))):
        if option == "batch":
            tags.add("target given")
        options[option] = rng.choice(OPTIONS[name][option])
    if rng.random() < 0.05:
        options["foo"] = "1"
    return name, options


def make_case(rng, number):
    arguments, tags = [], set()
    has_block = False
    for place in range(rng.randint(0, 5)):
        kind = rng.random()
        if kind < 0.3:
            name = rng.choice(NAMES + (["Foo"] if rng.random() < 0.1 else []))
            arguments.append(f"--model={name}")
        elif kind < 0.6:
            owner = rng.choice(NAMES)
            option = rng.choice(sorted(OPTIONS[owner]))
            if option == "batch":
                tags.add("target given")
            path = rng.choice(["model", "model.init_args"])
            arguments.append(f"--{path}.{option}={rng.choice(OPTIONS[owner][option])}")
        elif kind < 0.75:
            name, options = block(rng, tags)
            lines = {"model": {"class_path": name}}
            if options:
                lines["model"]["init_args"] = {key: yaml_value(text) for key, text in options.items()}
            if rng.random() < 0.3:
                lines["rows"] = rng.randint(1, 9)
            file = f"{number}-{place}.json"
            with open(file, "w") as out:
                json.dump(lines, out)
            arguments.append(f"--config={file}")
        elif kind < 0.85:
            arguments.append(f"--rows={rng.choice(['7', '8', 'x'])}")
        elif kind < 0.88:
            arguments.append("--strategy=mine")
            tags.add("target given")
        elif has_block and kind < 0.93:
            arguments.append(f"--blocks.width={rng.randint(1, 9)}")
        else:
            arguments.append(f"--blocks+={rng.choice(NAMES)}")
            has_block = True
    return Case(arguments, tags)


def yaml_value(text):
    """A number or truth value as JSON has it, where the text is one."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def text_of(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def theirs(arguments):
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            values = parser().parse_args(arguments)
    except (jsonargparse.ArgumentError, SystemExit, Exception) as error:
        return {"error": str(error)}
    flat = {"rows": text_of(values.rows), "strategy": values.strategy,
            "model": values.model.class_path.rsplit(".", 1)[-1]}
    for key, value in (values.model.get("init_args") or {}).items():
        flat[f"model.{key}"] = text_of(value)
    blocks = [f"{b.class_path.rsplit('.', 1)[-1]} {(b.get('init_args') or {}).get('width', 0)}"
              for b in values.blocks]
    return {"values": {**flat, **({"blocks": blocks} if blocks else {})}}


def refused(result, text=""):
    return "error" in result and text in result["error"]


def option_before_class(case):
    """Whether an option of the model stands before the first class on the command line."""
    names = [a for a in case.arguments if a.startswith("--model")]
    return bool(names) and not names[0].startswith("--model=") and any(
        a.startswith("--model=") for a in names)


def replaces(case):
    """Whether a later source names a class, or gives an option, that was given before."""
    names = [a.split("=")[0].replace(".init_args", "") for a in case.arguments]
    later = sum(a.startswith(("--model=", "--config=")) for a in case.arguments)
    return later > 0 or len(set(names)) < len(names)


def only_defaults_differ(ours, other):
    """Whether values differ only where ours has the default of the chosen class."""
    if "error" in ours or "error" in other:
        return False
    ours, other = ours["values"], other["values"]
    defaults = DEFAULTS[ours["model"]]
    return ours.keys() == other.keys() and all(
        ours[key] == other[key] or ours[key] == defaults.get(key) for key in ours)


# What differs, and whether a case shows it: (case, ours, theirs).
MEANT = [
    ("a target that is given is an error everywhere; theirs overwrites it in classes and files",
     lambda c, o, t: refused(o, "gives it; it cannot be given") and not refused(t)),
    ("options before the first class on a command line are read behind it; theirs gives them to the class "
     "before",
     lambda c, o, t: option_before_class(c)),
    ("the class before leaves no default behind; theirs keeps them as values of the new class",
     lambda c, o, t: only_defaults_differ(o, t)),
    ("what is kept for a new class is the text that was given; theirs keeps what the class before made of it",
     lambda c, o, t: not refused(o) and not refused(t)
     and {**o["values"], "model.act": 0} == {**t["values"], "model.act": 0}),
    ("what a later source replaces is not looked at",
     lambda c, o, t: refused(t) and not refused(o) and replaces(c)),
]


beside_jsonargparse.run(PROGRAM, FOLDER, make_case, theirs, MEANT, CASES, SEED)
