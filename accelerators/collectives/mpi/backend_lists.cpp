// The collectives of the MPI backend that take lists of tensors.
#include <algorithm>
#include <cstring>
#include <memory>

#include <accelerators/collectives/mpi/channel.h>
#include <accelerators/collectives/mpi/checks.h>

namespace fabric::mpi {
namespace {

// Short tensors of one dtype travel together up to this size.
constexpr std::int64_t kPacked = std::int64_t{1} << 20;

std::int64_t bytes_of(const at::Tensor& tensor) {
  return static_cast<std::int64_t>(tensor.nbytes());
}

std::int64_t total_bytes(const std::vector<at::Tensor>& tensors) {
  std::int64_t sum = 0;
  for (const at::Tensor& tensor : tensors) {
    sum += bytes_of(tensor);
  }
  return sum;
}

std::unique_ptr<char[]> scratch(std::int64_t bytes) {
  return std::unique_ptr<char[]>(new char[std::max<std::int64_t>(bytes, 1)]);
}

void copy(void* to, const void* from, std::int64_t bytes) {
  if (bytes > 0) {
    std::memcpy(to, from, bytes);
  }
}

// Gathers `input` into one tensor for each rank.
void gather_into_list(const detail::Group& group, const std::vector<at::Tensor>& outputs,
                      const at::Tensor& input) {
  const std::int64_t bytes = bytes_of(input);
  const auto all = scratch(bytes * group.size);
  detail::all_gather(group, all.get(), input.data_ptr(), bytes);
  for (int rank = 0; rank < group.size; ++rank) {
    copy(outputs[rank].data_ptr(), all.get() + rank * bytes, bytes);
  }
}

// Reduces tensors [begin, end) as one message.
void reduce_packed(const detail::Group& group, const std::vector<at::Tensor>& tensors,
                   std::size_t begin, std::size_t end, const detail::Reduction& reduction) {
  if (end - begin == 1) {
    detail::all_reduce(group, tensors[begin].data_ptr(), tensors[begin].numel(), reduction);
    return;
  }
  std::int64_t bytes = 0;
  for (std::size_t i = begin; i < end; ++i) {
    bytes += bytes_of(tensors[i]);
  }
  const auto packed = scratch(bytes);
  std::int64_t used = 0;
  for (std::size_t i = begin; i < end; ++i) {
    copy(packed.get() + used, tensors[i].data_ptr(), bytes_of(tensors[i]));
    used += bytes_of(tensors[i]);
  }
  detail::all_reduce(group, packed.get(), used / static_cast<std::int64_t>(reduction.item),
                     reduction);
  used = 0;
  for (std::size_t i = begin; i < end; ++i) {
    copy(tensors[i].data_ptr(), packed.get() + used, bytes_of(tensors[i]));
    used += bytes_of(tensors[i]);
  }
}

}  // namespace

Backend::WorkPtr Backend::allreduce_coalesced(Tensors& tensors,
                                              const c10d::AllreduceCoalescedOptions& options) {
  std::vector<detail::Reduction> reductions;
  for (const at::Tensor& tensor : tensors) {
    detail::check_tensor("all_reduce_coalesced", "tensor", tensor);
    reductions.push_back(detail::reduction_for("fabric.all_reduce_coalesced", tensor.scalar_type(),
                                               options.reduceOp));
  }
  return submit(c10d::OpType::ALLREDUCE_COALESCED, "all_reduce_coalesced", total_bytes(tensors),
                tensors, options.timeout,
                [tensors = Tensors(tensors), reductions](const detail::Group& group) {
                  for (std::size_t begin = 0, end = 0; begin < tensors.size(); begin = end) {
                    std::int64_t bytes = bytes_of(tensors[begin]);
                    for (end = begin + 1; end < tensors.size(); ++end) {
                      bytes += bytes_of(tensors[end]);
                      if (bytes > kPacked || reductions[end].type != reductions[begin].type ||
                          reductions[end].op != reductions[begin].op) {
                        break;
                      }
                    }
                    reduce_packed(group, tensors, begin, end, reductions[begin]);
                  }
                });
}

Backend::WorkPtr Backend::allgather(TensorLists& outputs, Tensors& inputs,
                                    const c10d::AllgatherOptions& options) {
  detail::check_count("all_gather", "inputs", inputs.size(), 1);
  detail::check_count("all_gather", "output lists", outputs.size(), 1);
  const at::Tensor& input = inputs.front();
  detail::check_tensor("all_gather", "input", input);
  detail::check_list("all_gather", "output", outputs.front(), input, getSize());
  return submit(c10d::OpType::ALLGATHER, "all_gather", bytes_of(input) * getSize(), outputs.front(),
                options.timeout, [list = outputs.front(), input](const detail::Group& group) {
                  gather_into_list(group, list, input);
                });
}

Backend::WorkPtr Backend::allgather_coalesced(TensorLists& outputs, Tensors& inputs,
                                              const c10d::AllgatherOptions& options) {
  detail::check_count("all_gather_coalesced", "output lists", outputs.size(), inputs.size());
  Tensors results;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    detail::check_tensor("all_gather_coalesced", "input", inputs[i]);
    detail::check_list("all_gather_coalesced", "output", outputs[i], inputs[i], getSize());
    results.insert(results.end(), outputs[i].begin(), outputs[i].end());
  }
  return submit(
      c10d::OpType::ALLGATHER_COALESCED, "all_gather_coalesced", total_bytes(inputs) * getSize(),
      std::move(results), options.timeout,
      [lists = TensorLists(outputs), inputs = Tensors(inputs)](const detail::Group& group) {
        for (std::size_t i = 0; i < inputs.size(); ++i) {
          gather_into_list(group, lists[i], inputs[i]);
        }
      });
}

Backend::WorkPtr Backend::allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                          const c10d::AllgatherOptions& options) {
  detail::check_count("all_gather_coalesced", "outputs", outputs.size(), inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    detail::check_slices("all_gather_coalesced", outputs[i], "output", inputs[i], "input",
                         getSize());
  }
  return submit(c10d::OpType::COALESCED, "all_gather_coalesced", total_bytes(outputs), outputs,
                options.timeout,
                [outputs = Tensors(outputs), inputs = Tensors(inputs)](const detail::Group& group) {
                  for (std::size_t i = 0; i < inputs.size(); ++i) {
                    detail::all_gather(group, outputs[i].data_ptr(), inputs[i].data_ptr(),
                                       bytes_of(inputs[i]));
                  }
                });
}

Backend::WorkPtr Backend::reduce_scatter(Tensors& outputs, TensorLists& inputs,
                                         const c10d::ReduceScatterOptions& options) {
  detail::check_count("reduce_scatter", "outputs", outputs.size(), 1);
  detail::check_count("reduce_scatter", "input lists", inputs.size(), 1);
  const at::Tensor& output = outputs.front();
  detail::check_tensor("reduce_scatter", "output", output);
  detail::check_list("reduce_scatter", "input", inputs.front(), output, getSize());
  const auto reduction =
      detail::reduction_for("fabric.reduce_scatter", output.scalar_type(), options.reduceOp);
  return submit(
      c10d::OpType::REDUCE_SCATTER, "reduce_scatter", bytes_of(output) * getSize(), outputs,
      options.timeout, [output, list = inputs.front(), reduction](const detail::Group& group) {
        const std::int64_t bytes = bytes_of(output);
        const auto packed = scratch(bytes * group.size);
        for (int rank = 0; rank < group.size; ++rank) {
          copy(packed.get() + rank * bytes, list[rank].data_ptr(), bytes);
        }
        detail::reduce_scatter(group, output.data_ptr(), packed.get(), output.numel(), reduction);
      });
}

Backend::WorkPtr Backend::reduce_scatter_tensor_coalesced(
    Tensors& outputs, Tensors& inputs, const c10d::ReduceScatterOptions& options) {
  detail::check_count("reduce_scatter_coalesced", "outputs", outputs.size(), inputs.size());
  std::vector<detail::Reduction> reductions;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    detail::check_slices("reduce_scatter_coalesced", inputs[i], "input", outputs[i], "output",
                         getSize());
    reductions.push_back(detail::reduction_for("fabric.reduce_scatter_coalesced",
                                               inputs[i].scalar_type(), options.reduceOp));
  }
  return submit(c10d::OpType::COALESCED, "reduce_scatter_coalesced", total_bytes(inputs), outputs,
                options.timeout,
                [outputs = Tensors(outputs), inputs = Tensors(inputs),
                 reductions](const detail::Group& group) {
                  for (std::size_t i = 0; i < inputs.size(); ++i) {
                    detail::reduce_scatter(group, outputs[i].data_ptr(), inputs[i].data_ptr(),
                                           outputs[i].numel(), reductions[i]);
                  }
                });
}

}  // namespace fabric::mpi
