// Fuzzing with libFuzzer: fabric_fuzzer_<reader> corpus/<reader>.
#include <cstddef>
#include <cstdint>

#include <tests/fuzz/fuzz.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::check_input({reinterpret_cast<const char*>(data), size});
  return 0;
}
