#include <doctest/doctest.h>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/storage_plan.h>
#include <fabric/checkpoint/io/blobs.h>
#include <fabric/checkpoint/stored_bytes.h>

namespace {

using fabric::StoredTensor;
using fabric::detail::StoragePlan;

StoragePlan plan_of(const std::vector<at::Tensor>& tensors) {
  std::vector<StoredTensor> stored(tensors.begin(), tensors.end());
  return fabric::detail::plan_shared_storages(stored);
}

std::vector<std::int64_t> sizes_of(const StoragePlan& plan) {
  std::vector<std::int64_t> sizes;
  for (const fabric::detail::Blob& blob : plan.storages) {
    sizes.push_back(blob.size);
  }
  return sizes;
}

// A tensor as a reader of the planned storages sees it.
at::Tensor placed(const StoragePlan& plan, std::size_t i, const at::Tensor& like) {
  const fabric::detail::StoredPlace& place = plan.places[i];
  const fabric::detail::Blob& blob = plan.storages[place.storage];
  at::Tensor storage = at::empty({blob.size / static_cast<std::int64_t>(like.element_size())},
                                 like.options().device(at::kCPU));
  const fabric::detail::GatheredScope gathered(*blob.bytes);
  if (blob.size > 0) {
    fabric::detail::read_blobs({{blob.bytes.get(), blob.begin, blob.size, storage.data_ptr()}});
  }
  return storage.as_strided(like.sizes(), place.strides, place.offset);
}

void check_all(const std::vector<at::Tensor>& tensors) {
  const StoragePlan plan = plan_of(tensors);
  REQUIRE(plan.places.size() == tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    CAPTURE(i);
    CHECK(placed(plan, i, tensors[i]).equal(tensors[i]));
  }
}

}  // namespace

TEST_SUITE("fabric.checkpoint.storage_plan") {
  TEST_CASE("a tensor alone has exactly its elements") {
    const at::Tensor whole = at::arange(24, at::kFloat).view({4, 6});
    CHECK(sizes_of(plan_of({whole})) == std::vector<std::int64_t>{96});
    CHECK(sizes_of(plan_of({whole[1]})) == std::vector<std::int64_t>{24});  // not the rest of it
    CHECK(sizes_of(plan_of({whole.select(1, 0)})) == std::vector<std::int64_t>{16});  // packed
    CHECK(sizes_of(plan_of({whole.slice(1, 0, 6, 2)})) == std::vector<std::int64_t>{48});
    const StoragePlan turned = plan_of({whole.t()});
    CHECK((turned.places[0].strides == std::vector<std::int64_t>{1, 6}));  // as it lies in memory
    CHECK(turned.places[0].offset == 0);
    for (const at::Tensor& view :
         {whole, whole[1], whole.select(1, 0), whole.slice(1, 0, 6, 2), whole.t(),
          whole.slice(0, 1, 3).t(), at::scalar_tensor(3.f), at::empty({0, 3})}) {
      check_all({view});
    }
  }

  TEST_CASE("elements that repeat take no room") {
    const at::Tensor one = at::ones({1}).expand({1000, 1000});
    CHECK(sizes_of(plan_of({one})) == std::vector<std::int64_t>{4});
    const at::Tensor row = at::arange(5, at::kFloat).expand({100, 5});
    CHECK(sizes_of(plan_of({row})) == std::vector<std::int64_t>{20});
    const at::Tensor windows = at::arange(10, at::kFloat).unfold(0, 4, 1);
    CHECK(sizes_of(plan_of({windows})) == std::vector<std::int64_t>{40});
    check_all({one, row, windows});
  }

  TEST_CASE("tensors that overlap share a storage, others do not") {
    const at::Tensor whole = at::arange(24, at::kFloat).view({4, 6});
    const StoragePlan shared = plan_of({whole[1], whole, whole.t(), at::ones({2}), whole[3]});
    CHECK((sizes_of(shared) == std::vector<std::int64_t>{96, 8}));
    CHECK(shared.places[0].storage == shared.places[4].storage);
    CHECK(shared.places[0].offset == 6);
    check_all({whole[1], whole, whole.t(), at::ones({2}), whole[3]});

    // Neighbours in one allocation, as flat parameters are.
    CHECK((sizes_of(plan_of({whole[0], whole[1], whole[3]})) ==
           std::vector<std::int64_t>{24, 24, 24}));
    check_all({whole[3], whole[0], whole[1]});
    // Columns lie between each other.
    CHECK(sizes_of(plan_of({whole.select(1, 1), whole.select(1, 4)})) ==
          std::vector<std::int64_t>{(18 + 4) * 4});
    check_all({whole.select(1, 4), whole.select(1, 1)});
    // A chain: the first and the last do not overlap.
    const at::Tensor line = at::arange(10, at::kFloat);
    CHECK(sizes_of(plan_of({line.narrow(0, 0, 4), line.narrow(0, 6, 4), line.narrow(0, 3, 4)})) ==
          std::vector<std::int64_t>{40});
    check_all({line.narrow(0, 0, 4), line.narrow(0, 6, 4), line.narrow(0, 3, 4)});
  }

  TEST_CASE("the same tensor twice is written once") {
    const at::Tensor whole = at::arange(24, at::kFloat).view({4, 6});
    const at::Tensor tied = whole.slice(1, 0, 2);
    CHECK((sizes_of(plan_of({tied, at::ones({1}), tied})) == std::vector<std::int64_t>{32, 4}));
    check_all({tied, tied});
    const StoragePlan weights = plan_of({whole, whole.detach()});
    CHECK(sizes_of(weights) == std::vector<std::int64_t>{96});
    CHECK(weights.places[1].storage == 0);
  }

  TEST_CASE("dtypes do not share: Python reads a storage as one") {
    const at::Tensor whole = at::arange(4, at::kFloat);
    CHECK((sizes_of(plan_of({whole, whole.view(at::kInt)})) == std::vector<std::int64_t>{16, 16}));
    check_all({whole, whole.view(at::kInt)});
  }

  TEST_CASE("a file does not depend on addresses") {
    std::vector<at::Tensor> tensors;
    for (int i = 0; i < 50; ++i) {
      tensors.push_back(at::ones({i + 1}));
    }
    const StoragePlan plan = plan_of(tensors);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      CHECK(plan.places[i].storage == i);
      CHECK(plan.storages[i].size == static_cast<std::int64_t>(4 * (i + 1)));
    }
  }

  TEST_CASE("a tensor whose storage was freed is an error") {
    const at::Tensor freed = at::ones({8});
    freed.storage().unsafeGetStorageImpl()->set_nbytes(0);
    CHECK_THROWS_WITH_AS(plan_of({freed}), doctest::Contains("no values in memory"),
                         fabric::CheckpointError);
  }

  TEST_CASE("row by row, for files without strides") {
    const at::Tensor whole = at::arange(24, at::kFloat).view({4, 6});
    const std::vector<StoredTensor> tensors = {StoredTensor(whole),
                                               StoredTensor(whole.t()),
                                               StoredTensor(whole),
                                               StoredTensor(whole[1]),
                                               StoredTensor(at::ones({1}).expand({3})),
                                               StoredTensor(at::empty({0}))};
    const StoragePlan plan = fabric::detail::plan_row_major(tensors);
    CHECK((sizes_of(plan) == std::vector<std::int64_t>{96, 96, 24, 12, 0}));
    CHECK(plan.places[2].storage == 0);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      CAPTURE(i);
      CHECK(plan.places[i].strides == fabric::detail::row_major_strides(tensors[i].sizes()));
      CHECK(placed(plan, i, tensors[i].tensor()).equal(tensors[i].tensor()));
    }
  }
}
