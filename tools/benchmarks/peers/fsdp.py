"""The peer of bench_step: the same models, losses and optimizer under PyTorch's FSDP2 on Gloo.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 \\
        python fsdp.py linear|gpt LAYERS WIDTH BATCH WARMUP STEPS

Each layer (block) is a unit. Rank 0 prints `step_ms MEDIAN`.
"""
import statistics
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

CONTEXT = 128
VOCABULARY = 256


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.heads = width // 64
        self.first = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.second = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        q, k, v = (
            t.view(t.size(0), t.size(1), self.heads, 64).transpose(1, 2)
            for t in self.qkv(self.first(x)).chunk(3, -1)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.second(x))))


def main():
    kind = sys.argv[1]
    layers, width, batch, warmup, steps = map(int, sys.argv[2:7])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    torch.manual_seed(0)
    if kind == "gpt":
        parts = [nn.Embedding(VOCABULARY, width), *[Block(width) for _ in range(layers)], nn.Linear(width, VOCABULARY)]
        x = torch.randint(VOCABULARY, (batch, CONTEXT))
        y = torch.randint(VOCABULARY, (batch * CONTEXT,))
    else:
        parts = [nn.Linear(width, width) for _ in range(layers)]
        x, y = torch.randn(batch, width), torch.randn(batch, width)
    for part in parts:
        fully_shard(part, mesh=mesh)
    model = fully_shard(nn.Sequential(*parts), mesh=mesh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    times = []
    dist.barrier()
    for step in range(warmup + steps):
        begin = time.perf_counter()
        optimizer.zero_grad()
        output = model(x)
        if kind == "gpt":
            loss = nn.functional.cross_entropy(output.flatten(0, 1), y)
        else:
            loss = nn.functional.mse_loss(output, y)
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
