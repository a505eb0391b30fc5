"""torch.save and torch.load of 2 GiB of parameters, on demand: the peer of bench_checkpoint.

Reads lines from standard input and answers with milliseconds a line:
  save PATH      torch.save as it is, then fsync
  fast PATH      the same without checksums
  load PATH      torch.load and load_state_dict
  mmap PATH      the same with mmap=True
"""

import os
import sys
import time

import torch

TENSORS = 128
ELEMENTS = 4 << 20


class Blocks(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for i in range(TENSORS):
            self.register_parameter(f"weight{i}", torch.nn.Parameter(torch.randn(2048, ELEMENTS // 2048)))


def save(model, path):
    torch.save(model.state_dict(), path)
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


def main():
    torch.manual_seed(1)
    model = Blocks()
    print("ready", flush=True)
    for line in sys.stdin:
        command, path = line.split()
        torch.serialization.set_crc32_options(command != "fast")
        begin = time.perf_counter()
        if command in ("save", "fast"):
            save(model, path)
        else:
            model.load_state_dict(torch.load(path, mmap=command == "mmap"))
        print((time.perf_counter() - begin) * 1e3, flush=True)


main()
