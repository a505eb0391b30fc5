#include <accelerators/accelerator_choice.h>

#include <accelerators/error.h>

namespace fabric {

AcceleratorChoice AcceleratorChoice::from_text(std::string_view text, std::string_view source) {
  const std::string name = detail::to_lower(detail::trim(text));
  FABRIC_CHECK(Misconfiguration, !name.empty(), "[fabric.accelerator] the name is empty; got '",
               text, "'", detail::from(source), "; expected ", expected());
  AcceleratorChoice choice;
  choice.name_ = detail::intern(name);
  return choice;
}

}  // namespace fabric
