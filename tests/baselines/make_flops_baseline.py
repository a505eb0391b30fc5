"""Prints flops_baseline.h: what torch.utils.flop_counter counts, for the tests of ours.

    python tests/baselines/make_flops_baseline.py > tests/baselines/flops_baseline.h
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils import flop_counter
from torch.utils.flop_counter import FlopCounterMode

# PyTorch's counter leaves the CPU's fused attention out; the formulas are those of the others.
EXTRA = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
        lambda q, k, v, *rest, **options: flop_counter.sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
        lambda g, q, k, v, *rest, **options: flop_counter.sdpa_backward_flop_count(g, q, k, v),
}


def mlp():
    net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.ReLU(),
                        nn.Linear(16, 3, bias=False))
    return net(torch.randn(5, 7, 6))


def convolutions():
    net = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.ReLU(),
                        nn.Conv2d(8, 8, 3, groups=4, dilation=2, padding=2), nn.ReLU(),
                        nn.ConvTranspose2d(8, 6, 3, stride=2, output_padding=1))
    return net(torch.randn(3, 4, 11, 9, requires_grad=True))


def convolution_1d_3d():
    return (nn.Conv1d(3, 5, 4, padding=1)(torch.randn(2, 3, 10)).sum() +
            nn.Conv3d(2, 3, (1, 3, 3), padding="same")(torch.randn(2, 2, 4, 5, 6)).sum())


def attention(q, k, v):
    weights = torch.softmax(q @ k.transpose(-2, -1) / 4, -1)
    return weights @ v


def bmm_attention():
    q = torch.randn(2, 4, 8, 16, requires_grad=True)
    k, v = (torch.randn(2, 4, 12, 16, requires_grad=True) for _ in range(2))
    return attention(q, k, v)


def fused_attention():
    q = torch.randn(2, 4, 8, 16, requires_grad=True)
    k, v = (torch.randn(2, 4, 12, 16, requires_grad=True) for _ in range(2))
    return F.scaled_dot_product_attention(q, k, v)


def math_attention():
    q = torch.randn(2, 4, 8, 16, requires_grad=True)
    mask = torch.zeros(8, 8, requires_grad=True)
    return F.scaled_dot_product_attention(q, q, q, mask)


def einsum_and_baddbmm():
    a = torch.randn(3, 4, 5, requires_grad=True)
    b = torch.randn(3, 5, 6, requires_grad=True)
    c = torch.randn(4, 6, requires_grad=True)
    return (torch.einsum("bij,bjk->bik", a, b).sum() + torch.baddbmm(c, a, b).sum() +
            torch.addmm(c, a[0], b[0]).sum())


def embedding_and_norm():
    net = nn.Sequential(nn.Embedding(20, 8), nn.LayerNorm(8), nn.Linear(8, 20))
    return net(torch.randint(0, 20, (4, 9)))


def main():
    print("// Made by make_flops_baseline.py with torch " + torch.__version__.split("+")[0] +
          ". Do not edit.")
    print("#pragma once\n\n#include <cstdint>\n#include <string>\n#include <vector>\n")
    print("struct FlopsBaseline {\n  std::string name;\n  std::int64_t forward, all;\n};\n")
    print("// clang-format off")
    print("inline const std::vector<FlopsBaseline> kFlopsBaseline = {")
    for case in (mlp, convolutions, convolution_1d_3d, bmm_attention, fused_attention,
                 math_attention, einsum_and_baddbmm, embedding_and_norm):
        with FlopCounterMode(display=False, custom_mapping=EXTRA) as counter:
            loss = case().sum()
            forward = counter.get_total_flops()
            loss.backward()
        print('    {"%s", %d, %d},' % (case.__name__, forward, counter.get_total_flops()))
    print("};\n// clang-format on")


if __name__ == "__main__":
    main()
