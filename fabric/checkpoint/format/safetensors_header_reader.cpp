#include <fabric/checkpoint/format/safetensors_header.h>

#include <algorithm>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/json.h>

namespace fabric::detail {
namespace {

constexpr std::int64_t kLengthBytes = 8;

std::uint64_t length_of(const char* bytes) {
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) {
    length = length << 8 | static_cast<unsigned char>(bytes[i]);
  }
  return length;
}

class HeaderReader {
 public:
  HeaderReader(const InputFile& file, SafetensorsHeader& header) : file_(file), header_(header) {}

  void read() {
    const std::string bytes = whole_header();
    const std::string_view text = std::string_view(bytes).substr(kLengthBytes);
    const StateValue json = parse_json(text, str("the header of ", file_.path().string()));
    check(json.is_dict(), "has a header that is no dictionary");
    for (const auto& [key, value] : json.dict()) {
      if (key.string() == "__metadata__") {
        metadata(value);
      } else {
        header_.entries.push_back(entry(key.string(), value));
      }
    }
    header_.data_begin = static_cast<std::int64_t>(bytes.size());
    ranges();
    ours(bytes);
  }

 private:
  template <class... Text>
  [[noreturn]] void fail(const Text&... text) const {
    throw CheckpointError(str("[fabric.load] ", file_.path().string(), " ", text...,
                              ". Hint: the file is cut off, damaged, or no safetensors file."));
  }
  template <class... Text>
  void check(bool condition, const Text&... text) const {
    if (!condition) {
      fail(text...);
    }
  }

  std::string whole_header() const {
    check(file_.size() >= kLengthBytes, "is too short; got ", file_.size(),
          " bytes; expected a length of 8 bytes at its beginning");
    const std::uint64_t length = length_of(file_.read(0, kLengthBytes).data());
    check(length <= static_cast<std::uint64_t>(kMostSafetensorsHeader), "has a header of ", length,
          " bytes; expected at most ", kMostSafetensorsHeader);
    const auto size = static_cast<std::int64_t>(length);
    check(size <= file_.size() - kLengthBytes, "is too short; got ", file_.size(),
          " bytes; expected a header of ", size, " after the first 8");
    std::string bytes = file_.read(0, kLengthBytes + size);
    check(size > 0 && bytes[kLengthBytes] == '{', "has a header that does not begin with '{'");
    return bytes;
  }

  void metadata(const StateValue& value) {
    check(value.is_dict(), "has metadata that is no dictionary");
    for (const auto& [key, text] : value.dict()) {
      if (!text.is_string()) {
        fail("has metadata that is no text; got ", text.description(), " for '", key.string(), "'");
      }
      header_.metadata.emplace_back(key.string(), text.string());
    }
  }

  SafetensorsEntry entry(const std::string& name, const StateValue& value) const {
    const auto part = [&](const char* key) -> const StateValue& {
      const StateValue* found = value.is_dict() ? value.dict().find(key) : nullptr;
      check(found != nullptr, "has no ", key, " for '", name, "'");
      return *found;
    };
    SafetensorsEntry made{.name = name};
    const StateValue& dtype = part("dtype");
    const std::optional<c10::ScalarType> known =
        dtype.is_string() ? dtype_of_safetensors(dtype.string()) : std::nullopt;
    if (!known) {
      fail("has a dtype for '", name, "' that LibTorch has not; got ", dtype.description());
    }
    made.dtype = *known;
    made.shape = naturals(part("shape"), name, "shape");
    const std::vector<std::int64_t> offsets = naturals(part("data_offsets"), name, "data_offsets");
    check(offsets.size() == 2 && offsets[0] <= offsets[1], "has data_offsets for '", name,
          "' that are no range");
    made.begin = offsets[0];
    made.end = offsets[1];
    auto bytes = static_cast<std::int64_t>(c10::elementSize(made.dtype));
    bool overflow = false;
    for (const std::int64_t size : made.shape) {
      overflow = overflow || __builtin_mul_overflow(bytes, size, &bytes);
    }
    if (overflow || bytes != made.end - made.begin) {
      fail("has ", made.end - made.begin, " bytes for '", name, "'; expected ",
           overflow ? std::string("more than a file can have") : std::to_string(bytes),
           " by its shape and dtype");
    }
    return made;
  }

  std::vector<std::int64_t> naturals(const StateValue& value, const std::string& name,
                                     const char* what) const {
    check(value.is_list(), "has a ", what, " for '", name, "' that is no list");
    std::vector<std::int64_t> numbers;
    for (const StateValue& each : value.list()) {
      if (!each.is_integer() || each.as<std::int64_t>() < 0) {
        fail("has a ", what, " for '", name, "' with ", each.description(),
             "; expected whole numbers from 0");
      }
      numbers.push_back(each.as<std::int64_t>());
    }
    return numbers;
  }

  // One after the other, from the header to the end of the file.
  void ranges() const {
    auto& entries = header_.entries;
    std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    std::int64_t end = 0;
    for (const SafetensorsEntry& each : entries) {
      check(each.begin == end, "has tensors that ", each.begin < end ? "overlap" : "leave a gap",
            "; got '", each.name, "' at byte ", each.begin, "; expected ", end);
      end = each.end;
    }
    check(end == file_.size() - header_.data_begin, "has ", file_.size() - header_.data_begin,
          " bytes of elements; expected ", end, " by its header");
  }

  // A header that shows any sign of being ours has to be whole.
  void ours(const std::string& bytes) const {
    const bool sign = std::any_of(header_.metadata.begin(), header_.metadata.end(),
                                  [](auto& each) { return each.first.starts_with("fabric."); });
    if (!sign) {
      return;
    }
    const std::string* crc = header_.find_metadata("fabric.crc32");
    const std::string* checksums = header_.find_metadata("fabric.checksums");
    check(crc != nullptr && checksums != nullptr &&
              header_.find_metadata("fabric.state") != nullptr && begins_like_ours(bytes),
          "has an incomplete header of ours");
    const std::uint32_t expected = crc_of_hex(*crc, file_.path().string());
    const std::uint32_t got = safetensors_header_crc(bytes);
    check(got == expected, "has a damaged header: its checksum is another than when it was ",
          "written; got ", hex_of(got), "; expected ", *crc);
    header_.crc32 = expected;
    header_.checksums = *checksums;
  }

  const InputFile& file_;
  SafetensorsHeader& header_;
};

}  // namespace

const std::string* SafetensorsHeader::find_metadata(std::string_view key) const {
  for (const auto& [name, text] : metadata) {
    if (name == key) {
      return &text;
    }
  }
  return nullptr;
}

bool is_safetensors(const InputFile& file) {
  if (file.size() < kLengthBytes + 2) {
    return false;
  }
  const std::string begin = file.read(0, kLengthBytes + 1);
  const std::uint64_t length = length_of(begin.data());
  return begin[kLengthBytes] == '{' &&
         length <= static_cast<std::uint64_t>(kMostSafetensorsHeader) &&
         static_cast<std::int64_t>(length) <= file.size() - kLengthBytes;
}

SafetensorsHeader read_safetensors_header(const InputFile& file) {
  SafetensorsHeader header;
  HeaderReader(file, header).read();
  return header;
}

}  // namespace fabric::detail
