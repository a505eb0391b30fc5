#include <strategies/precision/precision_choice.h>

#include <accelerators/error.h>

namespace fabric {

PrecisionChoice PrecisionChoice::from_text(std::string_view text, std::string_view source) {
  const int kind = find(detail::to_lower(detail::trim(text)));
  FABRIC_CHECK(Misconfiguration, kind != kUnknown, "[fabric.precision] unknown precision; got '",
               text, "'", detail::from(source), "; expected 32-true, 64-true or bf16-mixed");
  FABRIC_CHECK(Misconfiguration, is_supported(kind), "[fabric.precision] '", text, "'",
               detail::from(source), " arrives with version 0.4; use bf16-mixed or 32-true");
  PrecisionChoice choice;
  choice.kind_ = static_cast<Kind>(kind);
  return choice;
}

}  // namespace fabric
