"""Prints optimizer_baseline.h: what Python's optimizers make of 100 steps, for the tests of ours.

    python tests/baselines/make_optimizer_baseline.py > tests/baselines/optimizer_baseline.h

Eight elements in float64 whose values and gradients are simple fractions; optimizer_test.cpp makes
the same.
"""
import torch

ELEMENTS = 8
AFTER = [1, 10, 100]


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of Chen et al. 2023, arXiv 2302.06675, which PyTorch does not have."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, maximize=False):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay,
                                      maximize=maximize))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                g = -p.grad if group["maximize"] else p.grad
                update = torch.sign(beta1 * m + (1 - beta1) * g)
                p.sub_(group["lr"] * (update + group["weight_decay"] * p))
                m.copy_(beta2 * m + (1 - beta2) * g)


ADAM = [
    dict(),
    dict(lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
    dict(lr=0.01, weight_decay=0.1, amsgrad=True),
    dict(lr=0.01, weight_decay=0.1, maximize=True),
    dict(lr=0.01, amsgrad=True, maximize=True),
]
CASES = [(name, optimizer, options) for name, optimizer in
         [("AdamW", torch.optim.AdamW), ("Adam", torch.optim.Adam)] for options in ADAM]
CASES += [("SGD", torch.optim.SGD, options) for options in [
    dict(),
    dict(lr=0.01, momentum=0.9),
    dict(lr=0.01, momentum=0.9, dampening=0.3, weight_decay=0.1),
    dict(lr=0.01, momentum=0.9, weight_decay=0.1, nesterov=True),
    dict(lr=0.01, momentum=0.5, dampening=0.5, maximize=True),
    dict(lr=0.01, weight_decay=0.1, maximize=True),
]]
CASES += [("Adagrad", torch.optim.Adagrad, options) for options in [
    dict(),
    dict(lr=0.1, lr_decay=0.01, weight_decay=0.1),
    dict(lr=0.1, initial_accumulator_value=0.5, eps=1e-6),
    dict(lr=0.1, maximize=True),
]]
CASES += [("Lion", Lion, options) for options in [
    dict(),
    dict(lr=0.01, betas=(0.8, 0.95), weight_decay=0.1),
    dict(lr=0.01, weight_decay=0.1, maximize=True),
]]
CASES += [(name, optimizer, dict(options, one_cycle=True)) for name, optimizer, options in [
    ("AdamW", torch.optim.AdamW, dict(lr=0.01)),
    ("SGD", torch.optim.SGD, dict(lr=0.01, momentum=0.9, nesterov=True)),
    ("Lion", Lion, dict(lr=0.01)),
]]


def first_values():
    return torch.tensor([(i * 37 % 101 - 50) / 50 for i in range(ELEMENTS)], dtype=torch.float64)


def gradient(values, step):
    noise = [((i * 13 + step * 29) % 23 - 11) / 11 for i in range(ELEMENTS)]
    return values * 0.25 + torch.tensor(noise, dtype=torch.float64)


def run(optimizer, options):
    values = first_values().requires_grad_()
    options = dict(options)
    one_cycle = options.pop("one_cycle", False)
    instance = optimizer([values], **options)
    if one_cycle:
        schedule = torch.optim.lr_scheduler.OneCycleLR(instance, options["lr"], max(AFTER))
    results = []
    for step in range(1, max(AFTER) + 1):
        values.grad = gradient(values.detach(), step)
        instance.step()
        if one_cycle and step < max(AFTER):
            schedule.step()
        if step in AFTER:
            results.append(values.detach().tolist())
    return results


def main():
    print("// Made by make_optimizer_baseline.py with torch " + torch.__version__.split("+")[0] +
          ". Do not edit.")
    print("#pragma once\n\n#include <string>\n#include <vector>\n")
    print("struct OptimizerBaseline {")
    print("  std::string optimizer;")
    print("  double lr = -1, beta1 = -1, beta2 = -1, eps = -1, weight_decay = -1, momentum = -1,")
    print("         dampening = -1, lr_decay = -1, initial_accumulator_value = -1;  // -1: the default")
    print("  bool amsgrad = false, nesterov = false, maximize = false;")
    print("  bool one_cycle = false;  // under OneCycleLR over 100 steps, up to lr")
    print("  std::vector<std::vector<double>> values;  // after 1, 10 and 100 steps\n};\n")
    print("// clang-format off")
    print("inline const std::vector<OptimizerBaseline> kOptimizerBaseline = {")
    fields = ["lr", "beta1", "beta2", "eps", "weight_decay", "momentum", "dampening", "lr_decay",
              "initial_accumulator_value", "amsgrad", "nesterov", "maximize", "one_cycle"]
    for name, optimizer, options in CASES:
        given = dict(options)
        if "betas" in given:
            given["beta1"], given["beta2"] = given.pop("betas")
        set_fields = ", ".join(f".{field} = {str(given[field]).lower()}"
                               for field in fields if field in given)
        print(f'    {{.optimizer = "{name}"' + (", " + set_fields if set_fields else "") +
              ", .values = {")
        for values in run(optimizer, options):
            print("        {" + ", ".join(repr(value) for value in values) + "},")
        print("    }},")
    print("};\n// clang-format on")


if __name__ == "__main__":
    main()
