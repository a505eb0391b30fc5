"""A state as one text, which show.h makes of ours as well: so the two can be compared."""

import collections
import struct

import torch


def show_tensor(tensor, strides):
    values = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    data = bytes(values.view(torch.uint8).tolist()) if values.numel() else b""
    numbers = lambda values: "(" + ", ".join(map(str, values)) + ")"
    return (
        f"tensor {tensor.dtype} {numbers(tensor.shape)}"
        + (f" {numbers(tensor.stride())}" if strides else "")
        + (" grad " if tensor.requires_grad else " ")
        + data.hex()
    )


def show(value, strides=True):
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return str(value)
        return "int " + value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True).hex()
    if isinstance(value, float):
        return "float " + struct.pack("<d", value).hex()
    if isinstance(value, complex):
        return f"complex {struct.pack('<d', value.real).hex()} {struct.pack('<d', value.imag).hex()}"
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, (bytes, bytearray)):
        return "bytes " + value.hex()
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, torch.device):
        return f"device {value}"
    if isinstance(value, torch.Tensor):
        return show_tensor(value, strides)
    if isinstance(value, torch.Size):
        return "Size[" + ", ".join(map(str, value)) + "]"
    if isinstance(value, (list, tuple, set, frozenset)):
        texts = [show(element, strides) for element in value]
        if isinstance(value, (set, frozenset)):
            texts.sort(key=str.encode)
        return f"{type(value).__name__}[{', '.join(texts)}]"
    if isinstance(value, dict):
        name = "OrderedDict" if isinstance(value, collections.OrderedDict) else "dict"
        texts = [f"{show(k, strides)}: {show(v, strides)}" for k, v in value.items()]
        return f"{name}{{{', '.join(texts)}}}"
    raise TypeError(f"a state has no {type(value)}")
