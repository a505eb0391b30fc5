"""Writes distributed checkpoints with PyTorch, and the same states whole, for dcp_test.cpp.

    dcp_folders.py FOLDER

For each name below FOLDER gets a distributed checkpoint NAME and a file NAME.pt of the whole state:
single (one process), fsdp (two processes, FSDP2, uneven shards), hybrid (two replicas), columns (a
tensor cut along its second dimension, one along its first that leaves a rank nothing).
"""

import os
import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(5, 3)
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(n, n) for n in (3, 3))
        self.norm = torch.nn.BatchNorm1d(3)
        self.last = torch.nn.Linear(3, 1)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x).relu()
        return self.last(self.norm(x))


def trained(net):
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2, amsgrad=True)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.arange(20.0).reshape(4, 5)).square().mean().backward()
        optimizer.step()
    return optimizer


def single(folder):
    net = Net()
    optimizer = trained(net)
    shared = torch.arange(6.0)
    state = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "list": [torch.ones(2), 3, {"deep": torch.zeros(2, 2), "name": "x"}],
        "tuple": (1, torch.ones(1)),
        "plain": (1, "two", None, {3.0}, b"four"),
        "turned": torch.arange(12).reshape(3, 4).t(),
        "row": shared[2:4],
        "scalar": torch.tensor(7, dtype=torch.int64),
        "nothing": torch.empty(0, 3),
        "dtypes": {str(dtype): torch.ones(3, dtype=dtype) for dtype in
                   (torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool, torch.complex64)},
        "epoch": 5,
        "lr": 0.1,
    }
    dcp.save(state, checkpoint_id=f"{folder}/single", no_dist=True)
    dcp_to_torch_save(f"{folder}/single", f"{folder}/single.pt")


def flat(value, path=()):
    if isinstance(value, dict):
        value = value.items()
    elif isinstance(value, (list, tuple)):
        value = enumerate(value)
    else:
        return {path: value}
    return {key: leaf for name, part in value for key, leaf in flat(part, (*path, str(name))).items()}


def check_full(folder, name, expected):
    """What dcp_to_torch_save put together is what PyTorch itself gathers."""
    got = flat(torch.load(f"{folder}/{name}.pt", weights_only=False))
    expected = flat(expected)
    assert got.keys() == expected.keys(), got.keys() ^ expected.keys()
    for key, value in expected.items():
        same = torch.equal(got[key], value) if isinstance(value, torch.Tensor) else got[key] == value
        assert same, key


def save_sharded(folder, name, mesh):
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(1)
    net = Net()
    for block in net.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(net, mesh=mesh)
    optimizer = trained(net)
    model_state, optimizer_state = get_state_dict(net, optimizer)
    dcp.save({"model": model_state, "optimizer": optimizer_state, "epoch": 5},
             checkpoint_id=f"{folder}/{name}")
    model_state, optimizer_state = get_state_dict(
        net, optimizer, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if dist.get_rank() == 0:
        dcp_to_torch_save(f"{folder}/{name}", f"{folder}/{name}.pt")
        check_full(folder, name, {"model": model_state, "optimizer": optimizer_state, "epoch": 5})
    dist.barrier()


def save_columns(folder, mesh):
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    state = {
        "columns": distribute_tensor(torch.arange(35.0).reshape(5, 7), mesh, [Shard(1)]),
        "middle": distribute_tensor(torch.arange(2 * 5 * 3).reshape(2, 5, 3), mesh, [Shard(1)]),
        "one_row": distribute_tensor(torch.arange(4.0).reshape(1, 4), mesh, [Shard(0)]),
        "replicated": distribute_tensor(torch.arange(4.0), mesh, [Replicate()]),
    }
    dcp.save(state, checkpoint_id=f"{folder}/columns")
    if dist.get_rank() == 0:
        dcp_to_torch_save(f"{folder}/columns", f"{folder}/columns.pt")
    dist.barrier()


def rank_main(rank, folder):
    from torch.distributed.device_mesh import init_device_mesh

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    save_sharded(folder, "fsdp", init_device_mesh("cpu", (2,)))
    save_sharded(folder, "hybrid", init_device_mesh("cpu", (2, 1), mesh_dim_names=("replicate", "shard")))
    save_columns(folder, init_device_mesh("cpu", (2,)))
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    single(sys.argv[1])
    mp.spawn(rank_main, (sys.argv[1],), nprocs=2)
    print("ok")
