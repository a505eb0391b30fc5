// Made by make_flops_baseline.py with torch 2.11.0. Do not edit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct FlopsBaseline {
  std::string name;
  std::int64_t forward, all;
};

// clang-format off
inline const std::vector<FlopsBaseline> kFlopsBaseline = {
    {"mlp", 28000, 77280},
    {"convolutions", 155520, 544320},
    {"convolution_1d_3d", 28080, 56160},
    {"bmm_attention", 49152, 147456},
    {"fused_attention", 49152, 172032},
    {"math_attention", 32768, 98304},
    {"einsum_and_baddbmm", 1680, 5040},
    {"embedding_and_norm", 11520, 34560},
};
// clang-format on
