#include <fabric/config/links/links.h>

#include <algorithm>
#include <exception>
#include <utility>

#include <fabric/config/links/paths.h>
#include <fabric/config/tree/emitter.h>

namespace fabric::config::detail {
namespace {

Place place_of(const Link& link) {
  auto source = std::make_shared<Source>();
  source->kind = Source::link;
  source->name = link.text();
  return {std::move(source), 0, 0};
}

void set_places(Node& node, const Place& place) {
  node.place = node.key_place = place;
  for (Node& item : node.items) {
    set_places(item, place);
  }
}

// The place of a user's own value below a node; not given where there is none. Checkpoints have the
// values of links too, from their run.
Place users_place(const Node& node) {
  if (node.place.given() && node.place.source()->kind != Source::checkpoint &&
      node.place.source()->kind != Source::link && (!node.is_map() || node.items.empty())) {
    return node.key_place.given() ? node.key_place : node.place;
  }
  for (const Node& item : node.items) {
    if (const Place place = users_place(item); place.given()) {
      return place;
    }
  }
  return {};
}

// Whether a link gave a value.
bool is_of(const Link& link, const Node& node) {
  const auto& source = node.place.source();
  return source != nullptr && source->kind == Source::link && source->name == link.text();
}

bool takes_null(const Type& type) {
  return type.kind == Type::Kind::optional && !optional(type).required;
}

// Whether something is wrong with the value itself: then reading says so, and no link does.
bool is_wrong(const Problems& problems, const std::string& path) {
  return std::any_of(problems.list().begin(), problems.list().end(), [&](const Problem& problem) {
    return overlap(problem.option.substr(0, problem.option.find('[')), path);
  });
}

class Applier {
 public:
  Applier(const StructType& type, Node& given, LinkMode mode, std::vector<std::string>& linked,
          Problems& problems)
      : type_(type), given_(given), mode_(mode), linked_(linked), problems_(problems) {}

  LinkOutcome apply(const Link& link, const Node& values, const Problems& wrong) {
    LinkOutcome outcome{link.text(), link.target, {}, {}};
    const auto skip = [&](std::string why) {
      outcome.skipped = std::move(why);
      return outcome;
    };
    std::vector<const Node*> sources;
    for (std::size_t i = 0; i < link.sources.size(); ++i) {
      if (is_wrong(wrong, link.sources[i])) {
        return skip(link.sources[i] + " is wrong");
      }
      const Found found = find_value(type_, values, link.sources[i]);
      if (found.value == nullptr) {
        return skip(found.why);
      }
      if (found.value->is_null() && link.compute != nullptr &&
          !takes_null(link.compute->parameters[i]())) {
        return skip(link.sources[i] + " is null");
      }
      sources.push_back(found.value);
    }
    Node scratch = given_;  // places are made only where something is put
    bool null_fits = true;
    Place users;
    const Node* handed = nullptr;
    std::string why = visit_place(type_, values, scratch, link.target,
                                  [&](Node& parent, const std::string& key, const Type& type) {
                                    null_fits = null_fits && takes_null(type);
                                    const Node* there = parent.find(key);
                                    if (there != nullptr && !users.given()) {
                                      users = users_place(*there);
                                    }
                                    handed =
                                        there != nullptr && is_of(link, *there) ? there : handed;
                                  });
    if (!why.empty()) {
      return skip(std::move(why));
    }
    if (link.compute == nullptr && sources.front()->is_null() && !null_fits) {
      return skip(link.sources.front() + " is null");
    }
    if (mode_ == LinkMode::handed) {
      if (handed == nullptr) {
        return skip("the function gives no value");
      }
      linked_.push_back(link.target);
      outcome.value = one_line(*handed);
      return outcome;
    }
    std::optional<Node> value;
    if (mode_ == LinkMode::compute) {
      value = value_of(link, sources);
      if (!value && !failed_) {
        return skip("the function gives no value");
      }
    }
    linked_.push_back(link.target);
    if (users.given()) {
      problems_.add(users, link.target,
                    "the link " + link.text() + " gives it; it cannot be given");
    }
    if (!value) {
      return outcome;
    }
    put(link, values, *value);
    outcome.value = one_line(*value);
    return outcome;
  }

 private:
  std::optional<Node> value_of(const Link& link, const std::vector<const Node*>& sources) {
    failed_ = false;
    if (link.compute == nullptr) {
      return *sources.front();
    }
    try {
      return link.compute->call(sources);
    } catch (const std::exception& error) {
      problems_.add(place_of(link), link.target,
                    std::string("the function failed: ") + error.what());
    }
    failed_ = true;
    return std::nullopt;
  }

  void put(const Link& link, const Node& values, const Node& value) {
    const Place place = place_of(link);
    visit_place(type_, values, given_, link.target,
                [&](Node& parent, const std::string& key, const Type&) {
                  Node made = value;
                  set_places(made, place);
                  made.key = key;
                  Node* there = parent.find(key);
                  if (there == nullptr) {
                    parent.items.push_back(std::move(made));
                  } else {
                    *there = std::move(made);
                  }
                });
  }

  const StructType& type_;
  Node& given_;
  LinkMode mode_;
  bool failed_ = false;
  std::vector<std::string>& linked_;
  Problems& problems_;
};

}  // namespace

std::vector<LinkOutcome> apply(const Links& links, const StructType& type, Node& given,
                               const std::function<Node(const Node& given, Problems&)>& values_of,
                               LinkMode mode, std::vector<std::string>& linked,
                               Problems& problems) {
  std::vector<LinkOutcome> outcomes;
  Applier applier(type, given, mode, linked, problems);
  for (const Link& link : links.all()) {
    Problems wrong;
    const Node values = values_of(given, wrong);
    outcomes.push_back(applier.apply(link, values, wrong));
  }
  return outcomes;
}

std::string skipped_hint(const std::vector<LinkOutcome>& outcomes, const std::string& target) {
  for (const LinkOutcome& outcome : outcomes) {
    if (outcome.target == target && !outcome.skipped.empty()) {
      return " The link " + outcome.link + " is skipped: " + outcome.skipped + ".";
    }
  }
  return {};
}

std::string links_screen(const std::vector<LinkOutcome>& outcomes) {
  std::string text;
  for (const LinkOutcome& outcome : outcomes) {
    text += outcome.link + ": " +
            (outcome.skipped.empty() ? outcome.value : "skipped; " + outcome.skipped) + "\n";
  }
  return text.empty() ? "There are no links.\n" : text;
}

}  // namespace fabric::config::detail
