#include <fabric/checkpoint/format/safetensors_header.h>

#include <algorithm>
#include <array>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/json.h>
#include <fabric/checkpoint/io/checksum.h>

namespace fabric::detail {
namespace {

constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kAlignment = 64;
constexpr std::string_view kBeforeCrc = R"({"__metadata__":{"fabric.crc32":")";
constexpr std::string_view kBeforeChecksums = R"(","fabric.checksums":")";

struct DtypeName {
  std::string_view name;
  c10::ScalarType dtype;
};

constexpr std::array<DtypeName, 19> kDtypes = {{
    {"F32", c10::ScalarType::Float},
    {"F16", c10::ScalarType::Half},
    {"BF16", c10::ScalarType::BFloat16},
    {"F64", c10::ScalarType::Double},
    {"I64", c10::ScalarType::Long},
    {"I32", c10::ScalarType::Int},
    {"I16", c10::ScalarType::Short},
    {"I8", c10::ScalarType::Char},
    {"U8", c10::ScalarType::Byte},
    {"BOOL", c10::ScalarType::Bool},
    {"U16", c10::ScalarType::UInt16},
    {"U32", c10::ScalarType::UInt32},
    {"U64", c10::ScalarType::UInt64},
    {"C64", c10::ScalarType::ComplexFloat},
    {"F8_E4M3", c10::ScalarType::Float8_e4m3fn},
    {"F8_E5M2", c10::ScalarType::Float8_e5m2},
    {"F8_E4M3FNUZ", c10::ScalarType::Float8_e4m3fnuz},
    {"F8_E5M2FNUZ", c10::ScalarType::Float8_e5m2fnuz},
    {"F8_E8M0", c10::ScalarType::Float8_e8m0fnu},
}};

std::string_view name_of_dtype(c10::ScalarType dtype, const std::string& tensor) {
  const auto known = std::find_if(kDtypes.begin(), kDtypes.end(),
                                  [&](const DtypeName& each) { return each.dtype == dtype; });
  FABRIC_CHECK(
      Checkpoint, known != kDtypes.end(), "[fabric.save] safetensors has no name for the ",
      "dtype of ", tensor, "; got ", c10::toString(dtype),
      "; expected float, bfloat16, integers, bool, complex64 or an 8-bit float. Hint: convert "
      "it, or save as .pt.");
  return known->name;
}

}  // namespace

std::optional<c10::ScalarType> dtype_of_safetensors(std::string_view name) {
  const auto known = std::find_if(kDtypes.begin(), kDtypes.end(),
                                  [&](const DtypeName& each) { return each.name == name; });
  return known == kDtypes.end() ? std::nullopt : std::optional(known->dtype);
}

bool begins_like_ours(std::string_view header) {
  return header.substr(kLengthBytes).starts_with(kBeforeCrc);
}

std::uint32_t safetensors_header_crc(std::string_view header) {
  const std::size_t before = static_cast<std::size_t>(kLengthBytes) + kBeforeCrc.size();
  std::uint32_t crc = crc32(header.data(), before);
  crc = crc32("00000000", 8, crc);
  return crc32(header.data() + before + 8, header.size() - before - 8, crc);
}

std::string make_safetensors_header(const std::vector<SafetensorsEntry>& entries,
                                    std::string_view state_json,
                                    const SafetensorsHeader::Metadata& metadata) {
  std::size_t chunks = 0;
  for (const SafetensorsEntry& each : entries) {
    chunks +=
        static_cast<std::size_t>((each.end - each.begin + kChecksumChunk - 1) / kChecksumChunk);
  }
  std::string text(static_cast<std::size_t>(kLengthBytes), '\0');
  text.append(kBeforeCrc).append(8, '0').append(kBeforeChecksums).append(8 * chunks, '0');
  text.append(R"(","fabric.state":)");
  append_json_string(text, state_json);
  text.append(R"(,"format":"pt")");
  for (const auto& [key, value] : metadata) {
    if (key != "format" && !key.starts_with("fabric.")) {
      text += ',';
      append_json_string(text, key);
      text += ':';
      append_json_string(text, value);
    }
  }
  text += '}';
  for (const SafetensorsEntry& each : entries) {
    text += ',';
    append_json_string(text, each.name);
    text.append(R"(:{"dtype":")").append(name_of_dtype(each.dtype, each.name));
    text.append(R"(","shape":[)");
    for (std::size_t i = 0; i < each.shape.size(); ++i) {
      text.append(i == 0 ? "" : ",").append(std::to_string(each.shape[i]));
    }
    text.append(str(R"(],"data_offsets":[)", each.begin, ',', each.end, "]}"));
  }
  text += '}';
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');
  const std::uint64_t length = text.size() - static_cast<std::size_t>(kLengthBytes);
  FABRIC_CHECK(Checkpoint, length <= static_cast<std::uint64_t>(kMostSafetensorsHeader),
               "[fabric.save] the state without its tensors needs a header of ", length,
               " bytes; expected at most ", kMostSafetensorsHeader,
               ". Hint: put large bytes and lists of numbers into tensors.");
  for (int i = 0; i < 8; ++i) {
    text[static_cast<std::size_t>(i)] = static_cast<char>(length >> (8 * i));
  }
  return text;
}

std::uint32_t seal_safetensors_header(std::string& header,
                                      const std::vector<std::uint32_t>& checksums) {
  const std::size_t crc_place = static_cast<std::size_t>(kLengthBytes) + kBeforeCrc.size();
  std::size_t place = crc_place + 8 + kBeforeChecksums.size();
  for (const std::uint32_t checksum : checksums) {
    header.replace(place, 8, hex_of(checksum));
    place += 8;
  }
  const std::uint32_t crc = safetensors_header_crc(header);
  header.replace(crc_place, 8, hex_of(crc));
  return crc;
}

std::string hex_of(std::uint32_t value) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(8, '0');
  for (std::size_t i = 0; i < 8; ++i) {
    text[i] = kDigits[value >> (28 - 4 * i) & 15];
  }
  return text;
}

std::uint32_t crc_of_hex(std::string_view digits, std::string_view what) {
  std::uint32_t value = 0;
  bool good = digits.size() == 8;
  for (const char c : digits) {
    const bool decimal = c >= '0' && c <= '9';
    good = good && (decimal || (c >= 'a' && c <= 'f'));
    value = value << 4 | static_cast<std::uint32_t>(decimal ? c - '0' : c - 'a' + 10);
  }
  FABRIC_CHECK(Checkpoint, good, "[fabric.load] ", what, " has a checksum that is no number of 8 ",
               "digits. Hint: the file is damaged.");
  return value;
}

}  // namespace fabric::detail
