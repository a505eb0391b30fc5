// The errors of the toolkit: one hierarchy, one text form, raised through FABRIC_CHECK.
//
// Text: `[fabric.setup] what is wrong; got X; expected A, B or C. Hint: …`, followed by
// `(rank 1 of 4 on host node7)` when the world is larger than one.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace fabric {

/// The base of every error the toolkit throws.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& text);
};

/// Options or arguments that cannot work: wrong value, wrong combination, wrong order.
class MisconfigurationError : public Error {
 public:
  using Error::Error;
};

/// A call that needs `Fabric::launch()` came before it.
class NotLaunchedError : public Error {
 public:
  using Error::Error;
};

/// A device that is absent, busy or was compiled out.
class DeviceError : public Error {
 public:
  using Error::Error;
};

/// A use of a model that its strategy cannot make right.
class RoutingError : public Error {
 public:
  using Error::Error;
};

/// Ranks that disagree, a rank that left, or a failure of the library below.
class CommunicationError : public Error {
 public:
  using Error::Error;
};

/// A file or folder of saved state that is missing, damaged or does not fit.
class CheckpointError : public Error {
 public:
  using Error::Error;
};

namespace detail {
/// Concatenates its arguments by their `operator<<`.
template <class... Args>
std::string str(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}
}  // namespace detail
}  // namespace fabric

/// Throws `fabric::Kind##Error` with the concatenated text unless `condition` holds.
#define FABRIC_CHECK(Kind, condition, ...)                             \
  do {                                                                 \
    if (!(condition)) [[unlikely]] {                                   \
      throw ::fabric::Kind##Error(::fabric::detail::str(__VA_ARGS__)); \
    }                                                                  \
  } while (false)
