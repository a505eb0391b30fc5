"""The peer of bench_gpt2: the same model, loss, optimizer and batches in PyTorch.

    python gpt2.py [size=124M|350M|tiny] [batch=16] [context=1024] [steps=10] [rounds=5]
                   [way=eager|compiled]

Prints parameters, first_loss, last_loss and WAY_tokens_per_second.
"""
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

BATCHES, WARM_UPS = 4, 5
SIZES = {  # vocabulary, width, heads, layers
    "124M": (50304, 768, 12, 12),
    "350M": (50304, 1024, 16, 24),
    "tiny": (256, 32, 2, 2),
}


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        def split(t):
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        mixed = F.scaled_dot_product_attention(split(q), split(k), split(v), is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class LanguageModel(nn.Module):
    def __init__(self, size, context):
        super().__init__()
        vocabulary, width, heads, layers = SIZES[size]
        self.letter = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        for embedding in (self.letter, self.position):
            nn.init.normal_(embedding.weight, 0, 0.05)

    def forward(self, tokens, following):
        x = self.letter(tokens) + self.position(torch.arange(tokens.size(1), device=tokens.device))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.letter.weight)
        return F.cross_entropy(logits.flatten(0, 1), following.flatten())


def train(way, size, batch, context, steps, rounds):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    net = LanguageModel(size, context).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4, fused=True)
    tokens = torch.randint(SIZES[size][0], (BATCHES, batch, context + 1)).to(device)
    inputs = [part[:, :-1].contiguous() for part in tokens]
    targets = [part[:, 1:].contiguous() for part in tokens]
    model = torch.compile(net) if way == "compiled" else net
    done = 0

    def run(count):
        nonlocal done
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16):
                loss = model(inputs[done % BATCHES], targets[done % BATCHES])
            loss.backward()
            optimizer.step()
            done += 1
        return loss.item()  # waits for the device

    first = run(1)
    run(WARM_UPS)
    rates = []
    for _ in range(rounds):
        begin = time.perf_counter()
        last = run(steps)
        rates.append(steps * batch * context / (time.perf_counter() - begin))
    print(f"parameters {sum(p.numel() for p in net.parameters())}")
    print(f"first_loss {first:.5f}\nlast_loss {last:.5f}")
    print(f"{way}_tokens_per_second {statistics.median(rates):.6g}", flush=True)


def main():
    options = dict(size="124M", batch=16, context=1024, steps=10, rounds=5, way="eager")
    for argument in sys.argv[1:]:
        name, value = argument.split("=", 1)
        options[name] = type(options[name])(value)
    torch.set_float32_matmul_precision("high")
    train(**options)


if __name__ == "__main__":
    main()
