"""The peer of bench_startup: one training step under Python's Lightning Fabric, one CPU process.

Prints `first_step_at UNIX_SECONDS`.
"""
import time

import torch
from lightning.fabric import Fabric


def main():
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    model, optimizer = fabric.setup(net, torch.optim.SGD(net.parameters(), lr=0.1))
    x, y = torch.randn(32, 64), torch.randint(10, (32,))
    optimizer.zero_grad()
    fabric.backward(torch.nn.functional.cross_entropy(model(x), y))
    optimizer.step()
    print(f"first_step_at {time.time():.6f}")


if __name__ == "__main__":
    main()
