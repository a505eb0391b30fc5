"""Files of torch.save between Python and us, in both directions.

    python_file_test.py PROGRAM FOLDER

PROGRAM is built from python_file_program.cpp. Ends with 77 where this Python has no PyTorch.
"""

import collections
import os
import pathlib
import subprocess
import sys
import time
import zipfile

try:
    import torch
except ImportError as error:
    print(f"SKIPPED: {sys.executable} has no PyTorch ({error})")
    sys.exit(77)

from show import show

PROGRAM, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int8,
    torch.int16, torch.int32, torch.int64, torch.bool, torch.complex64, torch.complex128,
    torch.complex32, torch.uint16, torch.uint32, torch.uint64, torch.float8_e5m2,
    torch.float8_e4m3fn, torch.float8_e5m2fnuz, torch.float8_e4m3fnuz, torch.float8_e8m0fnu,
    torch.float4_e2m1fn_x2,
]  # fmt: skip


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)


def output(*arguments):
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.rstrip("\n")


def same(ours, theirs):
    if ours != theirs:
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
        raise AssertionError(f"ours:   {ours[max(0, at - 80):at + 80]}\ntheirs: {theirs[max(0, at - 80):at + 80]}")


def check(state, **options):
    """Saves a state with Python, reads it with us, writes it with us, reads it with Python."""
    path, copied = FOLDER / "theirs.pt", FOLDER / "ours.pt"
    torch.save(state, path, **options)
    same(output("copy", path, copied), show(state))
    for mmap in (False, True):
        same(show(state, strides=False), show(torch.load(copied, weights_only=True, mmap=mmap), strides=False))


def counted(sizes, dtype=torch.float32):
    count = torch.empty(sizes, dtype=dtype).nbytes
    values = (torch.arange(count) * 7 + 1) % (2 if dtype == torch.bool else 256)
    return values.to(torch.uint8).view(dtype).reshape(sizes)


def test_every_dtype():
    check({str(dtype): counted([2, 4], dtype) for dtype in DTYPES})
    check({str(dtype): dtype for dtype in DTYPES + [torch.qint8, torch.uint4, torch.bits16]})


def test_shapes_and_strides():
    whole = counted([4, 6])
    check({
        "whole": whole, "turned": whole.t(), "row": whole[1], "sliced": whole[1:, ::2],
        "expanded": counted([1, 3]).expand(5, 3), "scalar": torch.tensor(3.5),
        "empty": torch.empty(0), "empty rows": torch.empty(0, 3), "windows": counted([6]).unfold(0, 3, 1),
        "channels last": counted([2, 3, 4, 5]).to(memory_format=torch.channels_last),
        "conjugated": torch.tensor([1 + 2j, 3 - 4j]).conj(),
        "negated": torch.tensor([1 + 2j, 3 - 4j]).conj().imag,
        "doubly": torch.tensor([1 + 2j, 3 - 4j], dtype=torch.complex128)[1:].conj(),
    })  # fmt: skip


def test_sharing():
    whole = counted([10])
    state = {"a": whole, "b": whole[2:5], "c": whole}
    path, copied = FOLDER / "theirs.pt", FOLDER / "ours.pt"
    torch.save(state, path)
    output("copy", path, copied)
    loaded = torch.load(copied)
    assert loaded["a"].data_ptr() == loaded["c"].data_ptr()
    assert loaded["b"].data_ptr() == loaded["a"].data_ptr() + 8
    loaded["a"][2] = 100
    assert loaded["b"][0] == 100


def test_values():
    check({
        "numbers": [0, 1, -1, 255, 256, 65535, 65536, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, -(2**70), 3**400],
        "reals": [0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan"), 5e-324],
        "complex": 1 - 2j, "none": None, "bools": [True, False],
        "texts": ["", "größe", "層", "\U0001f600", "\x00", "a\nb", "x" * 300],
        "bytes": [b"", b"a\x00\x80\xff", bytearray(), bytearray(b"\xff\x00")],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "set": {1, "a", (1, 2)}, "size": torch.Size([1, 2]),
        "devices": [torch.device("cpu"), torch.device("cuda"), torch.device("cuda", 1), torch.device("meta")],
        "ordered": collections.OrderedDict(b=1, a=2), "many": list(range(2500)),
        7: {None: 1, True: 2, 0.5: 3, (1, "x"): 4, 2**80: 5},
        "keys": {str(i): i for i in range(2500)},
    })  # fmt: skip
    # What becomes something else.
    for state, becomes in [
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.defaultdict(list, {1: [2]}), {1: [2]}),
        (torch.strided, "torch.strided"),
    ]:
        torch.save({"x": state}, FOLDER / "theirs.pt")
        same(output("show", FOLDER / "theirs.pt"), show({"x": becomes}))
    torch.save({"x": frozenset([1, 2])}, FOLDER / "theirs.pt")
    same(output("show", FOLDER / "theirs.pt"), show({"x": frozenset([1, 2])}))
    result = run("copy", FOLDER / "theirs.pt", FOLDER / "ours.pt")
    assert result.returncode == 1 and "frozenset" in result.stderr, result.stderr


def trained(make):
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.LSTM(4, 2))
    optimizer = make(net.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.rand(5, 3))[0].sum().backward()
        optimizer.step()
        schedule.step()
    return net, optimizer, schedule


def test_training_states():
    for make in [
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
        lambda p: torch.optim.Adam(p, 1e-3, amsgrad=True),
        lambda p: torch.optim.AdamW(p, torch.tensor(1e-3)),
        lambda p: torch.optim.Adagrad(p, 1e-2),
    ]:
        net, optimizer, schedule = trained(make)
        state = {
            "net": net.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
            "rng": torch.get_rng_state(), "parameters": list(net.parameters()), "epoch": 3,
        }  # fmt: skip
        check(state)
    for protocol in (3, 4, 5):
        check(state, pickle_protocol=protocol)
    # And into a net and an optimizer again.
    loaded = torch.load(FOLDER / "ours.pt")
    other, other_optimizer, _ = trained(lambda p: torch.optim.Adagrad(p, 1e-2))
    other.load_state_dict(loaded["net"])
    other_optimizer.load_state_dict(loaded["optimizer"])
    same(show(other_optimizer.state_dict()), show(optimizer.state_dict()))


def test_parameters():
    parameter = torch.nn.Parameter(counted([3]))
    frozen = torch.nn.Parameter(counted([3]), requires_grad=False)
    marked = counted([3])
    marked.name_of_it = "kept in Python, dropped by us"
    attributed = torch.nn.Parameter(counted([2]))
    attributed.tag = 1
    check({
        "parameter": parameter, "frozen": frozen, "marked": marked, "attributed": attributed,
        "buffer": torch.nn.Buffer(counted([2])), "leaf": counted([2]).requires_grad_(),
    })  # fmt: skip


def test_files_without_checksums():
    torch.serialization.set_crc32_options(False)
    try:
        check({"a": counted([5]), "b": [1, 2]})
    finally:
        torch.serialization.set_crc32_options(True)


def test_files_without_data():
    # Sizes and places are written, values (and their checksums) are left for later.
    with torch.serialization.skip_data():
        torch.save({"a": torch.empty(3), "b": torch.empty(2**32 + 8, dtype=torch.uint8), "c": torch.empty(2)}, FOLDER / "skipped.pt")
    with zipfile.ZipFile(FOLDER / "skipped.pt") as archive:
        records = {i.filename: (i.file_size, i.header_offset) for i in archive.infolist()}
    assert records["skipped/data/1"][0] == 2**32 + 8 and records["skipped/data/2"][1] > 2**32
    output("skim", FOLDER / "skipped.pt")
    os.remove(FOLDER / "skipped.pt")
    with torch.serialization.skip_data():
        torch.save({"a": torch.ones(3)}, FOLDER / "skipped.pt")
    same(output("show", FOLDER / "skipped.pt"), show({"a": torch.zeros(3)}))


def test_what_we_write():
    path = FOLDER / "written.pt"
    text = output("write", path)
    for mmap in (False, True):
        loaded = torch.load(path, weights_only=True, mmap=mmap)
        same(text, show(loaded, strides=False))
    alone = loaded["alone"]
    for name in ("row", "turned", "column"):
        assert alone[name].untyped_storage().nbytes() == alone[name].nbytes, name
    assert alone["turned"].stride() == (1, 6)
    assert alone["expanded"].stride() == (0, 1) and alone["expanded"].untyped_storage().nbytes() == 12
    assert alone["windows"].stride() == (1, 1)
    views = loaded["views"]
    assert views["row"].data_ptr() == views["whole"].data_ptr() + 24
    assert loaded["tied"][0].data_ptr() == loaded["tied"][1].data_ptr()
    assert loaded["gradient"].requires_grad and not alone["row"].requires_grad
    assert loaded["dtypes"]["float32"].untyped_storage().data_ptr() % 64 == 0 or not mmap

    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "written/data.pkl"
        for record in archive.infolist():
            assert record.compress_type == zipfile.ZIP_STORED
    check_offsets(path)
    # A name that is no ASCII, and one with several dots.
    for name, folder in [("größe.pt", "archive"), ("a.b.pt", "a.b"), ("plain", "plain")]:
        output("write", FOLDER / name)
        same(text, show(torch.load(FOLDER / name), strides=False))
        with zipfile.ZipFile(FOLDER / name) as archive:
            assert archive.namelist()[0] == f"{folder}/data.pkl", archive.namelist()[0]


def check_offsets(path):
    """PyTorch computes where storages lie from the layout of its own writer."""
    from torch.utils.serialization import config

    os.environ["TORCH_SERIALIZATION_DEBUG"] = "1"
    config.load.calculate_storage_offsets = True
    try:
        return torch.load(path, mmap=True)
    finally:
        del os.environ["TORCH_SERIALIZATION_DEBUG"]
        config.load.calculate_storage_offsets = False


def test_more_than_4_gib():
    path = FOLDER / "large.pt"
    output("write_large", path)
    loaded = check_offsets(path)
    assert loaded["large"].numel() == 2**32 + 1000
    for name, sizes in [("before", [3]), ("behind", [4]), ("empty", [0]), ("last", [100])]:
        same(show(loaded[name]), show(counted(sizes)))
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("large/data/1").file_size == 2**32 + 1000
        assert archive.read("large/data/4") == bytes(counted([100]).view(torch.uint8).tolist())
    del loaded
    os.remove(path)


class Mine:
    pass


class Subclass(torch.Tensor):
    pass


def test_what_we_refuse():
    quantised = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    for state, part in [
        (quantised, "a quantised tensor"),
        (torch.eye(2).to_sparse(), "a sparse tensor"),
        (torch.eye(2).to_sparse_csr(), "a sparse tensor"),
        (torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), "a nested tensor"),
        (torch.empty(2, device="meta"), "meta"),
        (torch.ones(2).as_subclass(Subclass), "'__main__.Subclass'"),
        (torch.ones(2).untyped_storage(), "a storage as a value"),
        (Mine(), "'__main__.Mine'"),
        (torch.nn.Linear(1, 1), "'torch.nn.modules.linear.Linear'"),
        (print, "'builtins.print'"),
        (collections.deque(), "'collections.deque'"),
    ]:
        torch.save({"x": state}, FOLDER / "refused.pt")
        result = run("show", FOLDER / "refused.pt")
        assert result.returncode == 1 and part in result.stderr, (part, result.stderr)
    cycle = []
    cycle.append(cycle)
    torch.save(cycle, FOLDER / "refused.pt")
    result = run("show", FOLDER / "refused.pt")
    assert result.returncode == 1 and "contains itself" in result.stderr, result.stderr
    torch.save({"x": torch.ones(2)}, FOLDER / "refused.pt", _use_new_zipfile_serialization=False)
    result = run("show", FOLDER / "refused.pt")
    assert result.returncode == 1 and "before PyTorch 1.6" in result.stderr, result.stderr
    torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.ones(1, 1)), FOLDER / "refused.pt")
    result = run("show", FOLDER / "refused.pt")
    assert result.returncode == 1 and "TorchScript" in result.stderr, result.stderr
    with zipfile.ZipFile(FOLDER / "refused.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/version", b"3\n")
    result = run("show", FOLDER / "refused.pt")
    assert result.returncode == 1 and "compressed" in result.stderr, result.stderr


def test_zips_of_other_programs():
    """A file that was unpacked and packed again, by Python's zipfile, with folders in it."""
    state = {"a": counted([5]), "b": counted([2], torch.float16), "c": 7}
    torch.save(state, FOLDER / "theirs.pt")
    with zipfile.ZipFile(FOLDER / "theirs.pt") as old, zipfile.ZipFile(FOLDER / "again.pt", "w") as new:
        new.writestr("theirs/", b"")
        for name in old.namelist():
            new.writestr(name, old.read(name))
    same(output("show", FOLDER / "again.pt"), show(state))


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        begin = time.monotonic()
        test()
        print(f"{name}: passed in {time.monotonic() - begin:.1f} s", flush=True)
    print(f"{len(tests)} tests passed with PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
