// The layout of flat gradient storage.
#include <doctest/doctest.h>

#include <torch/torch.h>

#include <strategies/flat/gradient_buckets.h>

using fabric::make_gradient_buckets;
using torch::Tensor;

TEST_SUITE("strategies.gradient_buckets") {
  TEST_CASE("slices start at 64-byte boundaries, look like their parameters, and are zero") {
    const std::vector<Tensor> parameters = {
        torch::ones({3}), torch::ones({2, 5}),
        torch::ones({2, 3, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast)};
    const auto buckets = make_gradient_buckets(parameters, {2, 0, 1}, 1 << 20);
    REQUIRE(buckets.size() == 1);
    const auto& bucket = buckets[0];
    CHECK(bucket.members == std::vector<std::size_t>{2, 0, 1});
    CHECK(bucket.pending == 3);
    for (std::size_t i = 0; i < 3; ++i) {
      const Tensor& parameter = parameters[bucket.members[i]];
      CHECK(bucket.slices[i].sizes() == parameter.sizes());
      CHECK(bucket.slices[i].strides() == parameter.strides());
      CHECK(bucket.slices[i].storage_offset() * bucket.slices[i].element_size() % 64 == 0);
      CHECK(bucket.slices[i].is_alias_of(bucket.storage));
      CHECK(!bucket.slices[i].is_view());  // LibTorch's zero_grad detaches gradients
    }
    CHECK(bucket.flags.numel() == 4);
    CHECK(bucket.storage.abs().sum().item<double>() == 0);
  }

  TEST_CASE("each dtype has buckets of its own, and the first closes at 1 MiB") {
    std::vector<Tensor> parameters;
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < 8; ++i) {
      parameters.push_back(torch::ones({1 << 17}, i == 5 ? torch::kDouble : torch::kFloat));
      order.push_back(i);
    }
    const auto buckets = make_gradient_buckets(parameters, order, 4 << 20);
    REQUIRE(buckets.size() == 3);
    CHECK(buckets[0].members == std::vector<std::size_t>{0, 1});  // 2 of half a MiB
    CHECK(buckets[1].members == std::vector<std::size_t>{2, 3, 4, 6, 7});
    CHECK(buckets[2].members == std::vector<std::size_t>{5});
    CHECK((buckets[2].storage.scalar_type() == torch::kDouble));
  }

  TEST_CASE("a parameter larger than a bucket has one to itself; none gives no bucket") {
    const std::vector<Tensor> parameters = {torch::ones({1 << 19}), torch::ones({4})};
    CHECK(make_gradient_buckets(parameters, {0, 1}, 1024).size() == 2);
    CHECK(make_gradient_buckets(parameters, {}, 1024).empty());
  }

  TEST_CASE("storage made inside an inference mode is ordinary") {
    const c10::InferenceMode inference;
    const std::vector<Tensor> parameters = {torch::ones({4})};
    CHECK(!make_gradient_buckets(parameters, {0}, 1024)[0].storage.is_inference());
  }
}
