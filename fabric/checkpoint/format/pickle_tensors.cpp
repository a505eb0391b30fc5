// Storages and tensors of pickles.
#include <algorithm>
#include <limits>

#include <c10/core/ScalarType.h>

#include <fabric/checkpoint/format/flipped_bytes.h>
#include <fabric/checkpoint/format/pickle_calls.h>
#include <fabric/checkpoint/format/printable.h>
#include <fabric/checkpoint/format/torch_dtypes.h>

namespace fabric::detail {
namespace {

// More dimensions than LibTorch's operators take.
constexpr std::size_t kMostDimensions = 64;

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

std::int64_t item_size(c10::ScalarType dtype) {
  return static_cast<std::int64_t>(c10::elementSize(dtype));
}

// a·b + c of numbers that are not negative; -1 where it is more than 64 bits hold.
std::int64_t multiply_add(std::int64_t a, std::int64_t b, std::int64_t c) {
  std::int64_t result = 0;
  return __builtin_mul_overflow(a, b, &result) || __builtin_add_overflow(result, c, &result)
             ? -1
             : result;
}

std::vector<std::int64_t> lengths(const PickleGraph& graph, PickleId id) {
  const std::span<const PickleId> parts = graph.parts(id);
  graph.require((graph.is(id, PickleKind::tuple) || graph.is(id, PickleKind::size)) &&
                    parts.size() <= kMostDimensions,
                "is damaged: the shape of a tensor is ", graph.describe(id));
  std::vector<std::int64_t> values;
  values.reserve(parts.size());
  for (const PickleId part : parts) {
    graph.require(graph.is(part, PickleKind::integer) && graph.nodes[part].integer >= 0,
                  "is damaged: sizes and strides of a tensor are no numbers from zero on");
    values.push_back(graph.nodes[part].integer);
  }
  return values;
}

// Whether the tensor's elements lie inside its storage.
bool fits(const std::vector<std::int64_t>& sizes, const std::vector<std::int64_t>& strides,
          std::int64_t offset, std::int64_t item, std::int64_t nbytes) {
  bool empty = false;
  std::int64_t numel = 1;
  std::int64_t last = offset;
  for (std::size_t i = 0; i < sizes.size() && numel >= 0 && last >= 0; ++i) {
    empty = empty || sizes[i] == 0;
    numel = multiply_add(numel, std::max<std::int64_t>(sizes[i], 1), 0);
    last = sizes[i] == 0 ? last : multiply_add(sizes[i] - 1, strides[i], last);
  }
  if (numel < 0 || numel > kMost / item) {
    return false;
  }
  return empty || (last >= 0 && last < nbytes / item);
}

// {"conj": True, "neg": True}: the elements are meant conjugated or negated.
FlippedSigns flipped_signs(const PickleGraph& graph, PickleId metadata) {
  FlippedSigns flipped;
  if (graph.is(metadata, PickleKind::none)) {
    return flipped;
  }
  const std::span<const PickleId> items = graph.parts(metadata);
  graph.require(graph.is(metadata, PickleKind::dict),
                "is damaged: what a tensor says of itself is ", graph.describe(metadata));
  for (std::size_t i = 0; i < items.size(); i += 2) {
    const std::string_view key =
        graph.is(items[i], PickleKind::text) ? graph.text(items[i]) : std::string_view();
    graph.require((key == "conj" || key == "neg") && graph.is(items[i + 1], PickleKind::boolean),
                  "holds a tensor of a kind that is not known; got the mark '", Printable{key},
                  "'");
    (key == "conj" ? flipped.conjugate : flipped.negate) = graph.nodes[items[i + 1]].integer != 0;
  }
  return flipped;
}

}  // namespace

PickleId load_pickle_storage(PickleGraph& graph, std::span<const PickleId> id,
                             const PickleReaderOptions& options) {
  const bool untyped = graph.is_global(id[1], PickleFunction::untyped_storage);
  graph.require((untyped || graph.is_global(id[1], PickleFunction::storage)) &&
                    graph.is(id[2], PickleKind::text) && graph.is(id[3], PickleKind::text) &&
                    graph.is(id[4], PickleKind::integer),
                "is damaged: it refers to a storage in a way that Python does not");
  graph.require(options.storage != nullptr, "holds tensors; expected none here");
  const std::int64_t elements = graph.nodes[id[4]].integer;
  const std::int64_t item = untyped ? 1 : item_size(graph.global(id[1]).dtype);
  graph.require(elements >= 0 && elements <= kMost / item, "is damaged: a storage has ", elements,
                " elements");
  const std::string key(graph.text(id[2]));
  const auto [known, fresh] = graph.storage_of_key.try_emplace(key, graph.storages.size());
  if (fresh) {
    PickleStorageNode storage{key, id[1], elements * item, nullptr};
    storage.bytes = options.storage({key, storage.nbytes});
    graph.storages.push_back(std::move(storage));
  }
  const PickleStorageNode& storage = graph.storages[known->second];
  graph.require(storage.nbytes == elements * item &&
                    graph.global(storage.type).function == graph.global(id[1]).function &&
                    graph.global(storage.type).dtype == graph.global(id[1]).dtype,
                "is damaged: the storage '", Printable{key}, "' has two lengths or dtypes");
  return graph.add_indexed(PickleKind::storage, known->second);
}

PickleId rebuild_pickle_tensor(PickleGraph& graph, std::span<const PickleId> arguments,
                               bool with_dtype) {
  // (storage, offset, sizes, strides[, requires_grad, hooks][, dtype][, metadata])
  const std::size_t least = with_dtype ? 7 : 4;
  const std::size_t most = with_dtype ? 8 : 7;
  graph.require(arguments.size() >= least && arguments.size() <= most &&
                    graph.is(arguments[0], PickleKind::storage) &&
                    graph.is(arguments[1], PickleKind::integer) &&
                    (arguments.size() < 5 || graph.is(arguments[4], PickleKind::boolean)) &&
                    (!with_dtype || graph.is_global(arguments[6], PickleFunction::dtype)),
                "is damaged: a tensor is not made as Python does it");
  const PickleStorageNode& storage = graph.storages[graph.nodes[arguments[0]].index];
  const PickleGlobal& type = graph.global(with_dtype ? arguments[6] : storage.type);
  graph.require(type.function != PickleFunction::untyped_storage,
                "is damaged: a tensor has no dtype");
  graph.require(find_torch_dtype(type.dtype)->dense, "holds a tensor of ", type.name,
                ", which a state cannot hold; expected a dense tensor that is not quantised");
  const std::int64_t offset = graph.nodes[arguments[1]].integer;
  std::vector<std::int64_t> sizes = lengths(graph, arguments[2]);
  std::vector<std::int64_t> strides = lengths(graph, arguments[3]);
  graph.require(sizes.size() == strides.size() && offset >= 0 &&
                    fits(sizes, strides, offset, item_size(type.dtype), storage.nbytes),
                "is damaged: a tensor of shape ", at::IntArrayRef(sizes), ", strides ",
                at::IntArrayRef(strides), " and offset ", offset,
                " does not lie in its storage of ", storage.nbytes, " bytes");
  const bool empty = std::find(sizes.begin(), sizes.end(), 0) != sizes.end();
  std::shared_ptr<const TensorBytes> bytes = storage.bytes;
  if (arguments.size() == most) {
    const FlippedSigns flipped = flipped_signs(graph, arguments.back());
    if (flipped.conjugate || flipped.negate) {
      graph.require(can_flip(type.dtype, flipped), "holds a tensor of ", type.name,
                    " that is marked as conjugated or negated, which that dtype cannot be");
      bytes = std::make_shared<FlippedBytes>(std::move(bytes), type.dtype, flipped);
    }
  }
  return add_pickle_tensor(graph,
                           StoredTensor(type.dtype, std::move(sizes), std::move(strides),
                                        empty ? 0 : offset, std::move(bytes)),
                           arguments.size() >= 5 && graph.nodes[arguments[4]].integer != 0);
}

PickleId add_pickle_tensor(PickleGraph& graph, StoredTensor tensor, bool requires_grad) {
  graph.require(
      !requires_grad || c10::isFloatingType(tensor.dtype()) || c10::isComplexType(tensor.dtype()),
      "is damaged: a tensor of ", c10::toString(tensor.dtype()), " requires grad");
  tensor.requires_grad = requires_grad;
  graph.tensors.push_back(std::move(tensor));
  return graph.add_indexed(PickleKind::tensor, graph.tensors.size() - 1);
}

}  // namespace fabric::detail
