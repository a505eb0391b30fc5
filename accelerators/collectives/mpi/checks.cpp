#include <accelerators/collectives/mpi/checks.h>

#include <accelerators/error.h>

namespace fabric::mpi::detail {

void check_tensor(const char* where, const char* argument, const at::Tensor& tensor) {
  FABRIC_CHECK(Communication, tensor.defined(), "[fabric.", where, "] the ", argument,
               " is undefined; got an empty handle; expected a contiguous CPU tensor");
  FABRIC_CHECK(Communication, tensor.layout() == at::kStrided, "[fabric.", where, "] the ",
               argument, " is not dense; got layout ", tensor.layout(),
               "; expected a contiguous CPU tensor. Hint: to_dense(), or reduce indices and values "
               "one by one");
  FABRIC_CHECK(Communication, tensor.device().is_cpu(), "[fabric.", where, "] the ", argument,
               " is not in main memory; got device ", tensor.device(),
               "; expected a CPU tensor. Hint: CUDA tensors need a communicator made for a CUDA "
               "device");
  FABRIC_CHECK(Communication, tensor.is_contiguous(), "[fabric.", where, "] the ", argument,
               " is not contiguous; got shape ", tensor.sizes(), " with strides ", tensor.strides(),
               "; expected a contiguous tensor. Hint: pass contiguous() and copy "
               "the result back");
}

void check_slices(const char* where, const at::Tensor& large, const char* large_name,
                  const at::Tensor& small, const char* small_name, int ranks) {
  check_tensor(where, large_name, large);
  check_tensor(where, small_name, small);
  FABRIC_CHECK(Communication, large.scalar_type() == small.scalar_type(), "[fabric.", where,
               "] dtypes differ; got ", large.scalar_type(), " for the ", large_name, " and ",
               small.scalar_type(), " for the ", small_name, "; expected the same dtype");
  FABRIC_CHECK(Communication, large.numel() == small.numel() * ranks, "[fabric.", where,
               "] sizes do not fit; got ", large.numel(), " elements for the ", large_name, " and ",
               small.numel(), " for the ", small_name, "; expected ", ranks,
               " (the number of ranks) times as many for the ", large_name);
}

void check_count(const char* where, const char* of_what, std::size_t got, std::size_t expected) {
  FABRIC_CHECK(Communication, got == expected, "[fabric.", where, "] wrong number of ", of_what,
               "; got ", got, "; expected ", expected);
}

void check_list(const char* where, const char* argument, const std::vector<at::Tensor>& list,
                const at::Tensor& like, int ranks) {
  check_count(where, "tensors in a list (one for each rank)", list.size(), ranks);
  for (const at::Tensor& tensor : list) {
    check_tensor(where, argument, tensor);
    FABRIC_CHECK(Communication,
                 tensor.numel() == like.numel() && tensor.scalar_type() == like.scalar_type(),
                 "[fabric.", where, "] tensors differ; got ", tensor.numel(), " elements of ",
                 tensor.scalar_type(), " for the ", argument, "; expected ", like.numel(), " of ",
                 like.scalar_type());
  }
}

void check_source(const char* where, std::int64_t source, int ranks) {
  FABRIC_CHECK(Communication, source >= 0 && source < ranks, "[fabric.", where,
               "] no such source rank; got ", source, "; expected 0 to ", ranks - 1);
}

}  // namespace fabric::mpi::detail
