#include <fabric/checkpoint/agreement.h>

#include <algorithm>
#include <cstring>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>

namespace fabric::detail {

void agree_on(const StateJob& job, std::exception_ptr own) {
  if (job.world_size() == 1) {
    if (own) {
      std::rethrow_exception(own);
    }
    return;
  }
  const Communicators& group = *job.group;
  const auto none = static_cast<std::int64_t>(group.control.size());
  const std::int64_t first =
      all_reduce_number(group, own ? std::int64_t{group.control.rank()} : none, ReduceOp::min);
  if (first == none) {
    return;
  }
  std::string text;
  if (own) {
    try {
      std::rethrow_exception(own);
    } catch (const std::exception& error) {
      text = error.what();
    } catch (...) {
      text = "an exception that is no std::exception";
    }
  }
  const std::vector<char> bytes =
      broadcast_bytes(group, {text.begin(), text.end()}, static_cast<int>(first));
  if (own) {
    std::rethrow_exception(own);
  }
  throw CheckpointError(str("rank ", first, " failed: ", std::string(bytes.begin(), bytes.end())));
}

std::vector<std::vector<char>> gather_bytes(const StateJob& job, const std::vector<char>& own) {
  if (job.world_size() == 1) {
    return {own};
  }
  const Communicators& group = *job.group;
  const OrdinaryScope ordinary;
  const auto world = static_cast<std::int64_t>(job.world_size());
  const at::Tensor sizes = at::empty({world}, at::kLong);
  group.control
      .all_gather(sizes,
                  at::scalar_tensor(static_cast<std::int64_t>(own.size()), at::kLong).view({1}))
      .wait();
  const std::int64_t most = std::max<std::int64_t>(1, sizes.max().item<std::int64_t>());
  const at::Tensor padded = at::zeros({most}, at::kByte);
  if (!own.empty()) {
    std::memcpy(padded.mutable_data_ptr(), own.data(), own.size());
  }
  const at::Tensor all = at::empty({world, most}, at::kByte);
  group.control.all_gather(all, padded).wait();
  std::vector<std::vector<char>> result;
  for (std::int64_t rank = 0; rank < world; ++rank) {
    const auto* begin = static_cast<const char*>(all.const_data_ptr()) + rank * most;
    result.emplace_back(begin, begin + sizes.const_data_ptr<std::int64_t>()[rank]);
  }
  return result;
}

}  // namespace fabric::detail
