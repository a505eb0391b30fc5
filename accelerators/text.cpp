#include <accelerators/text.h>

#include <algorithm>
#include <mutex>
#include <set>

namespace fabric::detail {

std::string to_lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return lower;
}

std::string_view intern(std::string_view text) {
  static std::mutex mutex;
  static auto* names = new std::set<std::string, std::less<>>;  // outlives static destructors
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = names->find(text);
  return found != names->end() ? *found : *names->emplace(text).first;
}

std::string list_or(const std::vector<std::string>& items) {
  std::string text;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) {
      text += i + 1 == items.size() ? " or " : ", ";
    }
    text += items[i];
  }
  return text;
}

std::string from(std::string_view source) {
  return source.empty() ? std::string() : " from " + std::string(source);
}

}  // namespace fabric::detail
