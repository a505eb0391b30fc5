// What is found wrong on the way; all of it is shown at once.
#pragma once

#include <string>
#include <vector>

#include <fabric/config/error.h>

namespace fabric::config::detail {

/// Collects, up to a number that nobody reads any more.
class Problems {
 public:
  static constexpr std::size_t kMost = 100;

  void add(Place place, std::string option, std::string text) {
    if (list_.size() < kMost) {
      list_.push_back({std::move(place), std::move(option), std::move(text)});
    }
  }
  bool full() const { return list_.size() >= kMost; }
  bool empty() const { return list_.empty(); }
  std::size_t size() const { return list_.size(); }
  const std::vector<Problem>& list() const { return list_; }
  std::vector<Problem> take() { return std::move(list_); }

 private:
  std::vector<Problem> list_;
};

/// "model.width" for a name in a section; the name alone at the root.
inline std::string joined_path(const std::string& section, std::string_view name) {
  return section.empty() ? std::string(name) : section + "." + std::string(name);
}

}  // namespace fabric::config::detail
