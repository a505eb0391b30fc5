// States as JSON, without their tensors: for files that hold named tensors and text.
//
// What JSON has stands as it is: null, booleans, integers of 64 bits, finite real numbers (always
// with a point or an exponent), texts, lists, and dictionaries whose keys are texts. All else is an
// object with one key that begins with '$':
//
//     {"$real": "nan"}                      also "inf", "-inf"; every NaN is one
//     {"$complex": [1.0, -2.5]}
//     {"$integer": "AAAAAAAAAAAB"}          more than 64 bits: BigInteger's bytes in base64
//     {"$bytes": "AAEC"}                    base64
//     {"$text": "/w=="}                     a text that is not UTF-8: base64
//     {"$tuple": […]}, {"$set": […]}, {"$frozenset": […]}, {"$size": […]}
//     {"$dict": [[key, value], …]}          keys that are not texts
//     {"$dict": {…}}                        a key that begins with '$'
//     {"$ordered": …}                       a dictionary with `ordered`, in either form
//     {"$dtype": "float32"}, {"$device": "cuda:0"}
//     {"$tensor": "encoder.weight"}         a tensor, by its name; {"$parameter": …} requires grad
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>

#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

/// Values inside values of a state, at most.
inline constexpr std::size_t kStateDepth = 500;

/// Marks of lists by their kind; a plain list has none.
inline constexpr std::array<const char*, 5> kListTags = {"", "$tuple", "$set", "$frozenset",
                                                         "$size"};

/// Called for the tensors of a state one by one, in its order.
using NameTensor = std::function<std::string(const StoredTensor& tensor)>;
/// @throws CheckpointError where there is none
using FindTensor = std::function<StoredTensor(const std::string& name)>;

/// The state as JSON, tensors by what `name_of` says. The same state always gives the same text.
/// @throws CheckpointError for dictionaries that have a key twice or a tensor as a key, and for
///         values nested more than kStateDepth deep
std::string state_to_json(const StateValue& state, const NameTensor& name_of);

/// What `state_to_json` was given, equal in kind, order and bits (but for the bits of a NaN).
/// @param what the error calls the text
/// @throws CheckpointError for anything that `state_to_json` does not write
StateValue state_from_json(std::string_view text, std::string_view what, const FindTensor& find);

}  // namespace fabric::detail
