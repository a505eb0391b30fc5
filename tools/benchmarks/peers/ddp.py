"""The peer of bench_step: the same model, loss and optimizer under PyTorch's DDP on Gloo.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 python ddp.py LAYERS WIDTH BATCH WARMUP STEPS

Rank 0 prints `step_ms MEDIAN`.
"""
import statistics
import sys
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def main():
    layers, width, batch, warmup, steps = map(int, sys.argv[1:6])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    net = torch.nn.Sequential(*[torch.nn.Linear(width, width) for _ in range(layers)])
    model = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(batch, width), torch.randn(batch, width)
    times = []
    dist.barrier()
    for step in range(warmup + steps):
        begin = time.perf_counter()
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if step >= warmup:
            times.append(time.perf_counter() - begin)
    if dist.get_rank() == 0:
        print(f"step_ms {1e3 * statistics.median(times):.4f}")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
