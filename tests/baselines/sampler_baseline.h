// Made by make_sampler_baseline.py with torch 2.11.0. Do not edit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

struct SamplerBaseline {
  std::size_t size, world_size, rank;
  bool shuffle;
  std::uint64_t seed;
  bool drop;
  std::size_t epoch;
  std::vector<std::size_t> indices;
};

// clang-format off
inline const std::vector<SamplerBaseline> kSamplerBaseline = {
    {8, 2, 0, false, 0u, false, 0, {0, 2, 4, 6}},
    {8, 2, 1, false, 0u, false, 0, {1, 3, 5, 7}},
    {10, 4, 0, false, 0u, false, 0, {0, 4, 8}},
    {10, 4, 1, false, 0u, false, 0, {1, 5, 9}},
    {10, 4, 2, false, 0u, false, 0, {2, 6, 0}},
    {10, 4, 3, false, 0u, false, 0, {3, 7, 1}},
    {10, 4, 0, false, 0u, true, 0, {0, 4}},
    {10, 4, 1, false, 0u, true, 0, {1, 5}},
    {10, 4, 2, false, 0u, true, 0, {2, 6}},
    {10, 4, 3, false, 0u, true, 0, {3, 7}},
    {3, 4, 0, false, 0u, false, 0, {0}},
    {3, 4, 1, false, 0u, false, 0, {1}},
    {3, 4, 2, false, 0u, false, 0, {2}},
    {3, 4, 3, false, 0u, false, 0, {0}},
    {2, 7, 0, false, 0u, false, 0, {0}},
    {2, 7, 1, false, 0u, false, 0, {1}},
    {2, 7, 2, false, 0u, false, 0, {0}},
    {2, 7, 3, false, 0u, false, 0, {1}},
    {2, 7, 4, false, 0u, false, 0, {0}},
    {2, 7, 5, false, 0u, false, 0, {1}},
    {2, 7, 6, false, 0u, false, 0, {0}},
    {13, 1, 0, true, 0u, false, 0, {3, 4, 0, 2, 11, 8, 12, 5, 10, 6, 9, 1, 7}},
    {13, 1, 0, true, 0u, false, 1, {6, 12, 7, 11, 3, 0, 5, 1, 2, 9, 8, 10, 4}},
    {13, 1, 0, true, 0u, false, 2, {5, 4, 7, 2, 12, 8, 1, 0, 3, 6, 10, 9, 11}},
    {11, 2, 0, true, 42u, false, 0, {6, 9, 1, 0, 3, 4}},
    {11, 2, 1, true, 42u, false, 0, {8, 2, 10, 7, 5, 6}},
    {11, 2, 0, true, 42u, false, 1, {3, 4, 8, 6, 1, 0}},
    {11, 2, 1, true, 42u, false, 1, {9, 2, 7, 10, 5, 3}},
    {11, 2, 0, true, 42u, true, 0, {6, 9, 1, 0, 3}},
    {11, 2, 1, true, 42u, true, 0, {8, 2, 10, 7, 5}},
    {11, 2, 0, true, 42u, true, 1, {3, 4, 8, 6, 1}},
    {11, 2, 1, true, 42u, true, 1, {9, 2, 7, 10, 5}},
    {10, 4, 0, true, 7u, false, 0, {5, 1, 8}},
    {10, 4, 1, true, 7u, false, 0, {0, 7, 2}},
    {10, 4, 2, true, 7u, false, 0, {3, 9, 5}},
    {10, 4, 3, true, 7u, false, 0, {4, 6, 0}},
    {10, 4, 0, true, 7u, false, 3, {7, 3, 2}},
    {10, 4, 1, true, 7u, false, 3, {4, 5, 0}},
    {10, 4, 2, true, 7u, false, 3, {6, 9, 7}},
    {10, 4, 3, true, 7u, false, 3, {1, 8, 4}},
    {10, 4, 0, true, 7u, true, 0, {5, 1}},
    {10, 4, 1, true, 7u, true, 0, {0, 7}},
    {10, 4, 2, true, 7u, true, 0, {3, 9}},
    {10, 4, 3, true, 7u, true, 0, {4, 6}},
    {10, 4, 0, true, 7u, true, 3, {7, 3}},
    {10, 4, 1, true, 7u, true, 3, {4, 5}},
    {10, 4, 2, true, 7u, true, 3, {6, 9}},
    {10, 4, 3, true, 7u, true, 3, {1, 8}},
    {3, 5, 0, true, 1u, false, 0, {1}},
    {3, 5, 1, true, 1u, false, 0, {2}},
    {3, 5, 2, true, 1u, false, 0, {0}},
    {3, 5, 3, true, 1u, false, 0, {1}},
    {3, 5, 4, true, 1u, false, 0, {2}},
    {3, 5, 0, true, 1u, false, 1, {0}},
    {3, 5, 1, true, 1u, false, 1, {2}},
    {3, 5, 2, true, 1u, false, 1, {1}},
    {3, 5, 3, true, 1u, false, 1, {0}},
    {3, 5, 4, true, 1u, false, 1, {2}},
    {2, 7, 0, true, 1u, false, 0, {1}},
    {2, 7, 1, true, 1u, false, 0, {0}},
    {2, 7, 2, true, 1u, false, 0, {1}},
    {2, 7, 3, true, 1u, false, 0, {0}},
    {2, 7, 4, true, 1u, false, 0, {1}},
    {2, 7, 5, true, 1u, false, 0, {0}},
    {2, 7, 6, true, 1u, false, 0, {1}},
    {40, 3, 0, true, 4294967295u, false, 0, {11, 33, 2, 31, 30, 23, 6, 18, 8, 37, 35, 1, 34, 4}},
    {40, 3, 1, true, 4294967295u, false, 0, {7, 16, 25, 17, 39, 0, 27, 12, 24, 32, 29, 28, 22, 11}},
    {40, 3, 2, true, 4294967295u, false, 0, {10, 20, 3, 19, 13, 36, 9, 5, 15, 26, 38, 21, 14, 7}},
    {40, 3, 0, true, 4294967295u, false, 5, {10, 17, 31, 12, 6, 27, 22, 9, 34, 20, 16, 24, 14, 23}},
    {40, 3, 1, true, 4294967295u, false, 5, {4, 25, 3, 38, 8, 39, 33, 30, 29, 2, 11, 36, 28, 10}},
    {40, 3, 2, true, 4294967295u, false, 5, {21, 26, 5, 19, 32, 13, 0, 7, 37, 1, 15, 18, 35, 4}},
};
// clang-format on
