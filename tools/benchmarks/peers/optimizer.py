"""The peer of bench_optimizer: AdamW(fused=True) of PyTorch on the same parameters, one thread.

Prints `NAME MICROSECONDS`, the median of a step.
"""
import statistics
import time

import torch

SHAPES = [("many_small", 1000, 256, 20), ("mid", 500, 4096, 10), ("few_large", 8, 1000000, 5)]
ROUNDS = 21


def main():
    torch.set_num_threads(1)
    for name, parameters, size, steps in SHAPES:
        tensors = [torch.randn(size, requires_grad=True) for _ in range(parameters)]
        for tensor in tensors:
            tensor.grad = torch.randn(size)
        optimizer = torch.optim.AdamW(tensors, lr=1e-3, fused=True)
        optimizer.step()
        times = []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            for _ in range(steps):
                optimizer.step()
            times.append((time.perf_counter() - begin) / steps * 1e6)
        print(f"{name} {statistics.median(times):.2f}", flush=True)


if __name__ == "__main__":
    main()
