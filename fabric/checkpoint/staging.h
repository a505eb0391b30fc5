// Memory that tensors are copied to while a save runs beside the program: kept from one save to the
// next, so that only the first one pays for its pages.
#pragma once

#include <cstddef>
#include <memory>

namespace fabric::detail {

/// Memory of at least `bytes`; the same as the last time where nobody has it any more and it is
/// large enough. In huge pages where the system has them.
std::shared_ptr<char> staging_memory(std::size_t bytes);

}  // namespace fabric::detail
