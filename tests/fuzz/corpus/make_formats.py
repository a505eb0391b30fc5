"""Writes the inputs that fuzzing the readers of safetensors, JSON and distributed checkpoints begins
with: make_formats.py

They are kept beside this script, as those of make.py are. Needs PyTorch 2.11 and safetensors.
"""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

import torch
from safetensors.torch import save

HERE = pathlib.Path(__file__).parent


def write(reader, name, data):
    folder = HERE / reader
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)


def ours(state, tensors):
    """A file as write_safetensors makes it; tensors: name, dtype, shape, bytes."""
    digits = "".join(f"{zlib.crc32(data):08x}" for *_, data in tensors if data)
    header = {"__metadata__": {"fabric.crc32": "0" * 8, "fabric.checksums": digits, "fabric.state": json.dumps(state),
                               "format": "pt"}}
    begin = 0
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, begin + len(data)]}
        begin += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    length = struct.pack("<Q", len(text))
    crc = f"{zlib.crc32(length + text):08x}".encode()
    return length + text.replace(b'"00000000"', b'"' + crc + b'"', 1) + b"".join(data for *_, data in tensors)


STATE = {
    "model": {"$ordered": {"weight": {"$parameter": "model.weight"}, "again": {"$tensor": "model.weight"}}},
    "epoch": 3, "lr": 1e-3, "none": None, "flag": True, "text": "größe",
    "odd": [{"$real": "nan"}, {"$complex": [1.0, {"$real": "inf"}]}, {"$integer": "AAAAAAAAAAAB"}, {"$bytes": "AAEC"},
            {"$text": "/w=="}, {"$dtype": "bfloat16"}, {"$device": "cuda:1"}, {"$tuple": [1, {"$set": [2]}]},
            {"$size": [3, 4]}, {"$frozenset": []}],
    "state": {"$dict": [[0, {"step": {"$tensor": "state.0.step"}}], [{"$tuple": [1, 2]}, {"$dict": {"$a": 1}}]]},
}


def safetensors():
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16),
               "e": torch.empty(0, 3), "s": torch.tensor(7), "f": torch.ones(3, dtype=torch.float8_e4m3fn)}
    write("safetensors", "library", save(tensors))
    write("safetensors", "tied", save({"a": tensors["a"]}, metadata={"b": "a", "format": "pt"}))
    write("safetensors", "empty", save({}))
    write("safetensors", "ours", ours(STATE, [("model.weight", "F32", [2, 3], bytes(range(24))),
                                              ("state.0.step", "I64", [], bytes(8))]))
    write("safetensors", "ours-plain", ours({"w": {"$tensor": "w"}}, [("w", "U8", [5], b"hello")]))


def json_texts():
    write("json", "state", json.dumps(STATE).encode())
    write("json", "numbers", b'[0,-1,1.0,1e300,-0.0,9223372036854775807,-9223372036854775808,5e-324]')
    write("json", "escapes", rb'["\"\\\/\b\f\n\r\t\u0000\u00e9\ud83d\ude00",{"$dict":{"":0}}]')
    write("json", "deep", b"[" * 400 + b"]" * 400)
    write("json", "index", json.dumps({"metadata": {"total_size": 9}, "weight_map": {"a": "m-00001-of-00002.safetensors"}}).encode())


def packed(folder):
    metadata, first, second = ((folder / name).read_bytes() if (folder / name).exists() else b""
                               for name in (".metadata", "__0_0.distcp", "__1_0.distcp"))
    return struct.pack("<I", len(metadata)) + metadata + struct.pack("<I", len(first)) + first + second


def dcp():
    import torch.distributed.checkpoint as checkpoint

    script = HERE.parents[1] / "python" / "dcp_folders.py"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        subprocess.run([sys.executable, script, folder], check=True)
        write("dcp", "columns", packed(folder / "columns"))
        state = {"w": torch.ones(2, 3), "list": [1, torch.zeros(1)], "epoch": 3, "nothing": torch.empty(0)}
        checkpoint.save(state, checkpoint_id=folder / "small", no_dist=True)
        write("dcp", "small", packed(folder / "small"))


safetensors()
json_texts()
dcp()
