#include <strategies/precision/precision_choice.h>

#include <accelerators/error.h>

namespace fabric {

PrecisionChoice PrecisionChoice::from_text(std::string_view text, std::string_view source) {
  const int kind = find(detail::to_lower(detail::trim(text)));
  FABRIC_CHECK(Misconfiguration, kind != kUnknown, "[fabric.precision] unknown precision; got '",
               text, "'", detail::from(source), "; expected ", expected());
  PrecisionChoice choice;
  choice.kind_ = static_cast<Kind>(kind);
  return choice;
}

}  // namespace fabric
