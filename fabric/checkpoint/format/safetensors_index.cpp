#include <fabric/checkpoint/format/safetensors_index.h>

#include <algorithm>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/json.h>
#include <fabric/checkpoint/format/safetensors_header.h>
#include <fabric/checkpoint/io/checksum.h>

namespace fabric::detail {
namespace {

constexpr std::string_view kBeforeCrc = R"({"metadata":{"fabric.crc32":")";

std::uint32_t index_crc(std::string_view text) {
  std::uint32_t crc = crc32(text.data(), kBeforeCrc.size());
  crc = crc32("00000000", 8, crc);
  return crc32(text.data() + kBeforeCrc.size() + 8, text.size() - kBeforeCrc.size() - 8, crc);
}

class IndexReader {
 public:
  IndexReader(std::string_view text, const std::string& what) : text_(text), what_(what) {}

  SafetensorsIndex read() {
    const StateValue json = parse_json(text_, what_);
    const StateValue* weights = json.is_dict() ? json.dict().find("weight_map") : nullptr;
    check(weights != nullptr && weights->is_dict(), "has no weight_map");
    for (const auto& [name, file] : weights->dict()) {
      check(file.is_string() && is_plain(file.string()), "names no file beside it for '",
            name.string(), "'");
      index_.weight_map.emplace_back(name.string(), file.string());
    }
    for (const auto& [key, value] : json.dict()) {
      if (&value != weights && value.is_dict()) {
        ours(key.string(), value.dict());
      }
    }
    return std::move(index_);
  }

 private:
  template <class... Text>
  void check(bool condition, const Text&... text) const {
    FABRIC_CHECK(Checkpoint, condition, "[fabric.load] ", what_, " ", text...,
                 ". Hint: the file is damaged, or no index of safetensors files.");
  }

  bool begins_like_ours() const {
    return text_.size() >= kBeforeCrc.size() + 8 && text_.starts_with(kBeforeCrc);
  }

  // A file of this folder: an index must not lead anywhere else.
  static bool is_plain(const std::string& file) {
    return !file.empty() && file != "." && file != ".." &&
           file.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
  }

  // An index that shows any sign of being ours has to be whole.
  void ours(const std::string& key, const StateDict& metadata) {
    const bool sign = std::any_of(metadata.begin(), metadata.end(), [](const auto& item) {
      return item.first.string().starts_with("fabric.");
    });
    if (!sign) {
      return;
    }
    const StateValue* crc = metadata.find("fabric.crc32");
    const StateValue* state = metadata.find("fabric.state");
    const StateValue* parts = metadata.find("fabric.parts");
    check(crc != nullptr && crc->is_string() && state != nullptr && state->is_string() &&
              parts != nullptr && parts->is_dict() && key == "metadata" && begins_like_ours(),
          "is an incomplete index of ours");
    const std::uint32_t got = index_crc(text_);
    check(got == crc_of_hex(crc->string(), what_), "is damaged: its checksum is another than when ",
          "it was written; got ", hex_of(got), "; expected ", crc->string());
    index_.state_json = state->string();
    for (const auto& [file, header] : parts->dict()) {
      check(header.is_string(), "has no checksum for ", file.string());
      index_.parts.emplace_back(file.string(), crc_of_hex(header.string(), what_));
    }
  }

  std::string_view text_;
  const std::string& what_;
  SafetensorsIndex index_;
};

template <class Pairs, class Text>
void append_object(std::string& to, const Pairs& pairs, const Text& text_of) {
  to += '{';
  bool first = true;
  for (const auto& [key, value] : pairs) {
    to += std::exchange(first, false) ? "" : ",\n";
    append_json_string(to, key);
    to += ':';
    append_json_string(to, text_of(value));
  }
  to += '}';
}

}  // namespace

std::string make_safetensors_index(const SafetensorsIndex& index) {
  std::string text(kBeforeCrc);
  text.append(str("00000000\",\"total_size\":", index.total_size, ",\"fabric.parts\":"));
  append_object(text, index.parts, [](std::uint32_t crc) { return hex_of(crc); });
  text.append(",\n\"fabric.state\":");
  append_json_string(text, index.state_json.value_or("{}"));
  text.append("},\n\"weight_map\":");
  append_object(text, index.weight_map, [](const std::string& file) { return file; });
  text.append("}\n");
  text.replace(kBeforeCrc.size(), 8, hex_of(index_crc(text)));
  return text;
}

SafetensorsIndex parse_safetensors_index(std::string_view text, const std::string& what) {
  return IndexReader(text, what).read();
}

}  // namespace fabric::detail
