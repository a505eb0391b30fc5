"""Prints sampler_baseline.h: what Python's DistributedSampler deals, for the tests of ours.

    python tests/baselines/make_sampler_baseline.py > tests/baselines/sampler_baseline.h
"""
import torch
from torch.utils.data import DistributedSampler

# (examples, world size, shuffle, seed, drop_last, epochs)
CASES = [
    (8, 2, False, 0, False, [0]),
    (10, 4, False, 0, False, [0]),
    (10, 4, False, 0, True, [0]),
    (3, 4, False, 0, False, [0]),
    (2, 7, False, 0, False, [0]),
    (13, 1, True, 0, False, [0, 1, 2]),
    (11, 2, True, 42, False, [0, 1]),
    (11, 2, True, 42, True, [0, 1]),
    (10, 4, True, 7, False, [0, 3]),
    (10, 4, True, 7, True, [0, 3]),
    (3, 5, True, 1, False, [0, 1]),
    (2, 7, True, 1, False, [0]),
    (40, 3, True, 4294967295, False, [0, 5]),
]


def main():
    print("// Made by make_sampler_baseline.py with torch " + torch.__version__.split("+")[0] +
          ". Do not edit.")
    print("#pragma once\n\n#include <cstddef>\n#include <cstdint>\n#include <vector>\n")
    print("struct SamplerBaseline {")
    print("  std::size_t size, world_size, rank;")
    print("  bool shuffle;\n  std::uint64_t seed;\n  bool drop;\n  std::size_t epoch;")
    print("  std::vector<std::size_t> indices;\n};\n")
    print("// clang-format off")
    print("inline const std::vector<SamplerBaseline> kSamplerBaseline = {")
    for size, world, shuffle, seed, drop, epochs in CASES:
        for epoch in epochs:
            for rank in range(world):
                sampler = DistributedSampler(range(size), world, rank, shuffle, seed, drop)
                sampler.set_epoch(epoch)
                fields = [size, world, rank, str(shuffle).lower(), str(seed) + "u",
                          str(drop).lower(), epoch]
                indices = ", ".join(map(str, sampler))
                print("    {" + ", ".join(map(str, fields)) + ", {" + indices + "}},")
    print("};\n// clang-format on")


if __name__ == "__main__":
    main()
