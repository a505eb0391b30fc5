#include <tests/fuzz/fuzz.h>

#include <malloc.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>

#include <ATen/ATen.h>

#include <accelerators/error.h>

namespace {

// A value takes about a hundred bytes, a pickle may say it with one, and what a pickle shares may
// be made several times; then there is what the program has anyway.
constexpr std::int64_t kBytesPerByte = 16 << 10;
constexpr std::int64_t kBytesAnyway = std::int64_t{256} << 20;

constexpr std::int64_t kMostElements = 1 << 20;

std::atomic<std::int64_t> live{0};
std::atomic<std::int64_t> peak{0};

void* counted(void* memory) {
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  const std::int64_t now = live += static_cast<std::int64_t>(malloc_usable_size(memory));
  std::int64_t before = peak;
  while (before < now && !peak.compare_exchange_weak(before, now)) {
  }
  return memory;
}

void free_counted(void* memory) {
  if (memory != nullptr) {
    live -= static_cast<std::int64_t>(malloc_usable_size(memory));
    std::free(memory);
  }
}

[[noreturn]] void give_up(const char* what, std::string_view input) {
  std::fprintf(stderr, "fuzz: %s (input of %zu bytes)\n", what, input.size());
  std::abort();
}

}  // namespace

// All that C++ allocates in this program.
void* operator new(std::size_t size) {
  return counted(std::malloc(size));
}
void* operator new[](std::size_t size) {
  return counted(std::malloc(size));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  void* memory = std::malloc(size);
  return memory == nullptr ? nullptr : counted(memory);
}
void* operator new[](std::size_t size, const std::nothrow_t& how) noexcept {
  return operator new(size, how);
}
void operator delete(void* memory) noexcept {
  free_counted(memory);
}
void operator delete[](void* memory) noexcept {
  free_counted(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  free_counted(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  free_counted(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  free_counted(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  free_counted(memory);
}

namespace fuzz {

std::string check_input(std::string_view input) {
  const std::int64_t before = live;
  peak = before;
  std::string refused;
  try {
    read_input(input);
  } catch (const fabric::CheckpointError& error) {
    refused = error.what();
  } catch (const std::exception& error) {
    give_up(error.what(), input);
  } catch (...) {
    give_up("something that is no std::exception was thrown", input);
  }
  if (peak - before > kBytesAnyway + kBytesPerByte * static_cast<std::int64_t>(input.size())) {
    give_up("far more memory was taken than the input has bytes", input);
  }
  return refused;
}

void touch(const fabric::StateValue& state) {
  static volatile std::size_t seen = 0;
  seen = seen + state.description().size();
  if (state.is_dict()) {
    for (const auto& [key, value] : state.dict()) {
      touch(key);
      touch(value);
    }
  } else if (state.is_list()) {
    for (const fabric::StateValue& value : state.list()) {
      touch(value);
    }
  } else if (state.is_tensor() && state.stored().numel() <= kMostElements) {
    const at::Tensor tensor = state.tensor();
    seen = seen + static_cast<std::size_t>(tensor.numel());
    if (tensor.numel() > 0) {
      seen = seen + *static_cast<const unsigned char*>(tensor.const_data_ptr());
    }
  }
}

}  // namespace fuzz
