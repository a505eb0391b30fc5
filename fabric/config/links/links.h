// Links: options whose values come from others.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <fabric/config/links/compute.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/problems.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

struct Link {
  std::vector<std::string> sources{};
  std::string target{};
  std::shared_ptr<const Compute> compute{};  ///< null: the value as it is

  /// "data.batch_size → model.batch_size"
  std::string text() const;
};

/// What became of a link in one configuration.
struct LinkOutcome {
  std::string link{};
  std::string target{};
  std::string value{};    ///< in one line; empty where it is skipped
  std::string skipped{};  ///< why
};

/// Links in the order in which they are applied: a source is complete before it is read.
class Links {
 public:
  /// @throws MisconfigurationError, naming the link, for
  ///         - several sources without a function, a function with another number of parameters
  ///         - a target that another link has
  ///         - a cycle
  ///         - names and types that are wrong whatever classes are registered later
  void add(const StructType& type, Link link);
  /// What could not be known before all classes are registered. @throws MisconfigurationError
  void check(const StructType& type) const;

  bool empty() const { return links_.empty(); }
  const std::vector<Link>& all() const { return links_; }

 private:
  std::vector<Link> links_;
};

/// What is asked of links: values; only which apply, as far as that is known without calling
/// functions; or which gave the values that were handed to this process.
enum class LinkMode { compute, plan, handed };

/// Gives targets their values, in `given`. A user's value for one is a problem that names the link,
/// and so is a function that throws.
/// @param values_of the values of all options under what is given
/// @param linked gets the targets
std::vector<LinkOutcome> apply(const Links& links, const StructType& type, Node& given,
                               const std::function<Node(const Node& given, Problems&)>& values_of,
                               LinkMode mode, std::vector<std::string>& linked, Problems& problems);

/// " The link a → b is skipped: why." for a target that has no value because of that; or nothing.
std::string skipped_hint(const std::vector<LinkOutcome>& outcomes, const std::string& target);

/// The screen of --print_links.
std::string links_screen(const std::vector<LinkOutcome>& outcomes);

}  // namespace fabric::config::detail
