// How many devices, or which, a process per device is wanted for: the `devices` option.
#pragma once

#include <array>
#include <concepts>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <c10/core/Device.h>

#include <accelerators/text.h>

namespace fabric {

class Accelerator;

/// Chosen devices by id: `device_ids{2}` is the third device, where `2` alone is a count.
struct device_ids {
  device_ids(std::initializer_list<int> ids) : values(ids) {}
  explicit device_ids(std::vector<int> ids) : values(std::move(ids)) {}
  std::vector<int> values;
};

/// The devices of each node, one process for each.
///
/// | written | means |
/// |---|---|
/// | `"auto"` (default) | every GPU; one process on the CPU; under mpirun what it started |
/// | `4`, `"4"` | four devices: the first four GPUs, or four CPU processes |
/// | `-1`, `"-1"` | every device there is (GPUs only) |
/// | `"0, 1"`, `device_ids{0, 1}` | GPUs 0 and 1 |
/// | `"2,"`, `device_ids{2}` | GPU 2 alone: the comma makes a list of it, as in Python |
///
/// A literal is checked at compile time: `.devices = "tow"` does not compile. Everything else is
/// checked when it is converted and throws MisconfigurationError: 0, an empty list, an id given
/// twice, a negative number other than -1, other text. `bool` does not convert. Whether the devices
/// exist is found by resolve().
class Devices {
 public:
  enum Kind { automatic, all, count, list };
  /// More ids than any node has devices.
  static constexpr int kMaxIds = 64;

  constexpr Devices() = default;

  template <std::size_t N>
  consteval Devices(const char (&text)[N]) {
    switch (parse(std::string_view(text, N - 1))) {
      case ok:
        break;
      case zero:
        throw "devices: 0 devices cannot run anything; write \"auto\", a count, -1 or ids \"0, 1\"";
      case negative:
        throw "devices: the only negative count is -1, for all devices";
      case negative_id:
        throw "devices: ids begin at 0";
      case duplicate:
        throw "devices: an id is given twice";
      case empty:
        throw "devices: no device is given; write \"auto\", a count, -1 or ids \"0, 1\"";
      case too_many:
        throw "devices: more than 64 ids are given";
      case garbage:
        throw "devices: not a count or a list of ids; write \"auto\", \"2\", \"-1\" or \"0, 1\"";
    }
  }

  template <class Text>
    requires detail::RuntimeText<Text>
  Devices(const Text& text) : Devices(from_text(text)) {}

  template <class Count>
    requires(std::integral<Count> && !std::same_as<Count, bool> && !std::same_as<Count, char>)
  Devices(Count count) : Devices(from_count(static_cast<long long>(count))) {}

  template <class Ids>
    requires std::same_as<Ids, device_ids>
  Devices(const Ids& ids) : Devices(from_ids(ids.values)) {}

  /// @param source where the text comes from ("FABRIC_DEVICES", "--devices"), for error texts
  static Devices from_text(std::string_view text, std::string_view source = {});
  /// A text that from_text() reads as the same value.
  std::string to_text() const;
  /// What it may be, for help and errors.
  static std::string expected() {
    return "auto, a count such as 2, -1 for all devices, or ids such as '0, 1'";
  }

  constexpr Kind kind() const { return kind_; }
  constexpr bool is_auto() const { return kind_ == automatic; }
  /// How many are asked for; nothing for "auto" and -1, which depend on the machine.
  constexpr std::optional<int> requested() const {
    return kind_ == count || kind_ == list ? std::optional<int>(size_) : std::nullopt;
  }
  /// The ids asked for; empty unless kind() is `list`.
  constexpr std::span<const int> ids() const {
    return {ids_.data(), kind_ == list ? static_cast<std::size_t>(size_) : 0};
  }
  friend constexpr bool operator==(const Devices&, const Devices&) = default;

 private:
  enum Problem { ok, zero, negative, negative_id, duplicate, empty, too_many, garbage };

  static Devices from_count(long long count);
  static Devices from_ids(const std::vector<int>& ids);
  [[noreturn]] static void fail(Problem problem, std::string_view given, std::string_view source);

  constexpr Problem parse(std::string_view text);
  constexpr Problem add_id(int id);

  Kind kind_ = automatic;
  int size_ = 0;
  std::array<int, kMaxIds> ids_{};
};

/// A kind of device as far as it is known without touching one.
struct AcceleratorFacts {
  std::string name{};
  c10::DeviceType type = c10::DeviceType::CPU;
  int available = 0;   ///< devices this process can see
  int auto_count = 1;  ///< devices that "auto" takes
};

AcceleratorFacts facts_of(const Accelerator& accelerator);

/// The ids of the devices that are meant, one for each process of a node. On the CPU they number
/// processes from 0.
/// Throws MisconfigurationError for ids or -1 on the CPU, DeviceError for devices that are absent.
/// @param source where the devices come from ("FABRIC_DEVICES"), for error texts
std::vector<int> resolve(const Devices& devices, const AcceleratorFacts& accelerator,
                         std::string_view source = {});
std::vector<int> resolve(const Devices& devices, const Accelerator& accelerator);

/// The ids of the first `count` CUDA devices on which a small tensor can be made (a device may be
/// taken by another process in exclusive mode); -1 asks for all of them, 0 gives none.
/// Throws DeviceError when there is no CUDA device at all, none is usable, or fewer than `count`
/// are, and MisconfigurationError for a count below -1.
std::vector<int> find_usable_cuda_devices(int count = -1);

constexpr Devices::Problem Devices::add_id(int id) {
  if (id < 0) {
    return negative_id;
  }
  for (int i = 0; i < size_; ++i) {
    if (ids_[i] == id) {
      return duplicate;
    }
  }
  if (size_ == kMaxIds) {
    return too_many;
  }
  ids_[size_++] = id;
  return ok;
}

constexpr Devices::Problem Devices::parse(std::string_view text) {
  text = detail::trim(text);
  if (text == "auto") {
    return ok;
  }
  if (text.empty()) {
    return empty;
  }
  if (text.find(',') == std::string_view::npos) {
    const std::optional<int> number = detail::parse_int(text);
    if (!number) {
      return garbage;
    }
    if (*number == 0 || *number < -1) {
      return *number == 0 ? zero : negative;
    }
    kind_ = *number == -1 ? all : count;
    size_ = *number == -1 ? 0 : *number;
    return ok;
  }
  kind_ = list;
  while (!text.empty()) {  // the last item may be followed by a comma
    const std::size_t comma = text.find(',');
    const std::optional<int> id = detail::parse_int(detail::trim(text.substr(0, comma)));
    if (!id) {
      return garbage;
    }
    const Problem problem = add_id(*id);
    if (problem != ok) {
      return problem;
    }
    text =
        comma == std::string_view::npos ? std::string_view() : detail::trim(text.substr(comma + 1));
  }
  return ok;
}

}  // namespace fabric
