// Fabric: one object that turns a raw LibTorch training loop into one for any number of processes.
//
//     fabric::Fabric fabric({.strategy = "ddp", .devices = 2});
//     fabric.launch(argc, argv);
//     auto model = fabric.setup(Net());
//     auto optimizer = fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.1));
//     auto loader = fabric.make_data_loader(std::move(dataset), /*batch_size=*/64);
//     for (auto& batch : *loader) {
//       optimizer.zero_grad();
//       auto loss = torch::nn::functional::cross_entropy(model->forward(batch.data), batch.target);
//       fabric.backward(loss);
//       optimizer.step();
//     }
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <accelerators/collectives/mpi/mpi.h>
#include <fabric/accumulate.h>
#include <fabric/activation_checkpoint.h>
#include <fabric/capture.h>
#include <fabric/checkpoint/checkpoint.h>
#include <fabric/checkpoint/checkpoints.h>
#include <fabric/checkpoint/random_state.h>
#include <fabric/clip_gradients.h>
#include <fabric/collectives.h>
#include <fabric/connector.h>
#include <fabric/data_loader.h>
#include <fabric/ema.h>
#include <fabric/flops.h>
#include <fabric/forbid_synchronisation.h>
#include <fabric/full_parameters.h>
#include <fabric/gradient_norms.h>
#include <fabric/init_module.h>
#include <fabric/memory_format.h>
#include <fabric/module.h>
#include <fabric/optim/optimizers.h>
#include <fabric/optim/schedules.h>
#include <fabric/optimizer.h>
#include <fabric/options.h>
#include <fabric/seed.h>
#include <fabric/throughput.h>
#include <fabric/to_device.h>
#include <fabric/toggle.h>

namespace fabric {

/// What `setup` may be told besides the model and its optimizers.
struct SetupOptions {
  bool move_to_device = true;  ///< false leaves parameters where they are
  /// Which modules fabric::checkpoint checkpoints: "all", "none", {"Block"}, checkpoint_where(…).
  CheckpointChoice checkpoint = "all";
  /// "channels_last" brings images, and what convolves them, to that format; see memory_format.h.
  MemoryFormatChoice memory_format = "preserve";
};

/// Turns gradient synchronisation of models off while it lives (see Fabric::no_backward_sync).
class [[nodiscard(
    "gradients stay local only while the guard lives: auto guard = …")]] NoBackwardSync {
 public:
  explicit NoBackwardSync(std::vector<ManagedModel*> models);
  ~NoBackwardSync();
  NoBackwardSync(const NoBackwardSync&) = delete;
  NoBackwardSync& operator=(const NoBackwardSync&) = delete;

 private:
  std::vector<std::pair<ManagedModel*, bool>> before_;
};

namespace detail {
/// What a launched Fabric is made of.
struct Job {
  Plan plan;
  Communicators communicators;
  std::shared_ptr<Strategy> strategy;
  std::shared_ptr<Precision> precision;
  std::shared_ptr<GradScaler> scaler;              // null unless the precision scales losses
  std::vector<std::shared_ptr<ModelCore>> models;  // in order of setup
  /// Whether a window of Fabric::accumulate is open.
  std::shared_ptr<bool> accumulating = std::make_shared<bool>(false);
};
}  // namespace detail

/// The job as this process sees it. Methods that involve other processes say so ("collective") and
/// must then be called by every rank in the same order; with one process they work all the same.
/// Before `launch()` they throw NotLaunchedError, except where the program runs as one process
/// anyway: then the first of them launches.
class Fabric {
 public:
  /// @throws MisconfigurationError, DeviceError for options that cannot work here
  explicit Fabric(FabricOptions options = {});
  /// While an exception leaves its scope, tells the other ranks so that none waits for this one.
  ~Fabric();
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;

  // -- launch ---------------------------------------------------------------------------------

  /// Joins the job that mpirun or srun started this process in; or, started plainly with more than
  /// one device, re-executes the program under mpirun with the same arguments (does not return); or
  /// runs alone, without MPI. A second call does nothing.
  /// @throws MisconfigurationError on every rank when options and the started world disagree
  void launch();
  void launch(int argc, const char* const* argv);
  /// Joins over a communicator of a program that owns MPI: `fabric.launch(MPI_COMM_WORLD)`.
  template <class Comm>
    requires(std::is_pointer_v<Comm> || (std::is_integral_v<Comm> && !std::is_same_v<Comm, bool>))
  void launch(Comm communicator) {
    launch_over(mpi::ForeignCommunicator(communicator));
  }

  // -- what runs where ------------------------------------------------------------------------

  int global_rank() const;
  int local_rank() const;
  int node_rank() const;
  int world_size() const;
  int num_nodes() const;
  bool is_global_zero() const { return global_rank() == 0; }
  c10::Device device();
  std::string strategy();     ///< "ddp"
  std::string accelerator();  ///< "cpu"
  std::string precision();    ///< "bf16-mixed"
  bool launched() const { return job_ != nullptr; }

  // -- models and optimizers ------------------------------------------------------------------

  /// Moves the model to the device, converts it to the precision and hands it to the strategy.
  /// Takes any form in which LibTorch users hold a module: a variable, std::shared_ptr, a module
  /// holder, Sequential, a single layer, torch::jit::Module. Collective. The returned handle routes
  /// calls; the user's own object keeps working, its gradients are synchronised all the same.
  /// @throws MisconfigurationError when the model, or one of its parameters, was set up before
  template <class Model>
  auto setup_module(Model&& model, SetupOptions options = {}) {
    return setup_shared(detail::shared_module(std::forward<Model>(model)), options);
  }
  template <class Model>
  auto setup(Model&& model, SetupOptions options = {}) {
    return setup_module(std::forward<Model>(model), options);
  }
  /// The same for a model and one to three optimizers: `auto [model, optimizer] = setup(net, sgd)`.
  template <class Model, class First>
    requires(!std::is_convertible_v<First, SetupOptions>)
  auto setup(Model&& model, First&& first, SetupOptions options = {}) {
    auto handle = setup_module(std::forward<Model>(model), options);
    return std::tuple(std::move(handle), setup_optimizers(std::forward<First>(first)));
  }
  template <class Model, class First, class Second>
    requires(!std::is_convertible_v<Second, SetupOptions>)
  auto setup(Model&& model, First&& first, Second&& second, SetupOptions options = {}) {
    auto handle = setup_module(std::forward<Model>(model), options);
    return std::tuple(std::move(handle), setup_optimizers(std::forward<First>(first)),
                      setup_optimizers(std::forward<Second>(second)));
  }
  template <class Model, class First, class Second, class Third>
    requires(!std::is_convertible_v<Third, SetupOptions>)
  auto setup(Model&& model, First&& first, Second&& second, Third&& third,
             SetupOptions options = {}) {
    auto handle = setup_module(std::forward<Model>(model), options);
    return std::tuple(std::move(handle), setup_optimizers(std::forward<First>(first)),
                      setup_optimizers(std::forward<Second>(second)),
                      setup_optimizers(std::forward<Third>(third)));
  }

  /// Wraps an optimizer; a temporary is owned by the result, a variable is referred to. Several
  /// give a tuple.
  template <class Optimizer>
  FabricOptimizer setup_optimizers(Optimizer&& optimizer) {
    const detail::Job& here = job("setup_optimizers");
    return FabricOptimizer(detail::shared_optimizer(std::forward<Optimizer>(optimizer)),
                           here.strategy, here.scaler);
  }
  template <class First, class Second, class... Rest>
  auto setup_optimizers(First&& first, Second&& second, Rest&&... rest) {
    return std::tuple(setup_optimizers(std::forward<First>(first)),
                      setup_optimizers(std::forward<Second>(second)),
                      setup_optimizers(std::forward<Rest>(rest))...);
  }

  /// Builds a module with the precision's default dtype and moves it to the device.
  ///
  ///     auto net = fabric.init_module([] { return Net(); });
  ///
  /// With `empty_init` it has shapes only, whatever its size, until setup gives it values: on the
  /// device, and under fsdp unit by unit, so that the whole model is never on any rank.
  ///
  ///     auto net = fabric.init_module([] { return GPT(70'000'000'000); }, {.empty_init = true});
  ///     torch::optim::AdamW optimizer(net->parameters());  // before or after setup
  ///     auto model = fabric.setup(net);
  ///
  /// Constructors run as they are; what they and torch::nn::init do to parameters before setup is
  /// done when the values are made. These depend on the seed and on the construction alone, not on
  /// strategy, ranks or units, and differ from those of a build without empty_init. Before setup
  /// operators give tensors without values, and what needs values (`item()`, `to(device)`) throws
  /// MisconfigurationError; torch::load and torch::save belong after setup. Tensors made with a
  /// device of their own (`torch::kCPU`) have values at once. `move_to_device` of setup is for them
  /// only.
  template <class Build>
  auto init_module(Build&& build, InitOptions options = {}) {
    auto module = [&] {
      const detail::InitScope scope(job("init_module").precision->parameter_dtype(), options);
      return build();
    }();
    const detail::ModuleView view = detail::view_of(*detail::shared_module(module));
    if (options.empty_init) {
      detail::keep_recording_model(view.tensors());
    } else {
      view.move(device());
    }
    return module;
  }

  /// Makes the BatchNorm layers of a model normalise, in training, over the batches of all ranks
  /// instead of each rank's own. Takes any form of module, before or after its setup. Collective.
  /// Returns how many layers there are; with one process nothing changes.
  /// @throws MisconfigurationError for a layer with neither running statistics nor weights
  template <class Model>
  int convert_sync_batchnorm(Model&& model) {
    if constexpr (detail::is_fabric_module<std::remove_cvref_t<Model>>) {
      return synchronise_batch_norms(detail::batch_norms_of(model.module()));
    } else {
      return synchronise_batch_norms(
          detail::batch_norms_of(*detail::shared_module(std::forward<Model>(model))));
    }
  }

  // -- training -------------------------------------------------------------------------------

  /// `loss.backward()` through the strategy: when it returns, gradients are synchronised on all
  /// ranks, whatever part of the models the loss of each rank reached. Collective under ddp.
  void backward(const at::Tensor& loss, const at::Tensor& gradient = {},
                std::optional<bool> retain_graph = std::nullopt, bool create_graph = false);

  /// One routed call over several models: each is prepared once, then `function()` runs with calls
  /// of their methods inside it plain. For losses that mix models, free functions, regularisers.
  /// Tensors in the result are converted as those of an entry; what the function captures is not.
  ///
  ///     auto loss = fabric.routed([&] { return distance(student->encode(x), target); },
  ///                               student_model, teacher_model);
  template <class Function, class... Ms>
    requires(sizeof...(Ms) > 0 && std::is_invocable_v<Function>)
  std::invoke_result_t<Function> routed(Function&& function, const FabricModule<Ms>&... models) {
    return detail::route_all(std::forward<Function>(function), models.core()...);
  }

  /// While the guard lives, gradients of these models stay local and add up (gradient
  /// accumulation); `enabled = false` makes it do nothing.
  ///
  ///     {
  ///       auto guard = fabric.no_backward_sync(model);
  ///       fabric.backward(loss(batches[0]));
  ///     }
  ///     fabric.backward(loss(batches[1]));  // synchronises the sum of both
  template <class M>
  NoBackwardSync no_backward_sync(const FabricModule<M>& model, bool enabled = true) {
    return NoBackwardSync(enabled ? std::vector{&model.managed()} : std::vector<ManagedModel*>{});
  }
  template <class First, class Second, class... Rest>
  NoBackwardSync no_backward_sync(const FabricModule<First>& first,
                                  const FabricModule<Second>& second,
                                  const FabricModule<Rest>&... rest) {
    return NoBackwardSync({&first.managed(), &second.managed(), &rest.managed()...});
  }

  /// Gradient accumulation over a loader; synchronises on the last micro-batch of each window.
  ///
  ///     for (auto [batch, micro] : fabric.accumulate(*loader, 4)) {
  ///       fabric.backward(micro.scale(loss(batch)));
  ///       if (micro.last()) { optimizer.step(); optimizer.zero_grad(); }
  ///     }
  template <class Range>
  auto accumulate(Range&& range, int micro_batches) {
    return fabric::accumulate(
        std::forward<Range>(range), micro_batches,
        [strategy = job("accumulate").strategy, accumulating = job_->accumulating](bool sync) {
          *accumulating = !sync;
          strategy->set_sync(sync);
        });
  }

  /// Clips the gradients of an optimizer's parameters, in place: between `backward` and `step`.
  /// Returns their norm before, 0-dim on their device; nothing waits for the device. The same on
  /// all ranks under every strategy. Parameters without gradient do not count. Collective under
  /// fsdp.
  ///
  ///     fabric.backward(loss);
  ///     auto norm = fabric.clip_gradients(model, optimizer, {.max_norm = 1.0});
  ///     optimizer.step();
  /// @throws MisconfigurationError unless one of max_norm and clip_val is given; on all ranks for a
  ///         norm that is not finite, when asked to
  template <class M>
  at::Tensor clip_gradients(const FabricModule<M>& model, torch::optim::Optimizer& optimizer,
                            const ClipOptions& options) {
    unscale(optimizer);
    return detail::clip_gradients(*job("clip_gradients").strategy, model.core().label, optimizer,
                                  options);
  }
  /// The norm of the gradients of an optimizer's parameters, 0-dim on their device, the same on all
  /// ranks: not finite where one gradient on any rank is not. Collective under fsdp.
  /// @param norm_type p > 0; infinity for the largest element
  at::Tensor gradient_norm(torch::optim::Optimizer& optimizer, double norm_type = 2) {
    unscale(optimizer);
    return detail::gradient_norm(*job("gradient_norm").strategy, optimizer, norm_type);
  }

  /// The norm of each parameter's gradient, under the parameter's name: 0-dim tensors on the
  /// model's device, the same on all ranks. Parameters without a gradient are left out. Nothing
  /// waits for the device. Collective under fsdp, one reduction for all of them.
  ///
  ///     for (const auto& [name, norm] : fabric.gradient_norms(model)) …
  /// @param norm_type p > 0; infinity for the largest element
  template <class M>
  std::vector<NamedTensor> gradient_norms(const FabricModule<M>& model, double norm_type = 2) {
    const ModelTensors tensors = detail::view_of(model.module()).tensors();
    return unscaled(
        detail::gradient_norms(*job("gradient_norms").strategy, model.core(), tensors, norm_type),
        tensors);
  }

  /// While the guard lives, only the parameters of this optimizer require gradients, of all that
  /// models of this Fabric have: for training that takes turns (GANs). At its end all require them
  /// as before, also when an exception ends the scope. Frozen parameters stay frozen. A toggle
  /// inside another gives its own optimizer's parameters back what the outer one took.
  ///
  ///     {
  ///       auto turn = fabric.toggle(generator_optimizer);
  ///       fabric.backward(generator_loss());  // flows through the discriminator, not into it
  ///       generator_optimizer.step();
  ///     }
  Toggle toggle(torch::optim::Optimizer& optimizer) {
    const detail::Job& here = job("toggle");
    return Toggle(here.models, here.strategy->parameters_of(optimizer));
  }

  /// Measures samples, tokens and operations a second of this job; see fabric/throughput.h. Its
  /// device, number of processes and, after setup, the dtype of its models are filled in where they
  /// are left out.
  Throughput throughput(ThroughputOptions options = {});

  /// While the guard lives, whatever makes the host wait for the GPU throws c10::Error where it
  /// happens: for tests of a loop that shall keep the device's queue full. Does nothing on the CPU.
  /// See fabric/forbid_synchronisation.h for what waits.
  ///
  ///     auto guard = fabric.forbid_synchronisation();
  ///     train_step(batch);
  ForbidSynchronisation forbid_synchronisation();

  /// Makes a whole training step one call of the device (a CUDA graph), where launching its
  /// operators one by one takes longer than they do.
  ///
  ///     fabric::FusedAdamW adamw(net->parameters(),
  ///                              {.lr_tensor = torch::full({}, 1e-3, fabric.device())});
  ///     auto optimizer = fabric.setup_optimizers(std::move(adamw));
  ///     auto step = fabric.capture([&](Tensor x, Tensor y) {
  ///       optimizer.zero_grad();
  ///       auto loss = torch::mse_loss(model->forward(x), y);
  ///       fabric.backward(loss);
  ///       optimizer.step();
  ///       return loss;
  ///     });
  ///     for (auto& batch : *loader) auto loss = step(batch.data, batch.target);
  ///
  /// Each call is one step. The first three run the function as it is; the next records it and
  /// every call from then on replays that: the function itself does not run any more, so what it
  /// does on the host (counters, prints, branches, schedules) belongs outside. Random numbers go on
  /// from step to step, and learning rates are read from their tensors. Parameters and optimizer
  /// state must stay where they are: load checkpoints before, and use a new capture after
  /// `Module::to`.
  ///
  /// On the CPU, under 16-mixed, fsdp and with more than one process every call runs the function,
  /// and says once why; the rules for arguments and optimizers hold everywhere.
  /// @throws MisconfigurationError, when the step runs, for arguments whose shapes change, closures
  ///         of optimizers, optimizers whose step cannot be recorded, and what waits for the device
  template <class Function>
  CapturedStep<Function> capture(Function function) {
    return CapturedStep<Function>(std::move(function), step_capture());
  }

  /// The state of loss scaling, to save and to load:
  ///
  ///     torch::serialize::OutputArchive archive;
  ///     fabric.grad_scaler().save(archive);
  /// @throws MisconfigurationError unless the precision is "16-mixed"
  GradScaler& grad_scaler();

  /// While the guard lives, every rank holds the whole parameters of a sharded model, readable and
  /// writable by any means, raw pointers and torch::save included; what was written is kept. Each
  /// rank keeps its own part: write the same on all. Does nothing under other strategies.
  /// Collective, its end is not.
  ///
  ///     auto guard = fabric.full_parameters(model);
  ///     if (fabric.is_global_zero()) torch::save(net, "net.pt");
  template <class M>
  FullParameters full_parameters(const FabricModule<M>& model) {
    return FullParameters(model.managed());
  }

  // -- state ----------------------------------------------------------------------------------

  /// Writes a state to one file that every rank, strategy and world, and Python, can load: rank 0
  /// writes, models that are cut over ranks are put together unit by unit. When this returns on any
  /// rank the file is complete, durable and under its name; it throws on all ranks or on none, and
  /// then an earlier file is untouched. Values that differ between ranks are rank 0's. Collective.
  ///
  ///     fabric::State state{{"model", model}, {"optimizer", optimizer}, {"epoch", epoch}};
  ///     fabric.save("checkpoint.pt", state);
  ///     auto rest = fabric.load("checkpoint.pt", state);
  /// @param state a State, or anything that may be part of one
  /// @throws CheckpointError
  void save(const std::filesystem::path& path, const State& state,
            const SaveOptions& options = {}) {
    detail::save_node(state_job("save"), path, *detail::state_node(state), options);
  }
  template <class T>
  void save(const std::filesystem::path& path, T&& state, const SaveOptions& options = {}) {
    detail::save_node(state_job("save"), path, *detail::make_node(std::forward<T>(state)), options);
  }
  /// Loads what `save` or Python wrote into what the state refers to; see fabric::load. Every rank
  /// reads the bytes that it needs from the path as it finds it. Throws on all ranks or on none.
  /// Collective.
  StateValue load(const std::filesystem::path& path, const State& state,
                  const LoadOptions& options = {}) {
    return detail::load_node(state_job("load"), path, *detail::state_node(state), options);
  }
  template <class T>
  StateValue load(const std::filesystem::path& path, T&& state, const LoadOptions& options = {}) {
    return detail::load_node(state_job("load"), path, *detail::make_node(std::forward<T>(state)),
                             options);
  }
  /// All of a file, read when it is used. Not collective.
  StateValue load(const std::filesystem::path& path) { return fabric::load(path); }
  /// The generators of all ranks, to be part of a state.
  RandomState random_state() const { return {}; }

  // -- data -----------------------------------------------------------------------------------

  /// A loader that deals the dataset over ranks; call shape of torch::data::make_data_loader.
  /// Sampler: RandomSampler (default) or SequentialSampler. See fabric/data_loader.h.
  template <class Sampler = torch::data::samplers::RandomSampler, class Dataset>
  auto make_data_loader(Dataset dataset, const DataLoaderOptions& options) {
    auto loader = fabric::make_data_loader<Sampler>(std::move(dataset), options, loader_context());
    say_batch_size(loader.batch_size(), loader.global_batch_size());
    return loader;
  }
  template <class Sampler = torch::data::samplers::RandomSampler, class Dataset,
            TorchLoaderOptions Options>
  auto make_data_loader(Dataset dataset, const Options& options) {
    return make_data_loader<Sampler>(std::move(dataset), to_loader_options(options));
  }

  /// `value` with all its tensors on the device (modules in place).
  template <class T>
  decltype(auto) to_device(T&& value) {
    return fabric::to_device(std::forward<T>(value), device());
  }

  /// Seeds all generators; see fabric/seed.h.
  std::uint64_t seed_everything(std::optional<std::int64_t> seed = std::nullopt,
                                SeedOptions options = {}) {
    return fabric::seed_everything(seed, options);
  }

  // -- values over ranks (all collective) -----------------------------------------------------

  /// Everyone's `data`, stacked along a new first dimension of world_size(), also with one process.
  /// Tensors must have the same shape and dtype on all ranks. In containers and structs every
  /// tensor is gathered; a number alone gives a tensor of world_size() elements.
  /// @param sync_grads lets gradients flow back: each rank receives the sum of all ranks' gradients
  ///        for its part
  /// @throws CommunicationError on all ranks when shapes differ
  template <class T>
  auto all_gather(const T& data, bool sync_grads = false) {
    return detail::all_gather(job("all_gather").communicators, data, sync_grads);
  }
  /// Everyone's rows, concatenated in rank order: (N₀ + N₁ + …, …) from (Nᵣ, …). First dimensions
  /// may differ and may be 0.
  at::Tensor all_gather_cat(const at::Tensor& data, bool sync_grads = false) {
    return detail::all_gather_rows(job("all_gather_cat").communicators, data, sync_grads);
  }
  /// `data` reduced over ranks ("mean", "sum", "min", "max", "product"), as a new value; never in
  /// place, no gradients. Takes tensors, numbers, and structures of both. Means of integers are
  /// double, sums of bools count.
  template <class T>
  auto all_reduce(const T& data, ReduceOp op = ReduceOp::mean) {
    const detail::Communicators& group = job("all_reduce").communicators;
    if constexpr (detail::Number<T>) {
      FABRIC_CHECK(
          Misconfiguration, op != ReduceOp::mean || std::is_floating_point_v<T>,
          "[fabric.all_reduce] the mean of an integer is no integer. Hint: fabric.mean(x) ",
          "returns a double.");
      return static_cast<std::conditional_t<std::is_same_v<T, bool>, std::int64_t, T>>(
          detail::all_reduce_number(group, data, op));
    } else {
      return detail::all_reduce(group, data, op);
    }
  }
  template <class T>
  auto sum(const T& data) {
    return all_reduce(data, ReduceOp::sum);
  }
  template <class T>
  auto mean(const T& data) {
    if constexpr (detail::Number<T> && !std::is_floating_point_v<T>) {
      return all_reduce(static_cast<double>(data), ReduceOp::mean);
    } else {
      return all_reduce(data, ReduceOp::mean);
    }
  }
  /// Rank `source`'s `value` on every rank: tensors (receivers need not know the shape), numbers,
  /// strings, containers and plain structs.
  template <class T>
  T broadcast(const T& value, int source = 0) {
    const detail::Communicators& group = job("broadcast").communicators;
    FABRIC_CHECK(Misconfiguration, source >= 0 && source < world_size(), "[fabric.broadcast] no ",
                 "such rank; got source ", source, "; expected 0 to ", world_size() - 1);
    return detail::broadcast(group, value, source);
  }
  /// Returns when every rank has called it.
  void barrier();

  /// Runs `work` on rank 0 first and on the others when it is done (`local`: per node). Returns
  /// what `work` returns. When rank 0 fails, the others throw with its text instead of waiting.
  template <class Work>
  auto rank_zero_first(Work&& work, bool local = false) {
    RankZeroFirst turn(*this, local);
    return turn.run(std::forward<Work>(work));
  }

  // -- output ---------------------------------------------------------------------------------

  /// Prints its arguments and a newline to standard output, once per job.
  template <class... Args>
  void print(const Args&... args) const {
    std::ostringstream text;
    (text << ... << args);
    write_line(text.str());
  }
  /// The same with a format, checked by the compiler; no newline is added.
  void printf(const char* format, ...) const __attribute__((format(printf, 2, 3)));

 private:
  // The turns of rank_zero_first.
  class RankZeroFirst {
   public:
    RankZeroFirst(Fabric& fabric, bool local);
    template <class Work>
    auto run(Work&& work) {
      wait_for_first();
      try {
        if constexpr (std::is_void_v<std::invoke_result_t<Work>>) {
          work();
          done(nullptr);
        } else {
          auto result = work();
          done(nullptr);
          return result;
        }
      } catch (const std::exception& error) {
        done(error.what());
        throw;
      }
    }

   private:
    void wait_for_first();
    void done(const char* error);

    Fabric& fabric_;
    bool first_;
    bool told_ = false;
  };

  template <class M>
  FabricModule<M> setup_shared(std::shared_ptr<M> module, SetupOptions options) {
    auto core = std::make_shared<detail::TypedCore<M>>();
    core->module = std::move(module);
    if constexpr (!std::is_same_v<M, torch::jit::Module>) {
      if (core->module.use_count() > 0) {  // owned: nobody else has it when only the core is left
        core->abandoned = [raw = core.get()] { return raw->module.use_count() == 1; };
      }
    }
    setup_core(core, detail::view_of(*core->module), options);
    return FabricModule<M>(std::move(core));
  }
  void setup_core(const std::shared_ptr<detail::ModelCore>& core, detail::ModuleView view,
                  SetupOptions options);

  std::vector<NamedTensor> unscaled(std::vector<NamedTensor> norms, const ModelTensors& tensors);
  void unscale(torch::optim::Optimizer& optimizer);
  int synchronise_batch_norms(const std::vector<detail::BatchNormLayer>& layers);
  void launch_over(const mpi::ForeignCommunicator& communicator);
  void start(const Environment& environment, int argc, const char* const* argv);
  const detail::Job& job(const char* call);
  LoaderContext loader_context();
  detail::StateJob state_job(const char* call);
  std::shared_ptr<detail::StepCapture> step_capture();
  void say_batch_size(std::size_t batch_size, std::size_t global_batch_size);
  void write_line(const std::string& text) const;

  FabricOptions options_;
  std::shared_ptr<detail::Job> job_;
  int exceptions_at_birth_;
  bool batch_size_said_ = false;
  bool eager_capture_said_ = false;
};

}  // namespace fabric
