// What python_file_test.py runs: reads and writes files of torch.save.
//
//     python_file_program show FILE            prints the state, with strides
//     python_file_program skim FILE            reads the state, but no tensor
//     python_file_program copy FILE FILE       prints the state of one, writes the other
//     python_file_program write FILE           writes a state of ours, prints it without strides
//     python_file_program write_large FILE     writes more than 4 GiB, as a file with holes
#include <unistd.h>

#include <cstring>
#include <exception>
#include <iostream>
#include <string>

#include <ATen/ATen.h>

#include <fabric/checkpoint/format/python_file.h>
#include <tests/python/show.h>
#include <tests/support/states.h>

namespace {

using fabric::StateDict;
using fabric::StateList;
using fabric::StateValue;

StateValue read(const std::string& path) {
  return fabric::detail::read_python_file(std::make_shared<fabric::detail::InputFile>(path));
}

StateValue state_of_ours() {
  StateDict dtypes;
  for (const at::ScalarType dtype : support::dense_dtypes()) {
    const auto name = std::string(fabric::detail::find_torch_dtype(dtype)->name);
    dtypes.set(name, support::counted({2, 3}, dtype));
    dtypes.set(name + ", no dimension", support::counted({}, dtype));
    dtypes.set(name + ", empty", support::counted({0, 3}, dtype));
  }
  const at::Tensor whole = support::counted({4, 6});
  const at::Tensor tied = support::counted({5});
  StateDict ordered{{"b", 1}, {"a", 2}};
  ordered.ordered = true;
  return StateDict{
      {"dtypes", dtypes},
      {"views", StateDict{{"whole", whole},
                          {"row", whole[1]},
                          {"turned", whole.t()},
                          {"column", whole.select(1, 2)}}},
      {"alone", StateDict{{"row", support::counted({4, 6})[1]},
                          {"turned", support::counted({4, 6}).t()},
                          {"column", support::counted({4, 6}).select(1, 2)},
                          {"expanded", support::counted({1, 3}).expand({4, 3})},
                          {"windows", support::counted({6}).unfold(0, 3, 1)}}},
      {"tied", StateList({tied, tied})},
      {"gradient", support::counted({3}).requires_grad_()},
      {"gradients of 8 bits", support::counted({3}, at::kFloat8_e4m3fn).requires_grad_()},
      {"conjugated", at::complex(at::ones({2}), at::ones({2})).conj()},
      {"negated", at::imag(at::complex(at::ones({2}), at::ones({2})).conj())},
      {"values",
       StateList({nullptr, true, false, 0, 255, 256, 65536, -1, INT64_MAX, INT64_MIN, UINT64_MAX,
                  0.5, -1e300, std::complex<double>(1, -2), "", "größe", "torch\nSize\n"})},
      {"limits",
       StateList({std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
                  std::numeric_limits<double>::quiet_NaN(), -0.0})},
      {"big", fabric::BigInteger{std::string(254, '\x77') + "\x7f"}},
      {"bytes", StateList({fabric::Bytes{}, fabric::Bytes{std::string("a\0\x80\xff", 4)}})},
      {"tuple", StateList({1, StateList({}, StateList::Kind::tuple),
                           StateList({1, 2, 3, 4, 5}, StateList::Kind::tuple)},
                          StateList::Kind::tuple)},
      {"set", StateList({1, "a", StateList({1, 2}, StateList::Kind::tuple)}, StateList::Kind::set)},
      {"size", StateList({3, 4}, StateList::Kind::size)},
      {"dtype", StateList({at::kFloat, at::kFloat8_e5m2, at::kUInt16, at::kQInt8})},
      {"device", StateList({c10::Device(at::kCPU), c10::Device(at::kCUDA, 1)})},
      {"ordered", ordered},
      {"empty", StateList({StateList(), StateDict()})},
      {7,
       StateDict{
           {nullptr, 1}, {0.5, 2}, {true, 3}, {StateList({1, "x"}, StateList::Kind::tuple), 4}}},
  };
}

// The file system as it is, except that zeros leave holes.
class Holes final : public fabric::detail::FileSystem {
 public:
  int open(const std::string& path, int flags, int mode) override {
    return system_.open(path, flags, mode);
  }
  ssize_t pread(int file, void* to, std::size_t count, std::int64_t offset) override {
    return system_.pread(file, to, count, offset);
  }
  ssize_t pwrite(int file, const void* from, std::size_t count, std::int64_t offset) override {
    const auto* bytes = static_cast<const char*>(from);
    if (bytes[0] == 0 && std::memcmp(bytes, bytes + 1, count - 1) == 0) {
      return static_cast<ssize_t>(count);
    }
    return system_.pwrite(file, from, count, offset);
  }
  std::int64_t size(int file) override { return system_.size(file); }
  int allocate(int, std::int64_t) override { return 0; }
  void start_writeback(int, std::int64_t, std::int64_t) override {}
  int fsync(int) override { return 0; }
  int lock(int file) override { return system_.lock(file); }
  int close(int file) override { return system_.close(file); }
  int rename(const std::string& from, const std::string& to) override {
    return system_.rename(from, to);
  }
  int unlink(const std::string& path) override { return system_.unlink(path); }
  int make_directory(const std::string& path) override { return system_.make_directory(path); }
  int remove_directory(const std::string& path) override { return system_.remove_directory(path); }
  int list(const std::string& path, std::vector<std::string>& names) override {
    return system_.list(path, names);
  }

 private:
  fabric::detail::FileSystem& system_ = fabric::detail::FileSystem::current();
};

class Zeros final : public fabric::detail::TensorBytes {
 public:
  std::int64_t size() const override { return (std::int64_t{1} << 32) + 1000; }
  void read(std::int64_t, std::int64_t count, void* to) const override {
    std::memset(to, 0, static_cast<std::size_t>(count));
  }
};

void write_large(const std::string& path) {
  Holes holes;
  const fabric::detail::FileSystemScope scope(holes);
  const auto zeros = std::make_shared<Zeros>();
  fabric::detail::write_python_file(
      path,
      StateDict{{"before", support::counted({3})},
                {"large", fabric::StoredTensor(at::kByte, {zeros->size()}, {1}, 0, zeros)},
                {"behind", support::counted({4})},
                {"empty", support::counted({0})},
                {"last", support::counted({100})}},
      true);
}

int run(const std::string& command, const std::string& path, const std::string& other) {
  if (command == "show") {
    std::cout << support::show(read(path), true) << '\n';
  } else if (command == "skim") {
    std::cout << read(path).description() << '\n';
  } else if (command == "copy") {
    const StateValue state = read(path);
    std::cout << support::show(state, true) << '\n';
    fabric::detail::write_python_file(other, state, true);
  } else if (command == "write") {
    const StateValue state = state_of_ours();
    fabric::detail::write_python_file(path, state, true);
    std::cout << support::show(state, false) << '\n';
  } else if (command == "write_large") {
    write_large(path);
  } else {
    std::cerr << "usage: python_file_program show|skim|copy|write|write_large FILE [FILE]\n";
    return 2;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "", argc > 3 ? argv[3] : "");
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
