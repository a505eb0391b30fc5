"""Trainings that go from Python to C++ and back: nothing is lost on the way, and runs go on alike.

    python state_test.py PROGRAM FOLDER
"""

import os
import subprocess
import sys

try:
    import torch
except ImportError as error:
    print(f"skipped: no PyTorch in {sys.executable} ({error}). Hint: tools/setup --peers")
    sys.exit(77)

PROGRAM, FOLDER = sys.argv[1:]
STEPS = 3

OPTIMIZERS = {
    "Adam": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True, weight_decay=0.1),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.01, betas=(0.8, 0.9)),
    "SGD": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, nesterov=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 0.01, lr_decay=0.1),
    "FusedAdam": lambda p: torch.optim.Adam(p, 0.01, amsgrad=True, maximize=True),
    "FusedAdamW": lambda p: torch.optim.AdamW(p, 0.01, betas=(0.8, 0.9)),
    "FusedSGD": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, nesterov=True),
    "FusedAdagrad": lambda p: torch.optim.Adagrad(p, 0.01, lr_decay=0.1),
}


class MLP(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(6, 16)
        self.second = torch.nn.Linear(16, 16)
        self.third = torch.nn.Linear(16, 3)

    def forward(self, x):
        return self.third(torch.tanh(self.second(torch.tanh(self.first(x)))))


def make(name, seed):
    torch.manual_seed(seed)
    model = MLP().double()
    return model, OPTIMIZERS[name](model.parameters())


def train(model, optimizer, first, last):
    for epoch in range(first, last):
        x = torch.arange(epoch * 48, (epoch + 1) * 48, dtype=torch.float64).sin().view(8, 6)
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def differences(ours, theirs, path=""):
    """What of `theirs` is missing in or other than `ours`, to the bit."""
    if isinstance(theirs, dict):
        for key, value in theirs.items():
            if not isinstance(ours, dict) or key not in ours:
                yield f"{path}.{key} is missing"
            else:
                yield from differences(ours[key], value, f"{path}.{key}")
    elif isinstance(theirs, (list, tuple)):
        if len(ours) != len(theirs):
            yield f"{path} has {len(ours)} values, not {len(theirs)}"
        for i, (a, b) in enumerate(zip(ours, theirs)):
            yield from differences(a, b, f"{path}[{i}]")
    elif isinstance(theirs, torch.Tensor):
        if ours.dtype != theirs.dtype or not torch.equal(ours, theirs):
            yield f"{path}: {ours} is not {theirs}"
    elif ours != theirs:
        yield f"{path}: {ours!r} is not {theirs!r}"


def check(what, found):
    found = list(found)
    if found:
        print(f"{what}:")
        print("\n".join(f"  {line}" for line in found[:10]))
        sys.exit(1)


def run(name, source, same, after):
    subprocess.run([PROGRAM, name, source, same, after, str(STEPS)], check=True, timeout=120)


def largest(a, b):
    return max((x - y).abs().max().item() for x, y in zip(a.parameters(), b.parameters()))


def load(path, name):
    model, optimizer = make(name, 99)
    checkpoint = torch.load(path, weights_only=True)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    return model, optimizer, checkpoint


def savers():
    """The ways in which Python's users save: plainly, with Lightning Fabric, with DCP's names."""
    yield "torch.save", lambda path, model, optimizer: torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": STEPS}, path
    )
    try:
        from lightning.fabric import Fabric

        fabric = Fabric(accelerator="cpu", devices=1)

        def with_fabric(path, model, optimizer):
            wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
            fabric.save(path, {"model": wrapped, "optimizer": wrapped_optimizer, "epoch": STEPS})

        yield "Lightning Fabric", with_fabric
    except ImportError:
        print("without Lightning Fabric, which is not there")

    from torch.distributed.checkpoint.state_dict import get_state_dict

    def with_names(path, model, optimizer):
        model_state, optimizer_state = get_state_dict(model, optimizer)
        torch.save({"model": model_state, "optimizer": optimizer_state, "epoch": STEPS}, path)

    yield "parameters by name", with_names


def main():
    os.makedirs(FOLDER, exist_ok=True)
    path = lambda name: os.path.join(FOLDER, name)
    for how, save in savers():
        for name in OPTIMIZERS:
            model, optimizer = make(name, 1)
            train(model, optimizer, 0, STEPS)
            save(path("python.pt"), model, optimizer)
            run(name, path("python.pt"), path("same.pt"), path("after.pt"))

            # Nothing is lost: what C++ saves is what Python had.
            back, back_optimizer, checkpoint = load(path("same.pt"), name)
            check(f"{how}, {name}: model", differences(checkpoint["model"], model.state_dict()))
            # (Our numbers are the same under each way of saving, by number of the parameter.)
            plain, plain_optimizer = make(name, 1)
            train(plain, plain_optimizer, 0, STEPS)
            check(
                f"{how}, {name}: optimizer",
                differences(checkpoint["optimizer"]["state"], plain_optimizer.state_dict()["state"]),
            )
            ours = checkpoint["optimizer"]["param_groups"]
            theirs = plain_optimizer.state_dict()["param_groups"]
            check(f"{how}, {name}: groups", differences(ours, theirs))
            assert checkpoint["epoch"] == STEPS

            # Both go on alike, C++ from Python's file and Python from C++'s.
            after, after_optimizer, _ = load(path("after.pt"), name)
            train(plain, plain_optimizer, STEPS, 2 * STEPS)
            assert largest(after, plain) <= 1e-6, (how, name, largest(after, plain))
            train(back, back_optimizer, STEPS, 2 * STEPS)
            assert largest(back, plain) == 0, (how, name, largest(back, plain))
            train(plain, plain_optimizer, 2 * STEPS, 3 * STEPS)
            train(after, after_optimizer, 2 * STEPS, 3 * STEPS)
            assert largest(after, plain) <= 1e-6, (how, name, largest(after, plain))
        print(f"{how}: {len(OPTIMIZERS)} optimizers, nothing lost, runs go on alike")


main()
