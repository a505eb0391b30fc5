"""The same options and sources given to jsonargparse and to ours: same values, or both refuse.

    python config_test.py PROGRAM FOLDER [CASES [SEED]]

Differences that are meant are listed in MEANT, each with its reason; any other fails, and so does one of
them that no case shows any more.
"""

import contextlib
import dataclasses
import enum
import io
import json
import sys
from typing import Dict, List, NamedTuple, Optional, Union

try:
    import jsonargparse
except ImportError as error:
    print(f"skipped: no jsonargparse in {sys.executable} ({error}). Hint: tools/setup --peers")
    sys.exit(77)

import beside_jsonargparse

PROGRAM, FOLDER = sys.argv[1:3]
CASES = int(sys.argv[3]) if len(sys.argv) > 3 else 1200
SEED = int(sys.argv[4]) if len(sys.argv) > 4 else 1


class Activation(enum.Enum):
    relu = 0
    gelu = 1
    tanh = 2


@dataclasses.dataclass
class Model:
    width: int = 64
    activation: Activation = Activation.relu
    layers: List[int] = dataclasses.field(default_factory=lambda: [1, 2])
    dropout: Optional[float] = None


@dataclasses.dataclass
class Config:
    epochs: int = 3
    lr: float = 0.1
    verbose: bool = False
    name: str = "run"
    tags: List[str] = dataclasses.field(default_factory=lambda: ["a"])
    weights: Dict[str, float] = dataclasses.field(default_factory=lambda: {"x": 1.0})
    either: Union[int, str] = 1
    note: Optional[str] = None
    model: Model = dataclasses.field(default_factory=Model)
    teacher: Optional[Model] = None


# Texts for each type: what it takes, and what it does not.
TEXTS = {
    "int": ["0", "7", "-3", "2147483647", "1e3", "1.0", "true", "x", "", "null", "0x10", "[1]", "1_0"],
    "float": ["1", "-2.5", "1e-3", "1e3", ".5", "5.", "x", "true", "null", "inf", ".inf", "1,5"],
    "bool": ["true", "false", "yes", "no", "True", "on", "1", "0", "x", "null"],
    "str": ["a", "a b", "true", "1", "1e3", "null", "[1]", "{a: 1}", "x=y", "#", "é", "a: b", "~"],
    "enum": ["relu", "gelu", "tanh", "RELU", "0", "x", "null"],
    "optional float": ["0.5", "1", "null", "x", "[]"],
    "optional str": ["a", "null", "1", "true", "a b"],
    "list int": ["[1, 2]", "[]", "[3]", "1,2", "4", "x", "[1, x]", "[1.5]", "null", "{a: 1}"],
    "list str": ["[a, b]", "[]", "['1', x]", "a,b", "a", "[1]", "null"],
    "dict": ["{a: 1}", "{}", "{a: 1, b: 2.5}", "{a: x}", "a", "[1]", "null"],
    "either": ["1", "x", "true", "1.5", "null", "[1]"],
}
LEAVES = {
    "epochs": "int", "lr": "float", "verbose": "bool", "name": "str", "tags": "list str",
    "weights": "dict", "either": "either", "note": "optional str",
}
MODEL = {"width": "int", "activation": "enum", "layers": "list int", "dropout": "optional float"}
OPTIONS = {**LEAVES, **{f"{s}.{k}": t for s in ("model", "teacher") for k, t in MODEL.items()}}
WRONG_NAMES = ["epoch", "model.widht", "model.width.x", "teacher.x", "foo"]


def text_for(rng, option):
    """One of the texts for an option, more often of the first ones, which its type takes."""
    texts = TEXTS[OPTIONS[option]]
    return rng.choice(texts[: len(texts) // 2] if rng.random() < 0.6 else texts)


class Given(NamedTuple):
    """One value of a case."""

    option: str
    text: str
    where: str  # "file", "quoted" in a file, "argument", "append" or "item" of a map


class Case(NamedTuple):
    arguments: list
    given: list


def make_file(rng, name, given):
    lines, sections = {}, {"model": {}, "teacher": {}}
    for option in rng.sample(sorted(OPTIONS), rng.randint(0, 4)):
        section, _, key = option.rpartition(".")
        text = text_for(rng, option)
        # Texts that are no YAML by themselves are quoted, others sometimes.
        quoted = text in ("#", "a: b", "") or (OPTIONS[option] == "str" and rng.random() < 0.3)
        given.append(Given(option, text, "quoted" if quoted else "file"))
        (sections[section] if section else lines)[key] = (
            json.dumps(text, ensure_ascii=False) if quoted else text)
    if rng.random() < 0.1:
        lines[rng.choice(["epoch", "foo"])] = "1"
    with open(name, "w") as file:
        for key, text in lines.items():
            file.write(f"{key}: {text}\n")
        for section, values in sections.items():
            if values:
                file.write(f"{section}:\n")
            for key, text in values.items():
                file.write(f"  {key}: {text}\n")
        if not lines and not any(sections.values()):
            file.write("{}\n")


def make_case(rng, number):
    arguments, given, lists = [], [], [k for k, t in OPTIONS.items() if t.startswith("list")]
    for place in range(rng.randint(0, 4)):
        kind = rng.random()
        if kind < 0.2:
            name = f"{number}-{place}.yaml"
            make_file(rng, name, given)
            arguments += [["--config", name], [f"--config={name}"]][rng.randint(0, 1)]
        elif kind < 0.3:
            option = rng.choice(lists)
            text = text_for(rng, option)
            arguments.append(f"--{option}+={text}")
            given.append(Given(option, text, "append"))
        elif kind < 0.36:
            text = rng.choice(TEXTS["float"])
            arguments.append(f"--weights.{rng.choice('xyz')}={text}")
            given.append(Given("weights", text, "item"))
        elif kind < 0.40:
            arguments.append(f"--{rng.choice(WRONG_NAMES)}=1")
        else:
            option = rng.choice(sorted(OPTIONS))
            text = text_for(rng, option)
            given.append(Given(option, text, "argument"))
            if text and not text.startswith("-") and rng.random() < 0.5:
                arguments += [f"--{option}", text]
            else:
                arguments.append(f"--{option}={text}")
    return Case(arguments, given)


def parser():
    made = jsonargparse.ArgumentParser(exit_on_error=False, default_env=False)
    made.add_argument("--config", action="config")
    made.add_class_arguments(Config)
    return made


def plain(value):
    """As JSON has it: enums by name, infinities as our own text."""
    if isinstance(value, enum.Enum):
        return value.name
    if dataclasses.is_dataclass(value):
        value = dataclasses.asdict(value)
    if isinstance(value, jsonargparse.Namespace):
        value = value.as_dict()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and abs(value) == float("inf"):
        return ".inf" if value > 0 else "-.inf"
    return value


def theirs(arguments):
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            values = parser().parse_args(arguments).as_dict()
    except (jsonargparse.ArgumentError, SystemExit, Exception) as error:
        return {"error": str(error)}
    values.pop("config")
    return {"values": plain(values)}


FILES = ("file",)
ARGUMENTS = ("argument", "append", "item")
ANYWHERE = ("file", "quoted", *ARGUMENTS)


def has(case, kinds, texts, where=ANYWHERE):
    return any(OPTIONS[g.option] in kinds and g.text in texts and g.where in where for g in case.given)


def refused(result, text=""):
    return "error" in result and text in result["error"]


def given_twice(case):
    options = [g.option for g in case.given]
    return len(set(options)) < len(options)


# What differs, and whether a case shows it: (case, ours, theirs).
MEANT = [
    ("null is no value of a type that has none; theirs takes it from files",
     lambda c, o, t: (refused(o, "got null") or refused(o, "got 'null'")) and not refused(t)),
    ("a text is taken whatever it looks like; theirs reads 1 and true as YAML has them, and refuses",
     lambda c, o, t: refused(t) and not refused(o)
     and has(c, ("str", "optional str", "either", "list str"),
             ("true", "1", "1e3", "1.5", "[1]", "~"), ("file", "argument", "append"))),
    ("a list that is added to a list adds its items; theirs may add its text",
     lambda c, o, t: has(c, ("list str",), ("[1]",), ("append",)) and not refused(o)),
    ("1,2 and a single number are lists of numbers on the command line",
     lambda c, o, t: refused(t) and has(c, ("list int",), ("1,2", "4"), ARGUMENTS)),
    ("infinity has all its names everywhere; theirs takes some for texts or refuses them",
     lambda c, o, t: has(c, ("float", "dict"), ("inf", ".inf"))),
    ("digits are not grouped by underscores, as in YAML 1.1",
     lambda c, o, t: refused(o, "got '1_0'") and not refused(t)),
    ("names are not abbreviated",
     lambda c, o, t: refused(o, "--epoch (argument") and not refused(t)),
    ("what a later source replaces is not looked at",
     lambda c, o, t: refused(t) and not refused(o) and given_twice(c)),
]


beside_jsonargparse.run(PROGRAM, FOLDER, make_case, theirs, MEANT, CASES, SEED)
