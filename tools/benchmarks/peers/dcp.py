"""Saves 1 GiB of a model under FSDP2 with torch.distributed.checkpoint: the peer of `bench_checkpoint parts`.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 python dcp.py PATH

Files are synchronised, as DCP's writer does by default. Rank 0 prints `save_ms MEDIAN`.
"""
import shutil
import statistics
import sys
import time

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


def main():
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = nn.Sequential(*[nn.Linear(4096, 4096) for _ in range(16)])
    for layer in model:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    times = []
    for i in range(4):
        path = sys.argv[1] + str(i)
        dist.barrier()
        begin = time.perf_counter()
        dcp.save({"model": get_model_state_dict(model)}, checkpoint_id=path)
        if i > 0:
            times.append((time.perf_counter() - begin) * 1e3)
        dist.barrier()
        if dist.get_rank() == 0:
            shutil.rmtree(path)
        dist.barrier()
    slowest = torch.tensor(statistics.median(times))
    dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
    print("save_ms", slowest.item(), flush=True)
    dist.destroy_process_group()


main()
