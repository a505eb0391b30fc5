// Folders of torch.distributed.checkpoint, with the elements of their tensors.
#include <tests/fuzz/fuzz.h>
#include <tests/fuzz/packed_folder.h>

#include <fabric/checkpoint/format/dcp.h>

void fuzz::read_input(std::string_view input) {
  const PackedFolder folder(input);
  touch(fabric::detail::read_dcp("folder"));
}
