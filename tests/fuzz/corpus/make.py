"""Writes the inputs that fuzzing begins with: make.py PYTHON_FILE_PROGRAM

They are kept beside this script, so that tests need no Python; inputs that fuzzing has found lie
among them, with names that begin with `found-`. Run it with PyTorch 2.11, where a reader learns more.
"""

import collections
import io
import pathlib
import pickle
import subprocess
import sys
import tempfile
import zipfile

import torch

HERE = pathlib.Path(__file__).parent
PROGRAM = sys.argv[1]


def write(reader, name, data):
    folder = HERE / reader
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)


def saved(state, **options):
    file = io.BytesIO()
    torch.save(state, file, **options)
    return file.getvalue()


def record(archive, name):
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return opened.read(name)


def states():
    whole = torch.arange(6.0).reshape(2, 3)
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    yield "values", {
        "a": [None, True, False, 0, 300, 70000, -1, 2**40, 2**80, 0.5, 1 - 2j, "größe", b"a\xff", bytearray(b"x")],
        "b": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), "c": {1, 2}, "d": frozenset([3]),
        "e": collections.OrderedDict(x=1), "f": collections.Counter("aab"), "g": collections.defaultdict(list, {1: []}),
        "h": torch.Size([1, 2]), "i": torch.device("cuda", 1), "j": torch.float8_e4m3fn, "k": torch.strided,
        5: {(1, "x"): 2, None: 3},
    }  # fmt: skip
    yield "views", {"a": whole, "b": whole.t(), "c": whole[1], "d": whole[:, 1], "e": torch.ones(1).expand(3), "f": torch.empty(0)}
    yield "dtypes", {
        "a": torch.ones(2, dtype=torch.uint16), "b": torch.ones(2).to(torch.float8_e5m2), "c": torch.ones(2, dtype=torch.bool),
        "d": torch.ones(2, dtype=torch.cfloat).conj(), "e": torch.ones(2, dtype=torch.cfloat).conj().imag,
        "f": torch.nn.Parameter(torch.ones(1)),
    }  # fmt: skip
    yield "training", {"net": net.state_dict(), "optimizer": optimizer.state_dict()}


def make_pickles():
    for name, state in states():
        for protocol in (2, 4):
            write("pickle", f"{name}-{protocol}", record(saved(state, pickle_protocol=protocol), "archive/data.pkl"))
    from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorProperties

    planned = Metadata({"a": TensorProperties()}, {"a": ("a",)}, {MetadataIndex("a", [0, 1], 0): pathlib.PosixPath("/x")})
    for protocol in (2, 4):
        write("pickle", f"classes-{protocol}", pickle.dumps(planned, protocol))
    for name, state in [
        ("sparse", torch.eye(2).to_sparse()),
        ("quantised", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)),
        ("module", torch.nn.Linear(1, 1)),
    ]:
        write("pickle", name, record(saved(state), "archive/data.pkl"))
    cycle = []
    cycle.append((cycle,))
    write("pickle", "cycle", pickle.dumps(cycle, 2))
    shared = ["x" * 100]
    for _ in range(12):
        shared = [shared] * 8
    write("pickle", "bomb", pickle.dumps(shared, 2))
    write("pickle", "texts-5", pickle.dumps(["x" * 300, b"y" * 300, bytearray(b"z")], 5))


def make_files():
    for name, state in states():
        data = saved(state)
        write("python_file", name, data)
        if name != "training":
            write("zip", name, data)
    torch.serialization.set_crc32_options(False)  # mutations of pickles get further
    for name, state in states():
        write("python_file", f"{name}-unchecked", saved(state))
    torch.serialization.set_crc32_options(True)
    for name, state in states():
        if name != "values":  # a frozenset is for reading only
            with tempfile.TemporaryDirectory() as folder:
                path, copied = pathlib.Path(folder) / "a.pt", pathlib.Path(folder) / "b.pt"
                path.write_bytes(saved(state))
                subprocess.run([PROGRAM, "copy", path, copied], check=True)
                write("python_file", f"{name}-ours", copied.read_bytes())
    write("zip", "ours", (HERE / "python_file" / "views-ours").read_bytes())


def make_zips():
    for name, method in [("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)]:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("a/", b"")
            archive.writestr("a/x", b"x" * 50)
            archive.comment = b"a comment"
        write("zip", name, file.getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        with archive.open("large", "w", force_zip64=True) as entry:
            entry.write(b"x" * 50)
    write("zip", "zip64", file.getvalue())

    class Stream(io.BytesIO):  # that cannot be sought: sizes follow the data
        seekable = lambda self: False

        def tell(self):
            raise OSError("not seekable")

    file = Stream()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"x" * 50)
        archive.writestr("b", b"")
    write("zip", "streamed", file.getvalue())


make_pickles()
make_files()
make_zips()
