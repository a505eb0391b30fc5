#include <fabric/config/links/links.h>

#include <algorithm>
#include <utility>

#include <accelerators/error.h>
#include <accelerators/text.h>
#include <fabric/config/links/paths.h>
#include <fabric/config/nearest_name.h>
#include <fabric/config/sources/merge.h>

namespace fabric::config::detail {
namespace {

[[noreturn]] void refuse(const Link& link, const std::string& why) {
  throw MisconfigurationError("[fabric.config] the link " + link.text() + " cannot be: " + why);
}

// Whether `first` has to be applied before `second`: it gives what the other reads, or chooses the
// class that has the other's target.
bool comes_before(const Link& first, const Link& second) {
  return is_below(second.target, first.target) ||
         std::any_of(second.sources.begin(), second.sources.end(),
                     [&](const std::string& source) { return overlap(source, first.target); });
}

bool is_numeric(const Type& type) {
  return type.kind == Type::Kind::scalar && scalar(type).numeric;
}

// Whether a value of one type may be one of another. Texts decide themselves, once they are known.
bool may_become(const Type& from, const Type& to) {
  const Type& source = bare(from);
  const Type& target = bare(to);
  return &source == &target || (is_numeric(source) && is_numeric(target));
}

bool may_be_put(const Type& from, const Type& to) {
  const Type& source = bare(from);
  const Type& target = bare(to);
  return may_become(source, target) || target.kind == Type::Kind::variant ||
         source.kind == Type::Kind::variant || (source.kind == target.kind && !is_numeric(source));
}

// The types that a path may lead to; none only where classes to come may have it.
std::vector<const Type*> types_of(const StructType& type, const Link& link, const std::string& path,
                                  bool is_target, bool at_start) {
  const PathTypes found = types_at(type, path, is_target);
  if (found.types.empty() && (at_start || !found.open)) {
    const std::string nearest = nearest_name(path, option_names(type));
    refuse(link, "there is no option '" + path + "'" +
                     (found.open ? ", whatever class is chosen" : "") + did_you_mean(nearest));
  }
  return found.types;
}

void check_types(const StructType& type, const Link& link, bool at_start) {
  const std::vector<const Type*> targets = types_of(type, link, link.target, true, at_start);
  for (std::size_t i = 0; i < link.sources.size(); ++i) {
    for (const Type* source : types_of(type, link, link.sources[i], false, at_start)) {
      if (link.compute != nullptr) {
        const Type& parameter = link.compute->parameters[i]();
        if (!may_become(*source, parameter)) {
          refuse(link, link.sources[i] + " is " + name_of(*source) + ", and the function takes " +
                           name_of(parameter));
        }
      } else if (!targets.empty() &&
                 std::none_of(targets.begin(), targets.end(),
                              [&](const Type* target) { return may_be_put(*source, *target); })) {
        refuse(link, link.sources[i] + " is " + name_of(*source) + ", and " + link.target + " " +
                         name_of(*targets.front()));
      }
    }
  }
}

// The links in order; those on a cycle are left.
std::vector<Link> in_order(std::vector<Link>& links) {
  std::vector<Link> ordered;
  while (!links.empty()) {
    const auto next = std::find_if(links.begin(), links.end(), [&](const Link& link) {
      return std::none_of(links.begin(), links.end(),
                          [&](const Link& other) { return comes_before(other, link); });
    });
    if (next == links.end()) {
      break;
    }
    ordered.push_back(std::move(*next));
    links.erase(next);
  }
  return ordered;
}

// A way from a link through others back to it; `way` ends with the last of them.
bool find_cycle(const std::vector<Link>& links, std::vector<const Link*>& way) {
  for (const Link& next : links) {
    if (!comes_before(*way.back(), next)) {
      continue;
    }
    if (&next == way.front()) {
      return true;
    }
    if (std::find(way.begin(), way.end(), &next) == way.end()) {
      way.push_back(&next);
      if (find_cycle(links, way)) {
        return true;
      }
      way.pop_back();
    }
  }
  return false;
}

}  // namespace

std::string Link::text() const {
  std::string text;
  for (const std::string& source : sources) {
    text += (text.empty() ? "" : ", ") + source;
  }
  return (compute != nullptr ? "f(" + text + ")" : text) + " → " + target;
}

void Links::add(const StructType& type, Link link) {
  if (link.compute == nullptr && link.sources.size() != 1) {
    refuse(link, "several sources need a function that makes one value of them");
  }
  if (link.compute != nullptr && link.compute->parameters.size() != link.sources.size()) {
    refuse(link, "the function takes " + std::to_string(link.compute->parameters.size()) +
                     " values, and there are " + std::to_string(link.sources.size()) + " sources");
  }
  check_types(type, link, /*at_start=*/false);
  for (const Link& other : links_) {
    if (other.target == link.target) {
      refuse(link, link.target + " is the target of " + other.text() + " already");
    }
  }
  std::vector<Link> all = links_;
  all.push_back(link);
  std::vector<Link> ordered = in_order(all);
  if (!all.empty()) {
    std::string text;
    for (const Link& start : all) {
      std::vector<const Link*> way{&start};
      if (find_cycle(all, way)) {
        for (const Link* step : way) {
          text += step->text() + "; ";
        }
        break;
      }
    }
    text.resize(text.size() - std::min<std::size_t>(text.size(), 2));
    refuse(link, "it makes a cycle: " + text);
  }
  links_ = std::move(ordered);
}

void Links::check(const StructType& type) const {
  for (const Link& link : links_) {
    check_types(type, link, /*at_start=*/true);
  }
}

}  // namespace fabric::config::detail
