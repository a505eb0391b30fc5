// Keeps the gradients of one model equal on all ranks, bound to its parameters and not to calls.
//
// Whatever method, submodule, free function or regulariser produced a gradient: the parameter's
// accumulator reports it, the first report of a backward opens a round, full buckets are reduced
// while backward runs, and the end of the backward closes the round.
//
// What stands in `.grad`:
//   before a reduction   this rank's own gradient (plus the last mean, if it was not zeroed)
//   after a round        an alias of the bucket slice that holds the mean over ranks
//   used on no rank      what stood there before, undefined included
// Averaging (mean + own gradient) over ranks gives mean + new mean: two backwards before a step add
// up as they do on one process. Sums are means of gradients that were multiplied by the world size
// before they were accumulated, so that the same holds for them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <accelerators/collectives/communicator.h>
#include <strategies/flat/bare_rounds.h>
#include <strategies/flat/gradient_buckets.h>
#include <strategies/flat/gradient_hook.h>
#include <strategies/strategy.h>

namespace fabric {

struct GradientSyncOptions {
  std::int64_t bucket_bytes = 25 << 20;
  /// Mean over ranks; false = sum.
  bool average = true;
  /// What buckets of a larger dtype are rounded to on the wire.
  std::optional<at::ScalarType> reduce_dtype{};
};

/// What happened in the last rounds, in numbers; the tests read overlap from them.
struct GradientSyncEvents {
  std::int64_t rounds = 0;            ///< rounds closed
  std::int64_t reductions = 0;        ///< buckets reduced, all rounds
  std::int64_t early_reductions = 0;  ///< buckets launched before the last gradient of their round
  std::int64_t layouts = 0;           ///< times the buckets were laid out
};

class GradientSync final : public GradientRound, public std::enable_shared_from_this<GradientSync> {
 public:
  /// Collective over `communicator`: all ranks must hold the same parameters in the same order.
  /// @param label what error texts call the model
  static std::shared_ptr<GradientSync> make(std::string label, std::vector<NamedTensor> parameters,
                                            Communicator communicator, GradientSyncOptions options);
  ~GradientSync() override;

  /// Off: gradients stay local and add up until the next round that is on. Returns the old value.
  bool set_enabled(bool enabled);
  /// The same for all models at once (accumulate): a model synchronises where both allow it.
  void set_accumulating(bool accumulating) { accumulating_ = accumulating; }
  bool enabled() const { return enabled_ && !accumulating_ && !local_; }

  /// On: gradients of the next backward stay local. The end of that backward turns it off.
  void set_local(bool local) { local_ = local; }

  /// Looks whether parameters were frozen, unfrozen, moved or converted since the last look; hooks
  /// that autograd lost are attached again and the buckets are laid out anew when next needed.
  /// @throws RoutingError when a parameter left the device it was set up on
  void check_parameters();

  /// Opens a round that `finish_round` will close, on a rank whose backward may reach no parameter
  /// of the model. Without it the first gradient opens a round that ends with its backward.
  void open_round();
  bool round_open() const override { return round_open_; }

  /// Reduces what has not been reduced yet and puts the means into `.grad`. Every rank must call it
  /// with a round open.
  void finish_round() override;

  /// Forgets an open round after an exception. Gradients are undefined afterwards.
  void abandon_round() noexcept override;

  const GradientSyncEvents& events() const { return events_; }

  /// What the layout of buckets follows from, as far as backwards have shown it; empty before the
  /// first round. Sums over more than two ranks depend on the layout in their last bits.
  std::vector<std::int64_t> order() const;
  /// Lays buckets out as in the run that had this order. Ignores one that does not fit. Every rank
  /// gives the same.
  void set_order(const std::vector<std::int64_t>& order);
  /// Whether some parameter has a gradient that no round has reduced.
  bool holds_local() const;

 private:
  struct Parameter {
    std::string name;
    at::Tensor tensor;
    GradientHook hook;
    GradientFilter factor;       // the world size where gradients are summed
    bool trainable = false;      // requires_grad when the buckets were laid out
    at::ScalarType dtype{};      // likewise
    std::size_t bucket = kNone;  // its bucket, or kNone while frozen
    int reports = 0;             // gradients reported in this round
    bool local = false;          // holds gradients that no round has reduced
  };
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  GradientSync(std::string label, std::vector<NamedTensor> parameters, Communicator communicator,
               GradientSyncOptions options);

  void attach(std::size_t index);
  void on_gradient(std::size_t index);
  void end_local_with_backward();
  void start_round();
  void lay_out();
  void launch_ready();
  void launch(GradientBucket& bucket);
  void settle(GradientBucket& bucket);
  void receive(GradientBucket& bucket);
  bool contributes() const;
  void agree_on_order();
  void check_gradient(const Parameter& parameter) const;

  std::string label_;
  Communicator communicator_;
  GradientSyncOptions options_;
  c10::Device device_;
  std::vector<Parameter> parameters_;
  std::vector<GradientBucket> buckets_;
  std::vector<std::size_t> order_;  // of readiness, agreed after the first round
  std::vector<std::size_t> seen_;   // order of this round, while it is being recorded
  std::size_t next_launch_ = 0;
  std::size_t outstanding_ = 0;  // trainable parameters without a gradient in this round
  bool enabled_ = true;
  bool accumulating_ = false;
  bool local_ = false;
  bool local_ends_ = false;  // the running backward will turn local_ off
  bool round_open_ = false;
  bool launch_early_ = false;  // in this round buckets are reduced while backward runs
  bool any_gradient_ = false;
  bool order_agreed_ = false;
  bool repeats_ = false;  // some parameter reports more than once a round: launch at the end
  bool layout_stale_ = true;
  GradientSyncEvents events_;
};

}  // namespace fabric
