// What stands behind a name of a State, and what it is told while states are saved and loaded.
// Users include fabric/checkpoint/state.h.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <fabric/checkpoint/options.h>
#include <fabric/checkpoint/state_value.h>
#include <strategies/flat/unit_shards.h>
#include <strategies/strategy.h>

namespace fabric::detail {

class AsyncSaves;
struct Communicators;
struct ModelCore;

/// What saving and loading know of the job. Empty: this process is alone.
struct StateJob {
  const Communicators* group = nullptr;              ///< of all ranks, where there are several
  std::vector<std::shared_ptr<ModelCore>> models{};  ///< that were set up
  std::shared_ptr<Strategy> strategy{};
  c10::Device device = c10::Device(c10::kCPU);
  bool accumulating = false;    ///< whether a window of Fabric::accumulate is open
  AsyncSaves* saves = nullptr;  ///< of the Fabric

  int rank() const;
  int world_size() const;
  /// The set-up model that one of these is a parameter of; null where there is none.
  std::shared_ptr<ModelCore> model_of(const ModelTensors& tensors) const;
};

/// Where the parameters of the models of a state lie, and what they are called: optimizers' states
/// are told apart by both.
class ParameterIndex {
 public:
  /// One unit of a sharded model; its members' parts are saved and loaded by way of it.
  struct Sharded {
    std::shared_ptr<const UnitShards> unit;
    std::size_t member = 0;
  };

  void add(const ModelTensors& tensors, ManagedModel* managed);
  /// Null for a parameter that is not cut over ranks.
  const Sharded* sharded(const at::Tensor& parameter) const;
  /// Whether a strategy keeps it equal on all ranks.
  bool replicated(const at::Tensor& parameter) const {
    return replicated_.contains(parameter.unsafeGetTensorImpl());
  }
  /// Whether another rank has a part of any of them.
  bool any_cut() const;
  /// The parameter of that name in any of the models; undefined where there is none.
  at::Tensor named(const std::string& name) const;

 private:
  std::unordered_map<const c10::TensorImpl*, Sharded> sharded_;
  std::unordered_set<const c10::TensorImpl*> replicated_;
  std::unordered_map<std::string, at::Tensor> names_;
};

/// What the parts of a state share while it is saved.
struct SaveScope {
  const StateJob& job;
  bool beside = false;  ///< whether the program goes on while the tensors are written
  ParameterIndex parameters{};
};

/// What the parts of a state share while it is loaded: checks first, then reads, then the rest.
/// What does not fit is collected, so that a text names all of it and nothing has been changed by
/// then.
class LoadScope {
 public:
  LoadScope(const StateJob& job, const LoadOptions& options) : job(job), options(options) {}

  const StateJob& job;
  const LoadOptions& options;
  ParameterIndex parameters{};

  /// The keys from the state's root to what is looked at, joined by dots.
  const std::string& path() const { return path_; }
  /// Adds a key to the path while it lives.
  class At {
   public:
    At(LoadScope& scope, const std::string& key);
    ~At() { scope_.path_.resize(length_); }
    At(const At&) = delete;
    At& operator=(const At&) = delete;

   private:
    LoadScope& scope_;
    std::size_t length_;
  };

  /// Whether the file's part at `path().key` is wanted (LoadOptions::filter).
  bool wants(const std::string& key) const;
  /// The file has nothing at `path().key`: an error unless loading is not strict.
  void missing(const std::string& key);
  /// The file has something at `path().key` that nothing in the program takes.
  void unexpected(const std::string& key);
  /// Something at the path does not fit. @param text "got …; expected …"
  void mismatch(const std::string& text);
  /// How many of these three there were so far.
  std::size_t problems() const { return missing_.size() + unexpected_.size() + mismatches_.size(); }

  /// Copies all elements into a tensor of the same shape, whatever its dtype and device.
  void read(const StoredTensor& from, const at::Tensor& to);
  /// Copies elements [begin, end) of `from`, in the order that `strides` gives its shape, into the
  /// flat tensor `to` of as many.
  void read_part(const StoredTensor& from, at::IntArrayRef strides, std::int64_t begin,
                 std::int64_t end, const at::Tensor& to);
  /// Runs after all reads have succeeded on all ranks.
  void then(std::function<void()> commit) { commits_.push_back(std::move(commit)); }
  /// Runs after all of those.
  void finally(std::function<void()> commit) { last_commits_.push_back(std::move(commit)); }

  /// @throws CheckpointError naming all that was missing, unexpected or did not fit
  void check(const std::string& file) const;
  void run_reads();
  void run_commits();

 private:
  struct Read {
    StoredTensor from;
    at::Tensor to;
    bool part = false;
    std::vector<std::int64_t> strides{};
    std::int64_t begin = 0;
    std::int64_t end = 0;
  };

  std::string full(const std::string& key) const;

  std::string path_;
  std::vector<std::string> missing_;
  std::vector<std::string> unexpected_;
  std::vector<std::string> mismatches_;
  std::vector<Read> reads_;
  std::vector<std::function<void()>> commits_;
  std::vector<std::function<void()>> last_commits_;
};

/// Gives its values and takes them back.
class StateNode {
 public:
  virtual ~StateNode() = default;

  /// Says which parameters there are, before anything is saved or loaded.
  virtual void announce(const StateJob& /*job*/, ParameterIndex& /*index*/) const {}
  /// Its values now. Collective where values differ between ranks.
  virtual StateValue save(SaveScope& scope) const = 0;
  /// Checks values and plans to take them over. Returns what nothing asked for, None if nothing.
  virtual StateValue load(const StateValue& from, LoadScope& scope) = 0;
};

}  // namespace fabric::detail
