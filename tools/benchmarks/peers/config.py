"""Parses 1000 options from 3 files with jsonargparse; the twin of config.cpp.

    python config.py FOLDER REPETITIONS    prints `parse_seconds` of one parse, and `sum` of what was read

The parser is made once, before the clock starts.
"""

import dataclasses
import sys
import time
from typing import List, Optional

import jsonargparse


@dataclasses.dataclass
class Ten:
    a: int = 0
    b: float = 0
    c: bool = False
    d: str = ""
    e: List[int] = dataclasses.field(default_factory=list)
    f: int = 0
    g: float = 0
    h: bool = False
    i: str = ""
    j: Optional[int] = None


def of_ten(name, part):
    fields = [(letter, part, dataclasses.field(default_factory=part)) for letter in "abcdefghij"]
    return dataclasses.make_dataclass(name, fields)


Hundred = of_ten("Hundred", Ten)
Thousand = of_ten("Thousand", Hundred)

folder, repetitions = sys.argv[1], int(sys.argv[2])
parser = jsonargparse.ArgumentParser()
parser.add_argument("--config", action="config")
parser.add_class_arguments(Thousand)
arguments = [f"--config={folder}/{i}.yaml" for i in range(3)]
begin = time.perf_counter()
for _ in range(repetitions):
    config = parser.parse_args(arguments)
seconds = (time.perf_counter() - begin) / repetitions
total = 0
for hundred in (config.a, config.b, config.j):
    total += hundred.a.a + hundred.j.f + hundred.c.e[-1] + hundred.j.j
print(f"parse_seconds {seconds:.9f}\nsum {total}")
