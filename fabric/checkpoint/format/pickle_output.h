// The parts that pickles are written of: instructions, numbers, texts, names of globals.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include <fabric/checkpoint/format/pickle_opcodes.h>

namespace fabric::detail {

/// A pickle under way, protocol 2. Texts and globals that come again are written once.
class PickleOutput {
 public:
  PickleOutput() {
    put(PickleOp::proto);
    bytes_.push_back(2);
  }

  void put(PickleOp op) { bytes_.push_back(static_cast<char>(op)); }
  void put_integer(std::int64_t value);
  /// Two's complement, at most 255 bytes.
  void put_long(std::string_view bytes);
  void put_real(double value);
  /// @param text has to last until the pickle is complete
  void put_text(std::string_view text);
  /// A text that does not last, and is not expected again. At most 4 GiB.
  void put_new_text(std::string_view text);
  /// @param name has to last; differs from those of other modules
  void put_global(std::string_view module, std::string_view name);
  void put_tuple(std::span<const std::int64_t> values);
  /// Makes a tuple of the last `count` values, before which there is a mark if they are more
  /// than 3.
  void end_tuple(std::size_t count);

  std::string finish() {
    put(PickleOp::stop);
    return std::move(bytes_);
  }

 private:
  using Memo = std::unordered_map<std::string_view, std::uint32_t>;
  bool recall(const Memo& memo, std::string_view text);
  void remember(Memo& memo, std::string_view text);

  std::string bytes_;
  Memo texts_;
  Memo globals_;
};

}  // namespace fabric::detail
