// Files of torch.save, with the elements of their tensors.
#include <tests/fuzz/fuzz.h>
#include <tests/fuzz/one_file.h>

#include <fabric/checkpoint/format/python_file.h>

void fuzz::read_input(std::string_view input) {
  const OneFile file(input);
  touch(fabric::detail::read_python_file(file.input()));
}
