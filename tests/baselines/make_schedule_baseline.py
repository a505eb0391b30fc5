"""Prints schedule_baseline.h: what torch.optim.lr_scheduler gives, for the tests of ours.

    python tests/baselines/make_schedule_baseline.py > tests/baselines/schedule_baseline.h
"""
import math
import warnings

import torch
from torch.optim import lr_scheduler as s

warnings.simplefilter("ignore")

STEPS, EVERY = 1000, 50
BASE = [0.1, 0.003]


def sequential(o):
    return s.SequentialLR(o, [s.LinearLR(o, 0.01, 1.0, 120), s.CosineAnnealingLR(o, 700, 1e-4),
                              s.ExponentialLR(o, 0.99)], [120, 820])


def chained(o):
    return s.ChainedScheduler([s.ConstantLR(o, 0.25, 75), s.ExponentialLR(o, 0.999),
                               s.StepLR(o, 200, 0.5)])


def hugging_face(o, warmup=100, total=900):
    def factor(step):
        if step < warmup:
            return step / warmup
        return max(0.0, 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (total - warmup)))))
    return s.LambdaLR(o, factor)


CASES = {
    "ConstantLR": lambda o: s.ConstantLR(o, 0.25, 175),
    "LinearLR": lambda o: s.LinearLR(o, 0.2, 0.9, 620),
    "PolynomialLR": lambda o: s.PolynomialLR(o, 930, 1.7),
    "ExponentialLR": lambda o: s.ExponentialLR(o, 0.997),
    "StepLR": lambda o: s.StepLR(o, 150, 0.3),
    "MultiStepLR": lambda o: s.MultiStepLR(o, [50, 300, 710], 0.2),
    "CosineAnnealingLR": lambda o: s.CosineAnnealingLR(o, 400, 1e-5),
    "CosineAnnealingWarmRestarts": lambda o: s.CosineAnnealingWarmRestarts(o, 60, 2, 1e-5),
    "CosineAnnealingWarmRestarts equal": lambda o: s.CosineAnnealingWarmRestarts(o, 70),
    "OneCycleLR": lambda o: s.OneCycleLR(o, [0.2, 0.01], STEPS + 1),
    "OneCycleLR linear": lambda o: s.OneCycleLR(o, 0.2, STEPS + 1, anneal_strategy="linear",
                                                pct_start=0.2, three_phase=True, div_factor=10.0,
                                                final_div_factor=100.0),
    "LambdaLR": lambda o: s.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: 0.99 ** t]),
    "SequentialLR": sequential,
    "ChainedScheduler": chained,
    "warmup_cosine": hugging_face,
}


def main():
    print("// Made by make_schedule_baseline.py with torch " + torch.__version__.split("+")[0] +
          ". Do not edit.")
    print("#pragma once\n\n#include <string>\n#include <vector>\n")
    print("struct ScheduleBaseline {")
    print("  std::string name;")
    print("  std::vector<double> first, second;  // rates of two groups, at every 50th step")
    print("  std::vector<double> momentum;       // of the first, where it moves")
    print("};\n")
    print("// clang-format off")
    print("inline const std::vector<ScheduleBaseline> kScheduleBaseline = {")
    for name, make in CASES.items():
        groups = [{"params": [torch.zeros(1)], "lr": lr} for lr in BASE]
        optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9)
        schedule = make(optimizer)
        rows = []
        for step in range(STEPS + 1):
            if step % EVERY == 0:
                rows.append([g["lr"] for g in optimizer.param_groups] +
                            [optimizer.param_groups[0]["momentum"]])
            optimizer.step()
            if step < STEPS:
                schedule.step()
        columns = [list(column) for column in zip(*rows)]
        if len(set(columns[2])) == 1:
            columns[2] = []
        columns = ["{" + ", ".join(f"{value:.12g}" for value in column) + "}"
                   for column in columns]
        print('    {"%s",\n     %s},' % (name, ",\n     ".join(columns)))
    print("};\n// clang-format on")


if __name__ == "__main__":
    main()
