// Values as nodes, by the tables of their types.
#pragma once

#include <fabric/config/tree/node.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// The value as read() takes it. A Required without a value is left out of its section.
Node write(const Type& type, const void* value);

/// Whether nothing stands for a value: a Required or a choice that is empty.
bool is_missing(const Type& type, void* value);

/// What a new struct has.
Node default_node(const StructType& type);

}  // namespace fabric::config::detail
