// The list of a model's entries: what may be called through its FabricModule.
#pragma once

#include <string>
#include <string_view>

#include <fabric/entry_options.h>

namespace fabric {

/// How a method became an entry.
enum class EntryOrigin {
  forward,     ///< `forward`, always one
  marked,      ///< FABRIC_INFERENCE_ENTRY in the class or a base
  attributed,  ///< [[fabric::inference_entry]] in the class or a base
  registered,  ///< register_forward_method
};

/// "forward", "marked", "attributed", "registered".
std::string_view to_text(EntryOrigin origin);

/// One entry, as FabricModule::entries lists it.
struct Entry {
  std::string name;  ///< of a method registered without one: its type
  EntryOrigin origin = EntryOrigin::registered;
  EntryOptions options{};
};

}  // namespace fabric
