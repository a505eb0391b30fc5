// safetensors files, with the elements of their tensors; and what was read is written and read
// again.
#include <tests/fuzz/fuzz.h>
#include <tests/fuzz/one_file.h>

#include <stdexcept>
#include <string>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/safetensors.h>
#include <fabric/checkpoint/format/safetensors_header.h>
#include <tests/support/memory_files.h>
#include <tests/support/state_trees.h>

namespace {

// A mutation of a file of ours with the checksum that its header ought to have, or nothing: what
// lies behind that check is tried as well.
std::string sealed(std::string_view input) {
  std::uint64_t length = 0;
  for (std::size_t i = 8; i-- > 0;) {
    length = length << 8 | (i < input.size() ? static_cast<unsigned char>(input[i]) : 0u);
  }
  if (input.size() < 60 || length < 52 || length > input.size() - 8 ||
      !fabric::detail::begins_like_ours(input)) {
    return {};
  }
  std::string header(input.substr(0, 8 + static_cast<std::size_t>(length)));
  fabric::detail::seal_safetensors_header(header, {});
  return header + std::string(input.substr(header.size()));
}

// Whether all tensors together are small enough to be written.
bool small(const fabric::StateValue& state, std::int64_t& elements) {
  if (state.is_tensor()) {
    elements += state.stored().numel();
  } else if (state.is_list()) {
    for (const fabric::StateValue& value : state.list()) {
      small(value, elements);
    }
  } else if (state.is_dict()) {
    for (const auto& [key, value] : state.dict()) {
      small(value, elements);
    }
  }
  return elements < 1 << 16;
}

void read_file(std::string_view input) {
  const fuzz::OneFile file(input);
  const fabric::StateValue state = fabric::detail::read_safetensors(file.input());
  fuzz::touch(state);
  std::int64_t elements = 0;
  if (!small(state, elements)) {
    return;
  }
  std::string found;
  {
    // Reading goes to the input still: only what is written lies here.
    support::MemoryFiles files;
    try {
      fabric::detail::write_safetensors("again", state, 0, true);
    } catch (const fabric::CheckpointError&) {
      return;  // tensors whose names, joined by dots, come twice; damaged elements
    }
    try {
      found = difference(state, fabric::detail::read_safetensors(
                                    std::make_shared<fabric::detail::InputFile>("again")));
    } catch (const fabric::CheckpointError& error) {
      found = error.what();
    }
  }
  if (!found.empty()) {
    throw std::logic_error(found);
  }
}

}  // namespace

void fuzz::read_input(std::string_view input) {
  if (const std::string whole = sealed(input); !whole.empty()) {
    try {
      read_file(whole);
    } catch (const fabric::CheckpointError&) {
    }
  }
  read_file(input);
}
