// Operators that ran without memory, and their replay with it.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>
#include <c10/core/Storage.h>

namespace fabric {

/// Where a tensor lies on a storage of a tape.
struct TapeView {
  std::size_t storage = 0;
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> strides;
  std::int64_t offset = 0;
  at::ScalarType dtype{};
};

/// A tensor that a recorded operator took: one of the tape, or one whose values were there.
struct TapeTensor {
  std::optional<TapeView> view = {};
  at::Tensor constant = {};
  std::optional<std::uint32_t> version = {};  ///< of a constant that others may still change
};

/// An argument of a recorded operator.
struct TapeArgument {
  enum class Form { value, tensor, list, optional_list };
  Form form = Form::value;
  c10::IValue value;                ///< without tensors
  std::vector<TapeTensor> tensors;  ///< undefined constants where a list has none
};

/// A storage that an operator has made.
struct TapeResult {
  std::size_t number = 0;  ///< of the tensor on it, among all that the operator returns
  TapeView view;           ///< of that tensor
  std::int64_t nbytes = 0;
};

struct TapeOperator {
  c10::OperatorHandle op;
  std::vector<TapeArgument> arguments = {};
  std::vector<std::size_t> written = {};  ///< storages that were there before
  std::vector<TapeResult> made = {};
  std::optional<std::uint64_t> seed = {};  ///< where it draws random numbers
  caffe2::TypeMeta default_dtype = {};     ///< when it was recorded
};

/// What was done to storages that have no memory. It owns none of them: they own it.
class Tape {
 public:
  Tape();
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  std::size_t add_storage();
  void add(TapeOperator operation);

  /// Runs what the values of `storage` come from, on `device`. Beside the result only what these
  /// operators take is in memory, and no longer than until the last of them that takes it. Random
  /// numbers are those of the recorded seeds; the generators of the program do not move.
  /// @throws MisconfigurationError where a constant was changed after it was used
  c10::Storage replay(std::size_t storage, c10::Device device) const;

  /// How many tapes there are in the process.
  static int alive();

 private:
  using Storages = std::unordered_map<std::size_t, c10::Storage>;
  std::set<std::size_t> needed_for(std::size_t storage) const;
  static void run(const TapeOperator& operation, c10::Device device, at::Generator& generator,
                  Storages& storages);

  std::vector<TapeOperator> operators_;
  std::vector<std::vector<std::size_t>> writers_;  // of each storage, in order
};

}  // namespace fabric
