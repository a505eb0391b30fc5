// std::chrono durations, which need a unit in texts: "90s", "1.5h", "250ms".
#pragma once

#include <chrono>
#include <cstdint>
#include <type_traits>

#include <fabric/config/types/type.h>

namespace fabric::config::detail {

struct DurationType : ScalarType {
  DurationType(double seconds, bool whole, double (*load)(const void*),
               void (*store)(void*, double));

  double seconds;  ///< that one tick takes
  bool whole;      ///< whether it has whole ticks only
  double (*load)(const void* value);
  void (*store)(void* value, double ticks);
};

template <class Duration>
const Type& duration_type() {
  using Rep = typename Duration::rep;
  using Period = typename Duration::period;
  static const DurationType type(
      static_cast<double>(Period::num) / Period::den, std::is_integral_v<Rep>,
      [](const void* value) {
        return static_cast<double>(static_cast<const Duration*>(value)->count());
      },
      [](void* value, double ticks) {
        *static_cast<Duration*>(value) = Duration(static_cast<Rep>(ticks));
      });
  return type;
}

}  // namespace fabric::config::detail
