#include <strategies/precision/precision_choice.h>

#include <accelerators/error.h>

namespace fabric {

PrecisionChoice PrecisionChoice::from_text(std::string_view text, std::string_view source) {
  const int kind = find(detail::to_lower(detail::trim(text)));
  FABRIC_CHECK(Misconfiguration, kind != kUnknown, "[fabric.precision] unknown precision; got '",
               text, "'", detail::from(source),
               "; expected 32-true, 64-true, bf16-mixed, 16-mixed, ", "bf16-true or 16-true");
  PrecisionChoice choice;
  choice.kind_ = static_cast<Kind>(kind);
  return choice;
}

}  // namespace fabric
