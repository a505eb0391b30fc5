"""What the tests beside jsonargparse do alike: give cases to both, and count where they differ."""

import json
import os
import random
import subprocess
import sys


def compare(meant, case, ours, other):
    """None where both agree; else which of the listed differences it is, or ''."""
    if ours == other or ("error" in ours and "error" in other):
        return None
    for what, applies in meant:
        if applies(case, ours, other):
            return what
    return ""


def run(program, folder, make_case, theirs, meant, count, seed):
    """Fails where a difference is not meant, or a meant one is not seen.

    make_case(rng, number) has `arguments`; theirs(arguments) answers as the program does with a line.
    """
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    rng = random.Random(seed)
    cases = [make_case(rng, number) for number in range(count)]
    answers = subprocess.run([program], input="".join(json.dumps(case.arguments) + "\n" for case in cases),
                             capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in answers.stdout.split("\n")[:-1]]
    assert len(results) == len(cases), answers.stderr
    counts, failed, agreed, refused = {what: 0 for what, _ in meant}, 0, 0, 0
    for case, ours in zip(cases, results):
        other = theirs(case.arguments)
        what = compare(meant, case, ours, other)
        if what is None:
            agreed += 1
            refused += "error" in ours
        elif what:
            counts[what] += 1
        else:
            failed += 1
            if failed <= 15:
                print(f"{case}\n  ours:   {ours}\n  theirs: {str(other)[:400]}")
    print(f"{agreed} of {len(cases)} alike, of which both refuse {refused}; differences that are meant:")
    for what, number in counts.items():
        print(f"  {number:5d}  {what}")
    unseen = [what for what, number in counts.items() if number == 0]
    if failed or unseen:
        print(f"{failed} other differences; meant, but not seen: {unseen}")
        sys.exit(1)
