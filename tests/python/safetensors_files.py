"""Writes and reads safetensors files with the format's own library, for safetensors_test.cpp.

    safetensors_files.py write FOLDER    one file, a split one with an index, and a tied model
    safetensors_files.py check FOLDER    reads what the test wrote; says what differs
"""

import json
import os
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file, load_model, save_file, save_model


def tensor(dtype, *sizes):
    count = 1
    for size in sizes:
        count *= size
    values = torch.arange(count, dtype=torch.float32) % 7
    return values.to(dtype).reshape(sizes)


DTYPES = {
    "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
    "i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8,
    "bool": torch.bool, "u16": torch.uint16, "u32": torch.uint32, "u64": torch.uint64,
    "c64": torch.complex64, "f8_e4m3": torch.float8_e4m3fn, "f8_e5m2": torch.float8_e5m2,
}


def everything():
    tensors = {f"{name}.{i}": tensor(dtype, *sizes)
               for name, dtype in DTYPES.items()
               for i, sizes in enumerate([(2, 3), (), (0, 4)])}
    tensors["ünï \"漢\"\n"] = tensor(torch.float32, 5)
    return tensors


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(11, 3)
        self.head = torch.nn.Linear(3, 11, bias=False)
        self.head.weight = self.embed.weight
        torch.nn.init.constant_(self.embed.weight, 0.25)


def write(folder):
    save_file(everything(), f"{folder}/all.safetensors", metadata={"format": "pt", "note": "hello"})
    save_model(Tied(), f"{folder}/tied.safetensors")
    weight_map = {}
    names = ["split-00001-of-00002.safetensors", "split-00002-of-00002.safetensors"]
    for i, name in enumerate(names):
        tensors = {f"layer.{i}.weight": tensor(torch.float32, 4, 4) + i, f"layer.{i}.bias": tensor(torch.float32, 4)}
        save_file(tensors, f"{folder}/{name}", metadata={"format": "pt"})
        weight_map.update({key: name for key in tensors})
    with open(f"{folder}/split.safetensors.index.json", "w") as file:
        json.dump({"metadata": {"total_size": 160}, "weight_map": weight_map}, file, indent=2)


def same(got, expected):
    return got.dtype == expected.dtype and got.shape == expected.shape and \
        got.contiguous().view(-1).view(torch.uint8).equal(expected.contiguous().view(-1).view(torch.uint8)) \
        if expected.dim() > 0 else got.dtype == expected.dtype and got.shape == expected.shape and \
        got.reshape(1).view(torch.uint8).equal(expected.reshape(1).view(torch.uint8))


def check_tensors(got, expected, what):
    if set(got) != set(expected):
        sys.exit(f"{what}: keys {sorted(set(got) ^ set(expected))} differ")
    for name, value in expected.items():
        if not same(got[name], value):
            sys.exit(f"{what}: {name!r} differs")


def check(folder):
    check_tensors(load_file(f"{folder}/all.safetensors"), everything(), "all")
    with safe_open(f"{folder}/all.safetensors", "pt") as file:
        assert file.metadata()["format"] == "pt", file.metadata()
        row = file.get_slice("f32.0")[1]
        assert row.equal(tensor(torch.float32, 2, 3)[1]), row
    with open(f"{folder}/all.safetensors", "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        assert (8 + length) % 64 == 0, length

    model = Tied()
    torch.nn.init.zeros_(model.embed.weight)
    missing, unexpected = load_model(model, f"{folder}/tied.safetensors")
    assert not missing and not unexpected, (missing, unexpected)
    assert model.head.weight.eq(0.25).all() and model.head.weight is model.embed.weight

    index = json.load(open(f"{folder}/split.safetensors.index.json"))
    files = sorted(set(index["weight_map"].values()))
    assert files == [f"split-{i:05d}-of-{len(files):05d}.safetensors" for i in range(1, len(files) + 1)], files
    assert len(files) > 1
    tensors, size = {}, 0
    for name in files:
        part = load_file(f"{folder}/{name}")
        assert all(index["weight_map"][key] == name for key in part)
        assert sum(value.nbytes for value in part.values()) <= 64
        tensors.update(part)
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in tensors.values())
    check_tensors(tensors, everything(), "split")

    if os.path.exists(f"{folder}/nested.safetensors"):
        nested = load_file(f"{folder}/nested.safetensors")
        assert sorted(nested) == ["model.weight", "optimizer.state.0.exp_avg"], sorted(nested)


{"write": write, "check": check}[sys.argv[1]](sys.argv[2])
print("ok")
